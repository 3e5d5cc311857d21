// SPDX-License-Identifier: GPL-2.0

//! Module parameters, which `shim.c` declares.

/// The highest VMBus version to propose, as the user gave it.
pub(crate) fn max_version() -> u32 {
    // SAFETY: The parameter is read-only after loading.
    unsafe { hv_bindings::rust_helper_hv_max_version() }
}
