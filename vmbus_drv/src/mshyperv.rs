// SPDX-License-Identifier: GPL-2.0

//! What the kernel calls before it starts another kernel, and what a panic does.

use crate::connection::Connection;
use crate::panic_notifier::{OnPanic, PanicNotifier};
use core::sync::atomic::{AtomicPtr, Ordering};
use hv_core::partition;
use kernel::error::Result;
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
    Handlers::on_panic();
    // The others are beyond reach; the crash kernel runs on this CPU.
    if let Some(partition) = partition() {
        partition.synic().disable_current();
    }
}

/// The handlers, until this is dropped.
pub(crate) struct Handlers {
    /// For a panic without crash kernel; dropped first.
    panic: Option<PanicNotifier>,
    /// Keeps what [`CONNECTION`] points to.
    _connection: Arc<Connection>,
}

impl OnPanic for Handlers {
    fn on_panic() {
        if let Some(connection) = connection() {
            connection.crash_unload();
        }
    }
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
            panic: None,
            _connection: connection,
        };
        // SAFETY: Both are functions of this module, and `Drop` removes them.
        unsafe {
            hv_bindings::hv_setup_kexec_handler(Some(on_kexec));
            hv_bindings::hv_setup_crash_handler(Some(on_crash));
        }
        handlers.panic = Some(PanicNotifier::new::<Self>()?);
        Ok(handlers)
    }
}

impl Drop for Handlers {
    fn drop(&mut self) {
        self.panic = None;
        // SAFETY: Removing has no preconditions.
        unsafe {
            hv_bindings::hv_remove_kexec_handler();
            hv_bindings::hv_remove_crash_handler();
        }
        CONNECTION.store(core::ptr::null_mut(), Ordering::Release);
    }
}
