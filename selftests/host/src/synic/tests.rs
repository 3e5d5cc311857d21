// SPDX-License-Identifier: GPL-2.0

//! Slots and flags as the guest finds them.

#![expect(clippy::arithmetic_side_effects, reason = "A failure is the test's.")]

use super::*;
use hvdef::synic::Message;
use std::sync::Arc;

/// Where the guest has its message page, and its flags page after it.
const SIMP: u64 = 0x10_0000;

/// A SynIC that is on, and its memory.
fn synic() -> (Synic, Arc<GuestMemoryMmap>) {
    let mut synic = Synic::default();
    synic.set_registers(SynicRegisters {
        scontrol: 1,
        simp: SIMP | 1,
        siefp: (SIMP + 0x1000) | 1,
    });
    (synic, crate::memory::allocate(64).unwrap())
}

/// The guest's look at a slot, as hv_core reads it; its payload and whether more wait.
fn look(memory: &GuestMemoryMmap, sint: u64) -> Option<(Vec<u8>, bool)> {
    let mut slot = [0; MESSAGE_SIZE];
    let address = GuestAddress(SIMP + sint * 256);
    memory.read_slice(&mut slot, address).unwrap();
    let message = Message::parse(&slot).unwrap()?;
    assert_eq!(message.message_type, MessageType::CHANNEL);
    Some((
        message.payload.to_vec(),
        slot[FLAGS_OFFSET] & FLAG_PENDING != 0,
    ))
}

/// The guest takes a message and frees the slot. Returns it, and whether an EOM is wanted.
fn take(memory: &GuestMemoryMmap, sint: u64) -> Option<(Vec<u8>, bool)> {
    let (payload, _) = look(memory, sint)?;
    memory
        .write_obj(0u32, GuestAddress(SIMP + sint * 256))
        .unwrap();
    let flags: u8 = memory
        .read_obj(GuestAddress(SIMP + sint * 256 + 5))
        .unwrap();
    Some((payload, flags & FLAG_PENDING != 0))
}

#[test]
fn a_message_goes_to_its_slot_with_an_interrupt() {
    let (mut synic, memory) = synic();
    assert_eq!(synic.post(&memory, 2, vec![7; 240]), Interrupt::Raise);
    assert_eq!(look(&memory, 2), Some((vec![7; 240], false)));
    assert_eq!(look(&memory, 1), None);
    assert_eq!(look(&memory, 3), None);
}

#[test]
fn messages_wait_for_the_slot_in_order_and_ask_for_the_eom() {
    let (mut synic, memory) = synic();
    assert_eq!(synic.post(&memory, 2, vec![1]), Interrupt::Raise);
    assert_eq!(synic.post(&memory, 2, vec![2]), Interrupt::None);
    assert_eq!(synic.post(&memory, 2, vec![3]), Interrupt::None);
    // An interrupt's end without a free slot changes nothing.
    assert_eq!(synic.flush(&memory, 2), Interrupt::None);
    assert_eq!(take(&memory, 2), Some((vec![1], true)));
    assert_eq!(synic.flush(&memory, 2), Interrupt::Raise);
    assert_eq!(take(&memory, 2), Some((vec![2], true)));
    assert_eq!(synic.flush(&memory, 2), Interrupt::Raise);
    assert_eq!(take(&memory, 2), Some((vec![3], false)));
    assert_eq!(synic.flush(&memory, 2), Interrupt::None);
}

#[test]
fn slots_do_not_wait_for_each_other() {
    let (mut synic, memory) = synic();
    assert_eq!(synic.post(&memory, 2, vec![1]), Interrupt::Raise);
    assert_eq!(synic.post(&memory, 15, vec![2]), Interrupt::Raise);
    assert_eq!(take(&memory, 15), Some((vec![2], false)));
}

#[test]
fn without_a_page_messages_are_lost() {
    let (mut synic, memory) = synic();
    assert_eq!(synic.post(&memory, 2, vec![1]), Interrupt::Raise);
    assert_eq!(synic.post(&memory, 2, vec![2]), Interrupt::None);
    let on = synic.registers;
    for off in [
        SynicRegisters { scontrol: 0, ..on },
        SynicRegisters { simp: SIMP, ..on },
    ] {
        synic.set_registers(off);
        assert_eq!(synic.post(&memory, 2, vec![3]), Interrupt::None);
        synic.set_registers(on);
        take(&memory, 2);
        assert_eq!(synic.flush(&memory, 2), Interrupt::None);
    }
}

#[test]
fn what_waits_is_kept_when_the_page_moves() {
    let (mut synic, memory) = synic();
    assert_eq!(synic.post(&memory, 2, vec![1]), Interrupt::Raise);
    assert_eq!(synic.post(&memory, 2, vec![2]), Interrupt::None);
    let moved = SynicRegisters {
        simp: (SIMP + 0x2000) | 1,
        ..synic.registers
    };
    synic.set_registers(moved);
    assert_eq!(synic.flush(&memory, 2), Interrupt::Raise);
    assert_eq!(look(&memory, 2 + 0x20), Some((vec![2], false)));
}

#[test]
fn a_page_out_of_ram_and_a_sint_out_of_range_do_no_harm() {
    let (mut synic, memory) = synic();
    for sint in [16, 255] {
        assert_eq!(synic.post(&memory, sint, vec![1]), Interrupt::None);
    }
    assert_eq!(synic.post(&memory, 2, vec![0; 241]), Interrupt::None);
    let outside = (64 * crate::memory::MIB) | 1;
    for register in [outside, u64::MAX] {
        synic.set_registers(SynicRegisters {
            scontrol: 1,
            simp: register,
            siefp: register,
        });
        assert_eq!(synic.post(&memory, 2, vec![1]), Interrupt::None);
        assert_eq!(synic.signal(&memory, 2, 1), Interrupt::None);
        assert!(!synic.is_crowded());
    }
}

#[test]
fn a_guest_that_reads_nothing_is_stopped_from_causing_more() {
    let (mut synic, memory) = synic();
    for _ in 0..CROWDED {
        assert!(!synic.is_crowded());
        let _ = synic.post(&memory, 2, vec![1]);
    }
    let _ = synic.post(&memory, 2, vec![1]);
    assert!(synic.is_crowded());
}

#[test]
fn a_flag_interrupts_once_until_the_guest_clears_it() {
    let (synic, memory) = synic();
    for flag in [0, 63, 64, 2047] {
        assert_eq!(synic.signal(&memory, 2, flag), Interrupt::Raise);
        assert_eq!(synic.signal(&memory, 2, flag), Interrupt::None);
        let word = GuestAddress(SIMP + 0x1000 + 2 * 256 + u64::from(flag) / 64 * 8);
        assert_ne!(memory.read_obj::<u64>(word).unwrap() >> (flag % 64) & 1, 0);
        memory.write_obj(0u64, word).unwrap();
        assert_eq!(synic.signal(&memory, 2, flag), Interrupt::Raise);
    }
    assert_eq!(synic.signal(&memory, 2, 2048), Interrupt::None);
    assert_eq!(synic.signal(&memory, 2, u16::MAX), Interrupt::None);
}
