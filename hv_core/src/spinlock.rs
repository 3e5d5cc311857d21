// SPDX-License-Identifier: GPL-2.0

//! A lock that may be taken in hardirq context too.
//!
//! `kernel::sync::SpinLock` does not disable interrupts, so data shared with an interrupt handler needs this. The kernel
//! crate's `SpinLockIrq` is not in 7.2, and counts how often interrupts were disabled, for each command that is sent.

use kernel::bindings;
use kernel::ffi::c_char;
use kernel::sync::lock::spinlock::SpinLockBackend;
use kernel::sync::lock::{Backend, Lock};

/// A spinlock that is always taken with interrupts off, and restores their state. Any context. Guards nest: drop them in
/// reverse order. [`new_irq_lock!`](crate::new_irq_lock) makes one. With PREEMPT_RT nothing of this would be true, so
/// `shim.c` refuses it.
pub type IrqLock<T> = Lock<T, IrqLockBackend>;

/// `spin_lock_irqsave`.
pub struct IrqLockBackend;

// SAFETY: `spinlock_t` is a lock for one owner, and each way to take it here turns interrupts off. Taking it again is the
// same as taking it.
unsafe impl Backend for IrqLockBackend {
    type State = bindings::spinlock_t;

    /// The state of interrupts before.
    type GuardState = usize;

    unsafe fn init(
        lock: *mut Self::State,
        name: *const c_char,
        key: *mut bindings::lock_class_key,
    ) {
        // SAFETY: The caller keeps the same conditions.
        unsafe { SpinLockBackend::init(lock, name, key) };
    }

    #[inline]
    unsafe fn lock(lock: *mut Self::State) -> usize {
        // SAFETY: The caller knows that the lock was initialised. Disabling interrupts is always allowed.
        unsafe { hv_bindings::rust_helper_hv_spin_lock_irqsave(lock) }
    }

    #[inline]
    unsafe fn try_lock(lock: *mut Self::State) -> Option<usize> {
        let mut flags = 0;
        // SAFETY: As in `lock`.
        let taken =
            unsafe { hv_bindings::rust_helper_hv_spin_trylock_irqsave(lock, &raw mut flags) };
        taken.then_some(flags)
    }

    #[inline]
    unsafe fn unlock(lock: *mut Self::State, flags: &usize) {
        // SAFETY: The caller owns the lock, and `flags` is what taking it on this CPU has returned.
        unsafe { hv_bindings::rust_helper_hv_spin_unlock_irqrestore(lock, *flags) };
    }

    #[inline]
    unsafe fn assert_is_held(lock: *mut Self::State) {
        // Only lockdep has anything to say.
        if cfg!(CONFIG_LOCKDEP) {
            // SAFETY: The caller knows that the lock was initialised.
            unsafe { SpinLockBackend::assert_is_held(lock) };
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
