// SPDX-License-Identifier: GPL-2.0

//! Access to model-specific registers on the current CPU. A register that is not there is an error, not a splat.

use kernel::error::{to_result, Result};

/// Reads `msr` on the current CPU. Any context.
///
/// # Errors
///
/// `EIO` if the register does not exist or may not be read.
pub(crate) fn read(msr: u32) -> Result<u64> {
    let mut value = 0;
    // SAFETY: The shim writes one `u64` and survives a fault.
    to_result(unsafe { hv_bindings::rust_helper_hv_rdmsr_safe(msr, &mut value) })?;
    Ok(value)
}

/// Writes `msr` on the current CPU. Any context.
///
/// # Errors
///
/// `EIO` if the register does not exist or refuses the value.
///
/// # Safety
///
/// Registers can give memory to the hypervisor and redirect interrupts: the caller must own what `value` names for
/// as long as it stays in the register.
pub(crate) unsafe fn write(msr: u32, value: u64) -> Result {
    // SAFETY: The caller answers for the effect; the shim survives a fault.
    to_result(unsafe { hv_bindings::rust_helper_hv_wrmsr_safe(msr, value) })
}
