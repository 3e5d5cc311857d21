// SPDX-License-Identifier: GPL-2.0

//! Module parameters, which `shim.c` declares.

use utils_bindings as raw;

/// Whether a sample sets the clock, too, if that is far behind.
pub(crate) fn timesync_implicit() -> bool {
    // SAFETY: No preconditions.
    unsafe { raw::rust_helper_utils_timesync_implicit() }
}

/// For how many milliseconds the choice of versions waits for a daemon that has not come.
pub(crate) fn daemon_patience_ms() -> u64 {
    // SAFETY: As above.
    u64::from(unsafe { raw::rust_helper_utils_daemon_patience() }).saturating_mul(1000)
}

/// In how many milliseconds a daemon answers.
pub(crate) fn daemon_timeout_ms() -> u64 {
    // SAFETY: As above.
    u64::from(unsafe { raw::rust_helper_utils_daemon_timeout() }).saturating_mul(1000)
}

/// In how many milliseconds a daemon freezes, and for how long all is frozen at most.
pub(crate) fn freeze_timeout_ms() -> u64 {
    // SAFETY: As above.
    u64::from(unsafe { raw::rust_helper_utils_freeze_timeout() }).saturating_mul(1000)
}
