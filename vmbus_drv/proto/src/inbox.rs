// SPDX-License-Identifier: GPL-2.0

//! Messages on their way from the interrupt to the worker, in an inbox of fixed size.
//!
//! The interrupt must neither allocate nor drop a message. When there is no room, the message stays in its SynIC slot,
//! where it holds back those behind it in the hypervisor's queue, and the worker has the CPU deliver it as soon as it
//! has made room.

use core::ops::DerefMut;
use hvdef::synic::MESSAGE_SIZE;

/// A message slot's content.
type Message = [u8; MESSAGE_SIZE];

/// The inbox is full: the message must stay where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxFull;

/// Messages that wait for the worker, in memory `S` of the caller's. `C` names a CPU.
#[derive(Debug)]
pub struct Inbox<S, C> {
    /// A ring of copies.
    slots: S,
    /// Where the oldest one is.
    first: usize,
    /// How many there are.
    count: usize,
    /// The CPU that had to keep a message for want of room. Never there unless the inbox is full.
    stalled: Option<C>,
}

impl<S: DerefMut<Target = [Message]>, C> Inbox<S, C> {
    /// An empty inbox for as many messages as there are `slots`.
    pub const fn new(slots: S) -> Self {
        Self {
            slots,
            first: 0,
            count: 0,
            stalled: None,
        }
    }

    /// Adds a copy of the message in the slot of `cpu`. Never allocates.
    ///
    /// # Errors
    ///
    /// [`InboxFull`]; a later [`Inbox::pop`] returns `cpu`.
    pub fn push(&mut self, cpu: C, message: &Message) -> Result<(), InboxFull> {
        let size = self.slots.len();
        let end = self.first.wrapping_add(self.count).checked_rem(size);
        match end.and_then(|end| self.slots.get_mut(end)) {
            Some(slot) if self.count < size => {
                *slot = *message;
                self.count = self.count.wrapping_add(1);
                Ok(())
            }
            _ => {
                self.stalled = Some(cpu);
                Err(InboxFull)
            }
        }
    }

    /// Takes the oldest message, and with it the CPU that kept one and is to deliver it now.
    pub fn pop(&mut self) -> Option<(Message, Option<C>)> {
        self.count = self.count.checked_sub(1)?;
        let message = *self.slots.get(self.first)?;
        self.first = self.first.wrapping_add(1).checked_rem(self.slots.len())?;
        Some((message, self.stalled.take()))
    }
}

#[cfg(test)]
mod tests;
