// SPDX-License-Identifier: GPL-2.0

//! Waiting for an answer, never without a limit.

use hv_core::IrqLock;
use kernel::bindings;
use kernel::error::Result;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::time::msecs_to_jiffies;
use kernel::types::Opaque;

/// The longest sleep at a stretch, in milliseconds.
const SLICE_MS: u32 = 30_000;

/// The place of one answer: completed at most once, waited for at most once.
#[pin_data]
pub struct Reply<T> {
    /// Wakes the waiter.
    #[pin]
    done: Opaque<bindings::completion>,
    /// The answer.
    #[pin]
    value: IrqLock<Option<T>>,
}

// SAFETY: A completion may be used from any thread; the value is behind a lock.
unsafe impl<T: Send> Send for Reply<T> {}
// SAFETY: As above.
unsafe impl<T: Send> Sync for Reply<T> {}

impl<T: Send + Unpin> Reply<T> {
    /// A reply that is still to come. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                // SAFETY: The slot is valid for writes, and pinned from here on.
                done <- Opaque::ffi_init(|slot| unsafe { bindings::init_completion(slot) }),
                value <- hv_core::new_irq_lock!(None),
            }),
            GFP_KERNEL,
        )
    }

    /// Gives the answer and wakes the waiter. Any context.
    pub fn complete(&self, value: T) {
        *self.value.lock() = Some(value);
        // SAFETY: The completion was initialised in place.
        unsafe { bindings::complete(self.done.get()) };
    }

    /// Waits up to `timeout_ms` milliseconds for the answer; `None` if there was none. Process context.
    pub fn wait(&self, timeout_ms: u32) -> Option<T> {
        // The kernel complains of a task that sleeps for two minutes at a stretch.
        let mut left = timeout_ms;
        while left > 0 {
            let slice = left.min(SLICE_MS);
            left = left.saturating_sub(slice);
            // SAFETY: The completion was initialised in place; process context is this function's own condition.
            let done = unsafe {
                bindings::wait_for_completion_timeout(self.done.get(), msecs_to_jiffies(slice))
            };
            if done != 0 {
                break;
            }
        }
        self.value.lock().take()
    }
}
