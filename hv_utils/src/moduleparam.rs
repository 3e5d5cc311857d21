// SPDX-License-Identifier: GPL-2.0

//! Module parameters, which `shim.c` declares.

use utils_bindings as raw;

/// Whether a sample sets the clock, too, if that is far behind.
pub(crate) fn timesync_implicit() -> bool {
    // SAFETY: No preconditions.
    unsafe { raw::rust_helper_utils_timesync_implicit() }
}
