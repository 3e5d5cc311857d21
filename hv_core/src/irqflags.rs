// SPDX-License-Identifier: GPL-2.0

//! Interrupts off on the current CPU, and a lock that may be taken in hardirq context too.
//!
//! `kernel::sync::SpinLock` does not disable interrupts, so data shared with an interrupt handler needs this.

use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use kernel::prelude::*;
use kernel::sync::{lock::spinlock::SpinLockBackend, lock::Guard, LockClassKey, SpinLock};

/// Proof that interrupts, and so preemption, are off on the current CPU. Restores the earlier state when dropped.
///
/// Guards nest: drop them in reverse order.
pub struct InterruptsOff {
    /// The saved state.
    flags: usize,
    /// The state belongs to one CPU, so this is neither `Send` nor `Sync`.
    _not_send: PhantomData<*mut ()>,
}

impl InterruptsOff {
    /// Turns interrupts off. Any context.
    #[inline]
    #[must_use]
    pub fn new() -> Self {
        // SAFETY: Disabling interrupts is always allowed; `Drop` restores them.
        let flags = unsafe { hv_bindings::rust_helper_hv_local_irq_save() };
        Self {
            flags,
            _not_send: PhantomData,
        }
    }
}

impl Default for InterruptsOff {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for InterruptsOff {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: `flags` is what the matching save returned on this CPU.
        unsafe { hv_bindings::rust_helper_hv_local_irq_restore(self.flags) };
    }
}

/// A spinlock that is always taken with interrupts off. Any context.
#[pin_data]
pub struct IrqLock<T> {
    /// The data.
    #[pin]
    inner: SpinLock<T>,
}

impl<T> IrqLock<T> {
    /// A lock around `data`; use [`new_irq_lock!`](crate::new_irq_lock).
    pub fn new(
        data: T,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            inner <- SpinLock::new(data, name, key),
        })
    }

    /// Takes the lock.
    #[inline]
    pub fn lock(&self) -> IrqGuard<'_, T> {
        let off = InterruptsOff::new();
        IrqGuard {
            guard: self.inner.lock(),
            _off: off,
        }
    }
}

/// Initialises an [`IrqLock`] with a lock class of its own.
#[macro_export]
macro_rules! new_irq_lock {
    ($data:expr) => {
        $crate::IrqLock::new(
            $data,
            kernel::c_str!(concat!(file!(), ":", line!())),
            kernel::static_lock_class!(),
        )
    };
}

/// Access to the data of an [`IrqLock`]. The fields' order releases the lock before interrupts come back.
pub struct IrqGuard<'a, T> {
    /// The lock, held.
    guard: Guard<'a, T, SpinLockBackend>,
    /// Interrupts, off.
    _off: InterruptsOff,
}

impl<T> Deref for IrqGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T: Unpin> DerefMut for IrqGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}
