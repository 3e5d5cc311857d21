// SPDX-License-Identifier: GPL-2.0

//! What the kernel calls before it starts another kernel, and what a panic or a suspend does to the connection.

use crate::connection::Connection;
use crate::notifier::{Callback, Chain, Notifier};
use core::sync::atomic::{AtomicPtr, Ordering};
use hv_core::compat::eopnotsupp;
use hv_core::partition;
use kernel::bindings;
use kernel::error::Result;
use kernel::ffi::c_int;
use kernel::prelude::*;
use kernel::sync::Arc;

/// The connection to end.
static CONNECTION: AtomicPtr<Connection> = AtomicPtr::new(core::ptr::null_mut());

/// The connection, while there are [`Handlers`].
fn connection() -> Option<&'static Connection> {
    // SAFETY: `Handlers` keeps the connection while the pointer is there. A kernel that crashes or is being replaced
    // unloads no module meanwhile.
    unsafe { CONNECTION.load(Ordering::Acquire).as_ref() }
}

/// Before the next kernel of a kexec starts. Process context.
extern "C" fn on_kexec() {
    if let Some(connection) = connection() {
        connection.disconnect();
    }
    if let Some(partition) = partition() {
        partition.synic().disable_all();
    }
}

/// Before the crash kernel starts. Any context, on the crashing CPU.
extern "C" fn on_crash(_: *mut kernel::bindings::pt_regs) {
    if let Some(connection) = connection() {
        connection.crash_unload();
    }
    // The others are beyond reach; the crash kernel runs on this CPU.
    if let Some(partition) = partition() {
        partition.synic().disable_current();
    }
}

/// A panic without a crash kernel.
struct Panic;

impl Callback for Panic {
    const CHAIN: Chain = Chain::Panic;
    // Near the end, so that others can still use VMBus devices; as the stock driver.
    const PRIORITY: c_int = c_int::MIN + 1;

    fn call(_action: usize) -> Result {
        if let Some(connection) = connection() {
            connection.crash_unload();
        }
        Ok(())
    }
}

/// Whether a guest with this bus can be resumed after hibernation: for that the connection would have to be made anew.
pub const RESUMES: bool = false;

/// Suspend and hibernation, which are refused as long as [`RESUMES`] says so.
struct Power;

impl Callback for Power {
    const CHAIN: Chain = Chain::Power;
    const PRIORITY: c_int = 0;

    fn call(action: usize) -> Result {
        let starts = [
            bindings::PM_HIBERNATION_PREPARE,
            bindings::PM_SUSPEND_PREPARE,
        ];
        if !RESUMES && starts.iter().any(|start| action == *start as usize) {
            pr_err!("suspend and hibernation are not supported yet while VMBus is connected\n");
            return Err(eopnotsupp());
        }
        Ok(())
    }
}

/// The handlers, until this is dropped.
pub(crate) struct Handlers {
    /// For panic and suspend; dropped first.
    notifiers: Option<[Notifier; 2]>,
    /// Keeps what [`CONNECTION`] points to.
    _connection: Arc<Connection>,
}

impl Handlers {
    /// Sets the handlers up. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(connection: Arc<Connection>) -> Result<Self> {
        CONNECTION.store(Arc::as_ptr(&connection).cast_mut(), Ordering::Release);
        let mut handlers = Self {
            notifiers: None,
            _connection: connection,
        };
        // SAFETY: Both are functions of this module, and `Drop` removes them.
        unsafe {
            hv_bindings::hv_setup_kexec_handler(Some(on_kexec));
            hv_bindings::hv_setup_crash_handler(Some(on_crash));
        }
        handlers.notifiers = Some([Notifier::new::<Panic>()?, Notifier::new::<Power>()?]);
        Ok(handlers)
    }
}

impl Drop for Handlers {
    fn drop(&mut self) {
        self.notifiers = None;
        // SAFETY: Removing has no preconditions.
        unsafe {
            hv_bindings::hv_remove_kexec_handler();
            hv_bindings::hv_remove_crash_handler();
        }
        CONNECTION.store(core::ptr::null_mut(), Ordering::Release);
    }
}
