// SPDX-License-Identifier: GPL-2.0

//! The SynIC of one VP as the sending side sees it: messages into slots, event flags into words.
//!
//! The pages are the guest's memory where the guest placed them. Everything here is over memory alone: what is to be
//! interrupted is returned.

use crate::kvm_ioctl::SynicRegisters;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicU8, Ordering};
use hvdef::msr::{OverlayPage, Scontrol};
use hvdef::synic::{
    MessageHeader, MessageType, EVENT_FLAGS_SIZE, FLAGS_OFFSET, FLAG_PENDING, MESSAGE_SIZE,
    PAYLOAD_SIZE, SINT_COUNT, TYPE_OFFSET,
};
use std::collections::VecDeque;
use vm_memory::{Bytes, GuestAddress, GuestMemory, GuestMemoryMmap, VolatileMemory, VolatileSlice};
use zerocopy::IntoBytes;

/// Messages that wait for one VP before the guest's own are refused. Each is at most 240 bytes.
const CROWDED: usize = 1024;

/// Whether a SINT is to be raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Interrupt {
    /// It is.
    Raise,
    /// It is not: nothing is new for the guest.
    None,
}

/// The SynIC of one VP.
#[derive(Debug, Default)]
pub(crate) struct Synic {
    /// The registers as the guest set them.
    registers: SynicRegisters,
    /// What waits for each slot.
    waiting: [VecDeque<Vec<u8>>; SINT_COUNT],
}

impl Synic {
    /// The guest wrote a register. Messages for a page that is gone are gone with it.
    pub(crate) fn set_registers(&mut self, registers: SynicRegisters) {
        self.registers = registers;
        if self.message_page().is_none() {
            self.waiting.iter_mut().for_each(VecDeque::clear);
        }
    }

    /// Whether so many messages wait that the guest must not cause more.
    pub(crate) fn is_crowded(&self) -> bool {
        self.waiting.iter().map(VecDeque::len).max().unwrap_or(0) >= CROWDED
    }

    /// Whether a message waits for a slot.
    pub(crate) fn is_waiting(&self, sint: u8) -> bool {
        self.waiting
            .get(usize::from(sint))
            .is_some_and(|waiting| !waiting.is_empty())
    }

    /// Address of the message page, if messages can be delivered.
    fn message_page(&self) -> Option<u64> {
        self.page(self.registers.simp)
    }

    /// Address of a page, if it and the SynIC are on.
    fn page(&self, register: u64) -> Option<u64> {
        let page = OverlayPage(register);
        (Scontrol(self.registers.scontrol).enabled() && page.enabled()).then(|| page.pfn() << 12)
    }

    /// Sends a message of at most 240 bytes to a slot; it waits if the slot is taken, and is lost if there is no page.
    pub(crate) fn post(
        &mut self,
        memory: &GuestMemoryMmap,
        sint: u8,
        payload: Vec<u8>,
    ) -> Interrupt {
        if self.message_page().is_none() || payload.len() > PAYLOAD_SIZE {
            return Interrupt::None;
        }
        if let Some(waiting) = self.waiting.get_mut(usize::from(sint)) {
            waiting.push_back(payload);
        }
        self.flush(memory, sint)
    }

    /// Fills a slot from what waits for it, if it is free: after the guest's EOM.
    pub(crate) fn flush(&mut self, memory: &GuestMemoryMmap, sint: u8) -> Interrupt {
        let Some(page) = self.message_page() else {
            return Interrupt::None;
        };
        let Some(waiting) = self.waiting.get_mut(usize::from(sint)) else {
            return Interrupt::None;
        };
        let Some(first) = waiting.front() else {
            return Interrupt::None;
        };
        let more = waiting.len() > 1;
        match area(memory, page, sint, MESSAGE_SIZE).and_then(|slot| fill(&slot, first, more)) {
            Some(true) => {}
            Some(false) => return Interrupt::None,
            None => {
                // The page is not in RAM, so that nobody can ever read it.
                waiting.clear();
                return Interrupt::None;
            }
        }
        waiting.pop_front();
        Interrupt::Raise
    }

    /// Sets an event flag. The guest is interrupted only if it was clear.
    pub(crate) fn signal(&self, memory: &GuestMemoryMmap, sint: u8, flag: u16) -> Interrupt {
        let Some(page) = self.page(self.registers.siefp) else {
            return Interrupt::None;
        };
        let flag = usize::from(flag);
        let Some(bytes) = area(memory, page, sint, EVENT_FLAGS_SIZE) else {
            return Interrupt::None;
        };
        let word = (flag >> 6).saturating_mul(size_of::<u64>());
        let Ok(word) = bytes.get_atomic_ref::<AtomicU64>(word) else {
            return Interrupt::None;
        };
        let bit = 1u64.rotate_left(u32::try_from(flag & 63).unwrap_or(0));
        if word.fetch_or(bit, Ordering::SeqCst) & bit == 0 {
            Interrupt::Raise
        } else {
            Interrupt::None
        }
    }
}

/// A SINT's part of a page.
fn area(memory: &GuestMemoryMmap, page: u64, sint: u8, size: usize) -> Option<VolatileSlice<'_>> {
    let offset = u64::try_from(usize::from(sint).checked_mul(size)?).ok()?;
    memory
        .get_slice(GuestAddress(page.checked_add(offset)?), size)
        .ok()
}

/// Fills a slot that is free, or has its reader write the EOM register when it has freed it. Returns whether it was
/// filled; `None` if the slot is no memory.
///
/// The guest frees a slot by its type and then looks at the flag. So the flag is set first and the type read again: one
/// of the two sides sees the other's write.
fn fill(slot: &VolatileSlice<'_>, payload: &[u8], more: bool) -> Option<bool> {
    let message_type = slot.get_atomic_ref::<AtomicU32>(TYPE_OFFSET).ok()?;
    let flags = slot.get_atomic_ref::<AtomicU8>(FLAGS_OFFSET).ok()?;
    let taken = || message_type.load(Ordering::SeqCst) != MessageType::NONE.0;
    if taken() {
        flags.fetch_or(FLAG_PENDING, Ordering::SeqCst);
        if taken() {
            return Some(false);
        }
    }
    let header = MessageHeader {
        message_type: MessageType::NONE.0.into(),
        payload_size: u8::try_from(payload.len()).ok()?,
        flags: if more { FLAG_PENDING } else { 0 },
        reserved: 0.into(),
        sender: 0.into(),
    };
    slot.write_slice(payload, size_of::<MessageHeader>()).ok()?;
    slot.write_slice(header.as_bytes(), 0).ok()?;
    message_type.store(MessageType::CHANNEL.0, Ordering::SeqCst);
    Some(true)
}

#[cfg(test)]
mod tests;
