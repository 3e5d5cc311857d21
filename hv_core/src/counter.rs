// SPDX-License-Identifier: GPL-2.0

//! Counts of what happens.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// A count, never decreasing. Any context.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one.
    #[inline]
    pub fn increment(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Counts one where nobody else does at the same time, which is cheaper.
    #[inline]
    pub fn increment_alone(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// The count.
    #[inline]
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
