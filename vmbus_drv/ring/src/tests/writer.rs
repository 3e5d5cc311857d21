// SPDX-License-Identifier: GPL-2.0

use std::vec;
use zerocopy::IntoBytes as _;

use super::memory::{wire, TestMem};
use crate::gpa::{one_range, GpaDirect};
use crate::packet::request_head;
use crate::{
    Control, Corrupt, OutgoingPacket, PacketFlags, PacketType, Room, SetupError, Signal, Snapshot,
    WriteError, Writer,
};

/// A payload for a packet that takes `total` bytes in the ring.
fn payload(total: usize) -> vec::Vec<u8> {
    vec![0xaa; total - 24]
}

fn full(needed: u32) -> Result<(), WriteError> {
    Err(WriteError::Full { needed })
}

#[test]
fn sizes_that_are_no_ring_are_refused() {
    for size in [0, 8, 56, 60, 65, 4100] {
        let expected = SetupError::Size(u32::try_from(size).unwrap());
        assert_eq!(Writer::new(&TestMem::new(size)).map(|_| ()), Err(expected));
    }
    assert!(Writer::new(&TestMem::new(64)).is_ok());
    assert!(Writer::new(&TestMem::new(72)).is_ok());
}

#[test]
fn a_ring_that_was_used_before_is_refused() {
    let mem = TestMem::new(64);
    mem.set(Control::ReadIndex, 8);
    assert_eq!(Writer::new(&mem).map(|_| ()), Err(SetupError::NotCleared));
}

#[test]
fn a_packet_has_descriptor_extension_payload_zeros_and_trailer() {
    let mem = TestMem::new(4096);
    mem.set_bytes(0, &[0xff; 256]);
    let mut writer = Writer::new(&mem).unwrap();
    let _ = writer.send(&OutgoingPacket::completion(7, &[])).unwrap();
    let packet = OutgoingPacket {
        packet_type: PacketType(0x1234),
        flags: PacketFlags::COMPLETION_REQUESTED,
        transaction_id: 0x1122_3344_5566_7788,
        extension: &[&[1, 2, 3], &[4, 5, 6, 7, 8], &[9]],
        payload: &[&[], &[10, 11], &[12], &[]],
    };
    let _ = writer.send(&packet).unwrap();
    let first = wire(0xb, 2, 2, 0, 7, &[]);
    let body = [
        1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0, 0, 0, 0, 0, 10, 11, 12, 0, 0, 0, 0, 0,
    ];
    let mut second = wire(0x1234, 4, 5, 1, 0x1122_3344_5566_7788, &body);
    second[44..48].copy_from_slice(&24u32.to_le_bytes());
    assert_eq!(mem.bytes()[..24], first);
    assert_eq!(mem.bytes()[24..72], second);
    assert_eq!(
        mem.bytes()[72..256],
        [0xff; 184],
        "nothing behind the packet is touched"
    );
    assert_eq!(mem.get(Control::WriteIndex), 72);
}

#[test]
fn payload_lengths_around_the_unit_are_padded_with_zeros() {
    for (len, length8) in [(0usize, 2u8), (1, 3), (7, 3), (8, 3), (9, 4)] {
        let mem = TestMem::new(128);
        mem.set_bytes(0, &[0xff; 128]);
        let mut writer = Writer::new(&mem).unwrap();
        writer
            .stage(&OutgoingPacket::in_band(&[&vec![0xaa; len]]))
            .unwrap();
        let bytes = mem.bytes();
        let end = usize::from(length8) * 8;
        assert_eq!(bytes[4], length8);
        assert_eq!(bytes[16..16 + len], vec![0xaa; len]);
        assert_eq!(bytes[16 + len..end + 8], vec![0; end + 8 - 16 - len]);
        assert_eq!(bytes[end + 8], 0xff);
    }
}

#[test]
fn the_largest_packet_leaves_two_units() {
    let mem = TestMem::new(4096);
    for (total, expected) in [
        (4072, Ok(())),
        (4080, Ok(())),
        (4088, Err(WriteError::TooLarge)),
        (4096, Err(WriteError::TooLarge)),
    ] {
        let mut writer = Writer::new(&mem).unwrap();
        assert_eq!(
            writer.stage(&OutgoingPacket::in_band(&[&payload(total)])),
            expected,
            "{total}"
        );
    }
}

