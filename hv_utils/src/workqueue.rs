// SPDX-License-Identifier: GPL-2.0

//! Items that run at a time which may change (`linux/workqueue.h`): the kernel crate's can be queued, but not be moved or
//! taken back.

use kernel::bindings;
use kernel::ffi;
use kernel::sync::Arc;
use kernel::time::Jiffies;
use kernel::workqueue::{HasDelayedWork, Work, WorkItem};

/// The C structure in an item that is valid.
fn raw<T: WorkItem + HasDelayedWork<T>>(item: *const T) -> *mut bindings::delayed_work {
    // SAFETY: Both pointers are into one item, which is all that is asked; its work is that of a `delayed_work`.
    unsafe {
        let work = Work::raw_get(T::raw_get_work(item.cast_mut()));
        kernel::container_of!(work, bindings::delayed_work, work)
    }
}

/// Has the item run after `delay`, and not when it was to run before. Any context.
pub(crate) fn run_after<T>(item: Arc<T>, delay: Jiffies)
where
    T: WorkItem<Pointer = Arc<T>> + HasDelayedWork<T>,
{
    let item = Arc::into_raw(item);
    // SAFETY: The reference that `item` was made of keeps the work valid. If it was not pending, that reference is what
    // its run is made of, and otherwise there was one before.
    unsafe {
        // CAST: The number of no CPU.
        let anywhere = bindings::wq_misc_consts_WORK_CPU_UNBOUND as ffi::c_int;
        if bindings::mod_delayed_work_on(anywhere, bindings::system_long_wq, raw(item), delay) {
            drop(Arc::from_raw(item));
        }
    }
}

/// Has the item not run any more, and waits while it does. Process context, and not from the item. The caller sees to it
/// that nobody sets it again.
pub(crate) fn cancel<T>(item: &Arc<T>)
where
    T: WorkItem<Pointer = Arc<T>> + HasDelayedWork<T>,
{
    let item = Arc::as_ptr(item);
    // SAFETY: The caller's reference keeps the work valid. One that was pending had a reference of its own.
    unsafe {
        if bindings::cancel_delayed_work_sync(raw(item)) {
            drop(Arc::from_raw(item));
        }
    }
}
