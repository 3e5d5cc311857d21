// SPDX-License-Identifier: GPL-2.0

//! Interrupts off on the current CPU.

use core::marker::PhantomData;

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