#[test]
fn lengths_beyond_the_descriptor_are_too_large_even_if_the_ring_has_room() {
    let mem = TestMem::new(2 << 20);
    let mut writer = Writer::new(&mem).unwrap();
    let max = usize::from(u16::MAX) * 8;
    let fits = vec![0; max - 16];
    let exceeds = vec![0; max - 15];
    assert_eq!(writer.stage(&OutgoingPacket::in_band(&[&fits])), Ok(()));
    assert_eq!(
        writer.stage(&OutgoingPacket::in_band(&[&exceeds])),
        Err(WriteError::TooLarge)
    );
    let packet = OutgoingPacket {
        extension: &[&fits],
        ..OutgoingPacket::in_band(&[])
    };
    assert_eq!(writer.stage(&packet), Ok(()));
    let packet = OutgoingPacket {
        extension: &[&fits],
        ..OutgoingPacket::in_band(&[&[1]])
    };
    assert_eq!(writer.stage(&packet), Err(WriteError::TooLarge));
}

#[test]
fn a_ring_is_never_filled_completely() {
    let mem = TestMem::new(4096);
    // 4096 - 2048 = 2048 bytes are free: 2040 fit, 2048 would make the ring look empty.
    for (total, expected) in [
        (2032, Ok(())),
        (2040, Ok(())),
        (2048, full(2048)),
        (2056, full(2056)),
    ] {
        let mut writer = Writer::new(&mem).unwrap();
        writer
            .stage(&OutgoingPacket::in_band(&[&payload(2048)]))
            .unwrap();
        assert_eq!(writer.room(), Ok(2040));
        assert_eq!(
            writer.stage(&OutgoingPacket::in_band(&[&payload(total)])),
            expected,
            "{total}"
        );
    }
}

#[test]
fn staged_packets_are_published_together_with_one_signal() {
    let mem = TestMem::new(4096);
    let mut writer = Writer::new(&mem).unwrap();
    for _ in 0..5 {
        writer.stage(&OutgoingPacket::in_band(&[&[1; 40]])).unwrap();
        assert_eq!(mem.get(Control::WriteIndex), 0);
    }
    assert_eq!(writer.publish(), Signal::Needed);
    assert_eq!(mem.get(Control::WriteIndex), 5 * 64);
    assert_eq!(
        writer.publish(),
        Signal::NotNeeded,
        "nothing new is published"
    );
}

#[test]
fn a_signal_is_needed_only_from_empty_to_non_empty_with_the_mask_clear() {
    let mem = TestMem::new(4096);
    let mut writer = Writer::new(&mem).unwrap();
    let packet = OutgoingPacket::in_band(&[]);
    mem.set(Control::InterruptMask, 1);
    assert_eq!(writer.send(&packet), Ok(Signal::NotNeeded), "masked");
    mem.set(Control::InterruptMask, 0);
    assert_eq!(writer.send(&packet), Ok(Signal::NotNeeded), "was not empty");
    mem.set(Control::ReadIndex, 48);
    assert_eq!(writer.send(&packet), Ok(Signal::Needed), "was empty");
    mem.set(Control::ReadIndex, 48);
    assert_eq!(
        writer.send(&packet),
        Ok(Signal::NotNeeded),
        "the host has not read the last one"
    );
    mem.set(Control::ReadIndex, 96);
    mem.set(Control::InterruptMask, u32::MAX);
    assert_eq!(
        writer.send(&packet),
        Ok(Signal::NotNeeded),
        "any value but 0 masks"
    );
}

#[test]
fn the_mask_is_read_before_the_read_index() {
    let mem = TestMem::new(4096);
    let mut writer = Writer::new(&mem).unwrap();
    mem.loads.borrow_mut().clear();
    let _ = writer.send(&OutgoingPacket::in_band(&[])).unwrap();
    assert_eq!(
        *mem.loads.borrow(),
        [Control::InterruptMask, Control::ReadIndex]
    );
}

#[test]
fn a_full_ring_accepts_packets_after_the_host_has_read() {
    let mem = TestMem::new(4096);
    let mut writer = Writer::new(&mem).unwrap();
    let half = payload(2048);
    let half: &[&[u8]] = &[&half];
    let packet = OutgoingPacket::in_band(half);
    let _ = writer.send(&packet).unwrap();
    assert_eq!(writer.stage(&packet), full(2048));
    mem.set(Control::ReadIndex, 2048);
    for at in [0, 2048, 0, 2048] {
        assert_eq!(writer.stage(&packet), Ok(()));
        assert_eq!(writer.stage(&packet), full(2048));
        let _ = writer.publish();
        assert_eq!(mem.get(Control::WriteIndex), at);
        mem.set(Control::ReadIndex, at);
    }
}

