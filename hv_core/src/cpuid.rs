// SPDX-License-Identifier: GPL-2.0

//! CPUID, and through it the discovery of the hypervisor.

use hvdef::{DiscoverError, Hypervisor};

/// Executes CPUID with subleaf 0: EAX, EBX, ECX, EDX.
fn cpuid(leaf: u32) -> [u32; 4] {
    let mut registers = [0; 4];
    // SAFETY: The shim writes four `u32` to the array, which has four; CPUID itself has no other effect.
    unsafe { hv_bindings::rust_helper_hv_cpuid(leaf, registers.as_mut_ptr()) };
    registers
}

/// Discovers the hypervisor. Any context.
///
/// # Errors
///
/// Says in what respect this is no Hyper-V guest.
pub(crate) fn discover() -> Result<Hypervisor, DiscoverError> {
    Hypervisor::discover(cpuid)
}
