// SPDX-License-Identifier: GPL-2.0

//! What the kernel crate's workqueues lack: waiting for an item.

use kernel::bindings;
use kernel::workqueue::Work;

/// Waits until `work` is neither queued nor running. Process context.
///
/// An item that others queue again meanwhile may be so afterwards: end that first.
pub fn flush<T: ?Sized, const ID: u64>(work: &Work<T, ID>) {
    // SAFETY: The item is initialised and pinned, as its type guarantees, and lives while it is borrowed.
    unsafe { bindings::flush_work(Work::raw_get(work)) };
}
