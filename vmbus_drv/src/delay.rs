// SPDX-License-Identifier: GPL-2.0

//! Letting time pass.

/// Sleeps for at least `ms` milliseconds. Process context.
pub(crate) fn sleep(ms: u32) {
    // SAFETY: Process context is this function's own condition.
    unsafe { kernel::bindings::msleep(ms) };
}

/// Spins for about `ms` milliseconds. Any context.
pub(crate) fn spin(ms: u32) {
    // SAFETY: Spinning has no preconditions.
    unsafe { hv_bindings::rust_helper_hv_mdelay(ms) };
}