#[test]
fn pending_send_size_is_set_while_waiting_and_cleared_by_the_next_packet() {
    let mem = TestMem::new(4096);
    let mut writer = Writer::new(&mem).unwrap();
    assert_eq!(mem.get(Control::FeatureBits), 1);
    let half = payload(2048);
    let half: &[&[u8]] = &[&half];
    let packet = OutgoingPacket::in_band(half);
    let _ = writer.send(&packet).unwrap();
    assert_eq!(writer.stage(&packet), full(2048));
    assert_eq!(writer.arm_pending_send(2048), Ok(Room::Later));
    assert_eq!(mem.get(Control::PendingSendSize), 2056);
    assert_eq!(writer.stage(&packet), full(2048));
    assert_eq!(mem.get(Control::PendingSendSize), 2056, "still waiting");
    mem.set(Control::ReadIndex, 2048);
    assert_eq!(writer.stage(&packet), Ok(()));
    assert_eq!(mem.get(Control::PendingSendSize), 0);
}

#[test]
fn a_small_packet_does_not_end_the_wait_for_a_large_one() {
    let mem = TestMem::new(4096);
    let mut writer = Writer::new(&mem).unwrap();
    let half = payload(2048);
    let half: &[&[u8]] = &[&half];
    let large = OutgoingPacket::in_band(half);
    let small = OutgoingPacket::in_band(&[]);
    let _ = writer.send(&large).unwrap();
    assert_eq!(writer.stage(&large), full(2048));
    assert_eq!(writer.arm_pending_send(2048), Ok(Room::Later));
    assert_eq!(writer.arm_pending_send(24), Ok(Room::Now));
    assert_eq!(writer.stage(&small), Ok(()));
    assert_eq!(mem.get(Control::PendingSendSize), 2056, "still waiting");
    mem.set(Control::ReadIndex, 2048);
    assert_eq!(writer.stage(&large), Ok(()));
    assert_eq!(mem.get(Control::PendingSendSize), 0);
}

#[test]
fn room_that_appears_while_arming_is_found() {
    let mem = TestMem::new(4096);
    let mut writer = Writer::new(&mem).unwrap();
    let half = payload(2048);
    let half: &[&[u8]] = &[&half];
    let _ = writer.send(&OutgoingPacket::in_band(half)).unwrap();
    assert_eq!(writer.stage(&OutgoingPacket::in_band(half)), full(2048));
    mem.script(Control::ReadIndex, 2048);
    assert_eq!(writer.arm_pending_send(2048), Ok(Room::Now));
    assert_eq!(mem.get(Control::PendingSendSize), 0);
}

#[test]
fn a_pending_send_size_can_always_be_reached() {
    let mem = TestMem::new(4096);
    let mut writer = Writer::new(&mem).unwrap();
    let _ = writer.send(&OutgoingPacket::in_band(&[])).unwrap();
    for needed in [4072, 4080, 4088, u32::MAX] {
        assert_eq!(writer.arm_pending_send(needed), Ok(Room::Later));
        assert!(
            mem.get(Control::PendingSendSize) < 4096,
            "an empty ring has 4096 bytes free"
        );
    }
    writer.disarm_pending_send();
    assert_eq!(mem.get(Control::PendingSendSize), 0);
}

#[test]
fn a_read_index_that_is_impossible_fails_the_ring_for_good() {
    // 48 bytes are published and 24 of them known to be read.
    for (index, valid) in [
        (24, true),
        (32, true),
        (48, true),
        (16, false),
        (0, false),
        (56, false),
        (25, false),
        (4088, false),
        (4096, false),
        (4104, false),
        (u32::MAX, false),
        (1 << 31, false),
    ] {
        let mem = TestMem::new(4096);
        let mut writer = Writer::new(&mem).unwrap();
        for _ in 0..2 {
            let _ = writer.send(&OutgoingPacket::in_band(&[])).unwrap();
        }
        mem.set(Control::ReadIndex, 24);
        writer.room().unwrap();
        writer.stage(&OutgoingPacket::in_band(&[])).unwrap();
        mem.set(Control::ReadIndex, index);
        assert_eq!(writer.room().is_ok(), valid, "{index}");
        if valid {
            continue;
        }
        mem.set(Control::ReadIndex, 24);
        let corrupt = Corrupt::ReadIndex(index);
        let written = mem.written.get();
        assert_eq!(writer.room(), Err(corrupt));
        assert_eq!(writer.arm_pending_send(24), Err(corrupt));
        let result = writer.stage(&OutgoingPacket::in_band(&[]));
        assert_eq!(result, Err(WriteError::Corrupt(corrupt)));
        assert_eq!(mem.written.get(), written);
    }
}

