// SPDX-License-Identifier: GPL-2.0

//! Notifiers: being called when the kernel panics, and before it suspends or hibernates.

use core::ptr;
use kernel::bindings;
use kernel::error::{to_result, Result};
use kernel::ffi::{c_int, c_ulong, c_void};
use kernel::prelude::*;
use kernel::types::Opaque;

/// A chain of notifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chain {
    /// Panics: any context, interrupts off and the other CPUs stopped, so take no lock and allocate nothing.
    Panic,
    /// Suspend and hibernation, before they start and after they end: process context.
    Power,
}

/// The chain of panics.
fn panic_chain() -> *mut bindings::atomic_notifier_head {
    &raw mut hv_bindings::panic_notifier_list
}

/// Who is called.
pub(crate) trait Callback {
    /// By which chain.
    const CHAIN: Chain;
    /// Higher ones are called earlier.
    const PRIORITY: c_int;

    /// Something happened; `action` says what, in the words of the chain.
    ///
    /// # Errors
    ///
    /// Any error stops what is about to happen, where the chain allows that.
    fn call(action: usize) -> Result;
}

/// A notifier, in force until dropped.
pub(crate) struct Notifier {
    /// What the chain links.
    block: Pin<KBox<Opaque<bindings::notifier_block>>>,
    /// The chain.
    chain: Chain,
}

// SAFETY: The block is not touched between registration and unregistration.
unsafe impl Send for Notifier {}
// SAFETY: As above.
unsafe impl Sync for Notifier {}

impl Notifier {
    /// Has `T` called. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new<T: Callback>() -> Result<Self> {
        extern "C" fn call<T: Callback>(
            _: *mut bindings::notifier_block,
            action: c_ulong,
            _: *mut c_void,
        ) -> c_int {
            match T::call(action) {
                Ok(()) => 0,
                // SAFETY: A calculation.
                Err(error) => unsafe {
                    hv_bindings::rust_helper_hv_notifier_from_errno(error.to_errno())
                },
            }
        }
        let block = bindings::notifier_block {
            notifier_call: Some(call::<T>),
            next: ptr::null_mut(),
            priority: T::PRIORITY,
        };
        let block = KBox::pin(Opaque::new(block), GFP_KERNEL)?;
        let raw = block.get();
        // SAFETY: The block is pinned and stays until `Drop` has unregistered it.
        to_result(unsafe {
            match T::CHAIN {
                Chain::Panic => bindings::atomic_notifier_chain_register(panic_chain(), raw),
                Chain::Power => bindings::register_pm_notifier(raw),
            }
        })?;
        Ok(Self {
            block,
            chain: T::CHAIN,
        })
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        let raw = self.block.get();
        // SAFETY: Registered by `new`.
        unsafe {
            match self.chain {
                Chain::Panic => bindings::atomic_notifier_chain_unregister(panic_chain(), raw),
                Chain::Power => bindings::unregister_pm_notifier(raw),
            }
        };
    }
}
