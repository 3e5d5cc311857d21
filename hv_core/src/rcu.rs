// SPDX-License-Identifier: GPL-2.0

//! A slot that readers in any context follow without a lock while it is replaced in process context.

use core::ptr;
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering::{Acquire, SeqCst};
use kernel::bindings;
use kernel::prelude::*;
use kernel::sync::rcu;

/// Waits until all read-side sections that have begun are over. Process context.
#[inline]
pub fn synchronize_rcu() {
    // SAFETY: Process context is this function's own condition.
    unsafe { bindings::synchronize_rcu() };
}

/// Owns at most one `T`, which readers use under RCU.
///
/// # Invariants
///
/// The pointer is null or came from `KBox::into_raw`, and is freed only after a grace period in which no new reader
/// could find it.
pub struct RcuSlot<T: Send + Sync> {
    /// The box, or null.
    pointer: AtomicPtr<T>,
}

// SAFETY: The slot owns a `T`, which is `Send` and `Sync`, and hands out shared references only.
unsafe impl<T: Send + Sync> Send for RcuSlot<T> {}
// SAFETY: As above.
unsafe impl<T: Send + Sync> Sync for RcuSlot<T> {}

impl<T: Send + Sync> RcuSlot<T> {
    /// An empty slot.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            pointer: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// What the slot holds, for as long as the read-side section lasts. Any context.
    #[inline]
    pub fn get<'a>(&'a self, _section: &'a rcu::Guard) -> Option<&'a T> {
        let pointer = self.pointer.load(Acquire);
        // SAFETY: By the invariant a non-null pointer stays valid until the read-side section ends.
        unsafe { pointer.as_ref() }
    }

    /// Calls `reader` with what the slot holds, if it holds something. Any context; `reader` must not sleep.
    #[inline]
    pub fn with<R>(&self, reader: impl FnOnce(&T) -> R) -> Option<R> {
        let section = rcu::read_lock();
        self.get(&section).map(reader)
    }

    /// Replaces what the slot holds, and returns the old content once no reader can still use it.
    ///
    /// Process context; sleeps for a grace period where there was something.
    pub fn replace(&self, new: Option<KBox<T>>) -> Option<KBox<T>> {
        // INVARIANT: The new pointer is null or comes from a box.
        let old = self
            .pointer
            .swap(new.map_or(ptr::null_mut(), KBox::into_raw), SeqCst);
        if old.is_null() {
            return None;
        }
        synchronize_rcu();
        // SAFETY: By the invariant the pointer came from a box, the exchange took it out, and no reader is left.
        Some(unsafe { KBox::from_raw(old) })
    }
}

impl<T: Send + Sync> Default for RcuSlot<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Send + Sync> Drop for RcuSlot<T> {
    fn drop(&mut self) {
        let pointer = *self.pointer.get_mut();
        if !pointer.is_null() {
            // SAFETY: The exclusive reference rules out readers, and by the invariant the pointer came from a box.
            drop(unsafe { KBox::from_raw(pointer) });
        }
    }
}