#[test]
fn snapshots_show_what_is_there() {
    let mem = TestMem::new(4096);
    let mut writer = Writer::new(&mem).unwrap();
    let _ = writer.send(&OutgoingPacket::in_band(&[&[0; 40]])).unwrap();
    mem.set(Control::InterruptMask, 1);
    let expected = Snapshot {
        interrupt_mask: 1,
        read_index: 0,
        write_index: 64,
        bytes_to_read: 64,
        bytes_to_write: 4032,
    };
    assert_eq!(Snapshot::of(writer.mem()), expected);
    for (read, write, to_read) in [
        (64, 64, 0),
        (72, 64, 4088),
        (u32::MAX, 64, 64),
        (0, u32::MAX, 4096),
        (u32::MAX, u32::MAX, 0),
    ] {
        mem.set(Control::ReadIndex, read);
        mem.set(Control::WriteIndex, write);
        let snapshot = Snapshot::of(&mem);
        assert_eq!((snapshot.read_index, snapshot.write_index), (read, write));
        assert_eq!(
            (snapshot.bytes_to_read, snapshot.bytes_to_write),
            (to_read, 4096 - to_read)
        );
    }
}

/// The same packet, staged in parts and as a whole, at every place of the ring: the bytes are the same, round its end too.
#[test]
fn a_whole_packet_is_what_its_parts_make() {
    let (parts, whole) = (TestMem::new(256), TestMem::new(256));
    let (mut by_parts, mut at_once) = (Writer::new(&parts).unwrap(), Writer::new(&whole).unwrap());
    let payload = [0x1111_1111_1111_1111u64, 0x2222];
    for (round, pages) in [1u64, 0, 3, 2, 0, 1, 1, 4]
        .into_iter()
        .cycle()
        .take(64)
        .enumerate()
    {
        let id = u64::try_from(round).unwrap() + (7 << 32);
        let mut extension = vec![0; 16 + usize::try_from(pages).unwrap() * 8];
        let mut list = GpaDirect::new(&mut extension).unwrap();
        let (offset, count) = (16, u32::try_from(pages).unwrap() * 4096);
        let mut words = vec![];
        let size = usize::try_from(pages).unwrap();
        let size = if size == 0 { 0 } else { size + 2 };
        words.extend(request_head(id, size, payload.len()).unwrap());
        if pages != 0 {
            // Ends inside its last page.
            let count = count - offset - 1;
            list.push(offset, count, 100..100 + pages).unwrap();
            words.extend(one_range(offset, count));
            words.extend(100..100 + pages);
        }
        let (lists, payloads) = ([list.finish()], [payload.as_bytes()]);
        let packet = match pages {
            0 => OutgoingPacket::request(id, &payloads),
            _ => OutgoingPacket::gpa_direct(id, &lists, &payloads),
        };
        words.extend(payload);
        words.push(u64::MAX);
        by_parts.stage(&packet).unwrap();
        at_once.stage_whole(&mut words).unwrap();
        assert_eq!(by_parts.publish(), at_once.publish());
        assert_eq!(parts.bytes(), whole.bytes(), "round {round}");
        for mem in [&parts, &whole] {
            mem.set(Control::ReadIndex, mem.get(Control::WriteIndex));
        }
    }
}

#[test]
fn a_whole_packet_that_does_not_fit_is_refused() {
    let mem = TestMem::new(256);
    let mut writer = Writer::new(&mem).unwrap();
    assert_eq!(writer.stage_whole(&mut []), Err(WriteError::TooLarge));
    assert_eq!(writer.stage_whole(&mut [0; 31]), Err(WriteError::TooLarge));
    writer.stage_whole(&mut [0; 30]).unwrap();
    assert_eq!(writer.stage_whole(&mut [0; 4]), full(32));
    assert_eq!(request_head(1, 65_536, 1), None);
    assert_eq!(request_head(1, usize::MAX, 1), None);
    assert_eq!(request_head(1, 1, usize::MAX), None);
    assert_eq!(request_head(1, 65_533, 1), None);
    assert!(request_head(1, 65_532, 1).is_some());
}
