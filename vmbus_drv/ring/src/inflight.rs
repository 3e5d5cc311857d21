// SPDX-License-Identifier: GPL-2.0

//! Requests that wait for their completion, found by transaction id.
//!
//! The host returns the id of a request in its completion. It may return one that it made up, or
//! one that it has returned before, so an entry is taken out of the table when its id comes back,
//! and an id is never used again: it holds the slot's generation.

use core::ops::{Deref, DerefMut};

/// No request has this id, or its completion has been seen. To be counted and dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unknown;

/// The table has no free slot; the request comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full<T>(pub T);

/// Room for one request.
#[derive(Debug)]
pub struct Slot<T> {
    /// How often this slot has been emptied; the upper half of the ids that it gives out.
    generation: u32,
    /// The request, or the way to other free slots.
    entry: Entry<T>,
}

/// Content of a [`Slot`].
#[derive(Debug)]
enum Entry<T> {
    /// No request here.
    Free {
        /// [`Table::free`] after this slot is used.
        next: u32,
    },
    /// A request that waits for its completion.
    Waiting(T),
}

impl<T> Slot<T> {
    /// An empty slot, to fill the storage of a [`Table`] with.
    pub const fn new() -> Self {
        Self {
            generation: 0,
            entry: Entry::Free { next: 0 },
        }
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The requests of one channel that wait for their completion, in storage of the caller.
///
/// A transaction id is the slot's generation in the upper 32 bits and its number, counted from 1,
/// in the lower. So it is never 0, the id of packets to which no request belongs.
///
/// # Invariants
///
/// From `free` on, the `next` numbers lead through all free slots and end with 0.
#[derive(Debug)]
pub struct Table<S> {
    /// The slots.
    slots: S,
    /// Number, counted from 1, of the slot to use next; 0 if the table is full.
    free: u32,
    /// Number of waiting requests.
    len: usize,
}

impl<T, S> Table<S>
where
    S: DerefMut + Deref<Target = [Slot<T>]>,
{
    /// An empty table. It has as many slots as `slots`, but at most 2^32 - 1. Requests that `slots`
    /// held are dropped.
    pub fn new(mut slots: S) -> Self {
        let count = u32::try_from(slots.len()).unwrap_or(u32::MAX);
        for (slot, number) in slots.iter_mut().zip(1..=count) {
            let next = if number < count {
                number.wrapping_add(1)
            } else {
                0
            };
            slot.entry = Entry::Free { next };
        }
        Self {
            slots,
            free: count.min(1),
            len: 0,
        }
    }

    /// Number of waiting requests.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no request is waiting.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts `request` into the table and returns the transaction id for its packet.
    ///
    /// Do this before the packet is staged: the completion may come before staging returns. If the
    /// packet is not staged, take the request out again.
    ///
    /// # Errors
    ///
    /// [`Full`] gives the request back.
    #[inline]
    pub fn insert(&mut self, request: T) -> Result<u64, Full<T>> {
        let number = self.free;
        let Some(slot) = slot_mut(&mut self.slots, number) else {
            return Err(Full(request));
        };
        // A used slot is never on the free list; were it there, the table would count as full.
        let Entry::Free { next } = slot.entry else {
            return Err(Full(request));
        };
        slot.entry = Entry::Waiting(request);
        self.free = next;
        self.len = self.len.saturating_add(1);
        Ok(u64::from(slot.generation) << 32 | u64::from(number))
    }

    /// Takes out the request that has this transaction id.
    ///
    /// # Errors
    ///
    /// [`Unknown`] if the host made the id up or has used it before.
    #[inline]
    pub fn take(&mut self, transaction_id: u64) -> Result<T, Unknown> {
        let number = u32::try_from(transaction_id & u64::from(u32::MAX)).map_err(|_| Unknown)?;
        let slot = slot_mut(&mut self.slots, number).ok_or(Unknown)?;
        if u64::from(slot.generation) != transaction_id >> 32 {
            return Err(Unknown);
        }
        let request = empty(slot, self.free).ok_or(Unknown)?;
        self.free = number;
        self.len = self.len.saturating_sub(1);
        Ok(request)
    }

    /// Takes out all requests, one by one, to end them when the channel is gone. Those not taken
    /// from the iterator stay.
    pub fn drain<'a>(&'a mut self) -> impl Iterator<Item = T> + 'a
    where
        T: 'a,
    {
        let Self { slots, free, len } = self;
        slots
            .iter_mut()
            .zip(1u32..=u32::MAX)
            .filter_map(|(slot, number)| {
                let request = empty(slot, *free)?;
                *free = number;
                *len = len.saturating_sub(1);
                Some(request)
            })
    }
}

/// The slot with this number, counted from 1.
#[inline]
fn slot_mut<T>(slots: &mut [Slot<T>], number: u32) -> Option<&mut Slot<T>> {
    slots.get_mut(usize::try_from(number.checked_sub(1)?).ok()?)
}

/// Takes the request out of `slot`, whose next id will be another, and makes it lead to the slot
/// `next`.
#[inline]
fn empty<T>(slot: &mut Slot<T>, next: u32) -> Option<T> {
    match core::mem::replace(&mut slot.entry, Entry::Free { next }) {
        Entry::Waiting(request) => {
            slot.generation = slot.generation.wrapping_add(1);
            Some(request)
        }
        free => {
            slot.entry = free;
            None
        }
    }
}
