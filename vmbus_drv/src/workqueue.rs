// SPDX-License-Identifier: GPL-2.0

//! What the kernel crate's workqueues lack: a queue of one's own, and waiting.

use core::ops::Deref;
use core::ptr::NonNull;
use kernel::bindings;
use kernel::prelude::*;
use kernel::workqueue::{Queue, Work};

/// Waits until `work` is neither queued nor running. Process context, and not from `work` itself.
///
/// An item that others queue again meanwhile may be so afterwards: end that first.
pub fn flush<T: ?Sized, const ID: u64>(work: &Work<T, ID>) {
    // SAFETY: The item is initialised and pinned, as its type guarantees, and lives while it is borrowed.
    unsafe { bindings::flush_work(Work::raw_get(work)) };
}

/// Proof that no softirq interrupts this on the current CPU. Process or softirq context.
pub(crate) struct SoftirqsOff(());

impl SoftirqsOff {
    /// Keeps softirqs from running here until this is dropped.
    pub(crate) fn new() -> Self {
        // SAFETY: Always allowed outside hardirq context; `Drop` undoes it.
        unsafe { hv_bindings::rust_helper_hv_local_bh_disable() };
        Self(())
    }
}

impl Drop for SoftirqsOff {
    fn drop(&mut self) {
        // SAFETY: `new` disabled them. Guards are not sent to other threads, see `OpenChannel::poll`.
        unsafe { hv_bindings::rust_helper_hv_local_bh_enable() };
    }
}

/// A workqueue whose items run in process context on any CPU.
///
/// Drop it from no item of its own: that waits for all of them.
pub struct OwnQueue(NonNull<bindings::workqueue_struct>);

// SAFETY: Workqueues may be used from any thread.
unsafe impl Send for OwnQueue {}
// SAFETY: As above.
unsafe impl Sync for OwnQueue {}

impl OwnQueue {
    /// Makes a queue whose items may wait for those of queues without a rescuer. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new(name: &'static CStr) -> Result<Self> {
        Self::with(name, bindings::wq_flags_WQ_UNBOUND)
    }

    /// Makes a queue whose items run even if there is no memory for another thread, since memory may become free only by
    /// them. They wait for no item of a queue that [`Self::new`] made, or the kernel warns. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn with_rescuer(name: &'static CStr) -> Result<Self> {
        let flags = bindings::wq_flags_WQ_UNBOUND | bindings::wq_flags_WQ_MEM_RECLAIM;
        Self::with(name, flags)
    }

    /// Makes a queue with these flags.
    fn with(name: &'static CStr, flags: bindings::wq_flags) -> Result<Self> {
        // SAFETY: The name is the only argument of its format. 0 stands for the default number of items at a time.
        let queue = unsafe {
            bindings::alloc_workqueue_noprof(c"%s".as_char_ptr(), flags, 0, name.as_char_ptr())
        };
        NonNull::new(queue).map(Self).ok_or(ENOMEM)
    }

    /// Waits for all items that are queued now. Process context, and not from one of them.
    pub(crate) fn flush(&self) {
        // SAFETY: The queue lives while it is borrowed.
        unsafe { bindings::__flush_workqueue(self.0.as_ptr()) };
    }

    /// Waits for all items, and those that they queue. Nobody else may queue any. Process context, and not from one
    /// of them.
    pub(crate) fn drain(&self) {
        // SAFETY: The queue lives while it is borrowed.
        unsafe { bindings::drain_workqueue(self.0.as_ptr()) };
    }
}

impl Deref for OwnQueue {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        // SAFETY: The queue lives while it is borrowed.
        unsafe { Queue::from_raw(self.0.as_ptr()) }
    }
}

impl Drop for OwnQueue {
    fn drop(&mut self) {
        // SAFETY: The queue is owned, and nobody can queue any more.
        unsafe { bindings::destroy_workqueue(self.0.as_ptr()) };
    }
}
