// SPDX-License-Identifier: GPL-2.0

//! What is called when the kernel panics.

use core::ptr;
use kernel::bindings;
use kernel::error::{to_result, Result};
use kernel::ffi::{c_int, c_ulong, c_void};
use kernel::prelude::*;
use kernel::types::Opaque;

/// Near the end of the chain, so that other notifiers can still use VMBus devices; as the stock driver.
const PRIORITY: c_int = c_int::MIN + 1;

/// A function that a panic calls, until this is dropped.
pub(crate) struct PanicNotifier(Pin<KBox<Opaque<bindings::notifier_block>>>);

// SAFETY: The block is not touched between registration and unregistration.
unsafe impl Send for PanicNotifier {}
// SAFETY: As above.
unsafe impl Sync for PanicNotifier {}

impl PanicNotifier {
    /// Has `F::on_panic` called. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new<F: OnPanic>() -> Result<Self> {
        extern "C" fn call<F: OnPanic>(
            _: *mut bindings::notifier_block,
            _: c_ulong,
            _: *mut c_void,
        ) -> c_int {
            F::on_panic();
            0
        }
        let block = bindings::notifier_block {
            notifier_call: Some(call::<F>),
            next: ptr::null_mut(),
            priority: PRIORITY,
        };
        let block = KBox::pin(Opaque::new(block), GFP_KERNEL)?;
        // SAFETY: The block is pinned and stays until `Drop` has unregistered it.
        to_result(unsafe {
            hv_bindings::rust_helper_hv_register_panic_notifier(block.get().cast())
        })?;
        Ok(Self(block))
    }
}

impl Drop for PanicNotifier {
    fn drop(&mut self) {
        // SAFETY: Registered by `new`.
        unsafe { hv_bindings::rust_helper_hv_unregister_panic_notifier(self.0.get().cast()) };
    }
}

/// Who is called when the kernel panics.
pub(crate) trait OnPanic {
    /// The kernel panicked. Any context: interrupts are off and the other CPUs are stopped, so take no lock and
    /// allocate nothing.
    fn on_panic();
}
