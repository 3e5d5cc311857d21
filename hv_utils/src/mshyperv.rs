// SPDX-License-Identifier: GPL-2.0

//! What the kernel knows of the partition (`asm/mshyperv.h`).

/// Whether the guest can be resumed after hibernation.
pub(crate) fn hibernation_supported() -> bool {
    // SAFETY: No preconditions.
    unsafe { utils_bindings::hv_is_hibernation_supported() }
}
