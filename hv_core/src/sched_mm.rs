// SPDX-License-Identifier: GPL-2.0

//! What allocations may do while a task is short of memory (`linux/sched/mm.h`).

use core::marker::PhantomData;
use kernel::ffi;

/// While this exists, allocations of the current task start no I/O: for whoever must get on before a disk can.
///
/// Guards nest: drop them in reverse order.
#[must_use]
pub struct NoIo {
    /// What was so before.
    flags: ffi::c_uint,
    /// The state belongs to one task, so this is neither `Send` nor `Sync`.
    _not_send: PhantomData<*mut ()>,
}

impl NoIo {
    /// No I/O from here on. Process context.
    pub fn new() -> Self {
        // SAFETY: Always allowed for the current task; `Drop` undoes it.
        let flags = unsafe { hv_bindings::rust_helper_hv_memalloc_noio_save() };
        Self {
            flags,
            _not_send: PhantomData,
        }
    }
}

impl Default for NoIo {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for NoIo {
    fn drop(&mut self) {
        // SAFETY: `flags` is what the matching save returned in this task.
        unsafe { hv_bindings::rust_helper_hv_memalloc_noio_restore(self.flags) };
    }
}
