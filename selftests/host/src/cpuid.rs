// SPDX-License-Identifier: GPL-2.0

//! What CPUID says to the guest: KVM's processor, our number of VPs, and a Hyper-V of what KVM can do.

use hvdef::cpuid as hv;
use hvdef::cpuid::{Features, Privileges, Recommendations};
use kvm_bindings::kvm_cpuid_entry2;

/// First and last leaf of hypervisors.
const HYPERVISOR_LEAVES: std::ops::RangeInclusive<u32> = 0x4000_0000..=0x4000_ffff;

/// Whether the guest is a Hyper-V one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Identity<'a> {
    /// It is, with no more than these leaves of KVM say.
    HyperV(&'a [kvm_cpuid_entry2]),
    /// It sees KVM.
    Kvm,
}

/// The leaves of VP `vp` of `vps`, given what KVM supports.
///
/// # Errors
///
/// A sentence if KVM lacks what a Hyper-V guest needs.
pub(crate) fn leaves(
    supported: &[kvm_cpuid_entry2],
    identity: Identity<'_>,
    vp: u8,
    vps: u8,
) -> Result<Vec<kvm_cpuid_entry2>, String> {
    let mut leaves: Vec<_> = supported
        .iter()
        .filter(|leaf| identity == Identity::Kvm || !HYPERVISOR_LEAVES.contains(&leaf.function))
        .filter(|leaf| !matches!(leaf.function, TOPOLOGY | TOPOLOGY_V2 | TOPOLOGY_AMD))
        .copied()
        .collect();
    for leaf in &mut leaves {
        set_topology(leaf, vp, vps);
    }
    leaves.extend(topology(vp, vps));
    if let Identity::HyperV(supported) = identity {
        leaves.extend(hyperv(supported)?);
    }
    Ok(leaves)
}

/// Extended topology.
const TOPOLOGY: u32 = 0xb;
/// Its second version.
const TOPOLOGY_V2: u32 = 0x1f;
/// AMD's.
const TOPOLOGY_AMD: u32 = 0x8000_0026;

/// Bits of an APIC id that tell cores apart.
fn core_bits(vps: u8) -> u32 {
    u32::from(vps).next_power_of_two().trailing_zeros()
}

/// The extended topology: one package, `vps` cores of one thread.
fn topology(vp: u8, vps: u8) -> [kvm_cpuid_entry2; 2] {
    let level = |index: u32, shift: u32, count: u32, kind: u32| kvm_cpuid_entry2 {
        function: TOPOLOGY,
        index,
        // The index matters.
        flags: 1,
        eax: shift,
        ebx: count,
        ecx: kind << 8 | index,
        edx: u32::from(vp),
        ..Default::default()
    };
    [
        level(0, 0, 1, 1),
        level(1, core_bits(vps), u32::from(vps), 2),
    ]
}

/// Sets what a leaf of KVM says about the number of VPs and about which one this is.
fn set_topology(leaf: &mut kvm_cpuid_entry2, vp: u8, vps: u8) {
    let (id, count) = (u32::from(vp), u32::from(vps));
    match leaf.function {
        1 => {
            leaf.ebx = leaf.ebx & 0xffff | count << 16 | id << 24;
            // Hypervisor present.
            leaf.ecx |= 1 << 31;
            // TSC deadline timer: KVM's local APIC has it, though KVM does not list it.
            leaf.ecx |= 1 << 24;
            // More than one thread in the package.
            leaf.edx = leaf.edx & !(1 << 28) | u32::from(vps > 1) << 28;
        }
        // Caches, shared by all at the last level: Intel's cores, and threads that share.
        4 => leaf.eax = leaf.eax & 0x3fff | count.saturating_sub(1) << 26,
        0x8000_0001 => leaf.ecx = leaf.ecx & !(1 << 1) | u32::from(vps > 1) << 1,
        0x8000_0008 => leaf.ecx = count.saturating_sub(1) | core_bits(vps) << 12,
        // Threads that share the cache: one.
        0x8000_001d => leaf.eax &= 0x3fff,
        0x8000_001e => {
            leaf.eax = id;
            leaf.ebx = id;
            leaf.ecx = 0;
        }
        _ => {}
    }
}

/// What a guest may do, if KVM can.
const PRIVILEGES: Privileges = Privileges::VP_RUNTIME_MSR
    .union(Privileges::TIME_REF_COUNT_MSR)
    .union(Privileges::SYNIC_MSRS)
    .union(Privileges::SYNTHETIC_TIMER_MSRS)
    .union(Privileges::APIC_MSRS)
    .union(Privileges::HYPERCALL_MSRS)
    .union(Privileges::VP_INDEX_MSR)
    .union(Privileges::RESET_MSR)
    .union(Privileges::REFERENCE_TSC_MSR)
    .union(Privileges::FREQUENCY_MSRS)
    .union(Privileges::REENLIGHTENMENT_MSRS)
    .union(Privileges::POST_MESSAGES)
    .union(Privileges::SIGNAL_EVENTS);

/// Without these there is no VMBus.
const NEEDED: Privileges = Privileges::SYNIC_MSRS
    .union(Privileges::HYPERCALL_MSRS)
    .union(Privileges::VP_INDEX_MSR)
    .union(Privileges::POST_MESSAGES)
    .union(Privileges::SIGNAL_EVENTS);

/// What a guest is offered, if KVM can.
const FEATURES: Features = Features::XMM_HYPERCALL_INPUT
    .union(Features::FREQUENCY_MSRS)
    .union(Features::CRASH_MSRS)
    .union(Features::DIRECT_SYNTHETIC_TIMERS);

/// What a guest is advised to do, if KVM advises it too.
const RECOMMENDATIONS: Recommendations = Recommendations::REMOTE_TLB_FLUSH
    .union(Recommendations::APIC_MSRS)
    .union(Recommendations::RELAXED_TIMING)
    .union(Recommendations::CLUSTER_IPI)
    .union(Recommendations::EX_PROCESSOR_MASKS);

/// The Hyper-V leaves, as Hyper-V's own signature and at most what KVM says in `supported`.
fn hyperv(supported: &[kvm_cpuid_entry2]) -> Result<Vec<kvm_cpuid_entry2>, String> {
    let kvm = |function: u32| {
        let found = supported.iter().find(|leaf| leaf.function == function);
        found.copied().ok_or_else(|| {
            format!("KVM has no Hyper-V CPUID leaf {function:#x}: a newer kernel is needed")
        })
    };
    let [b, c, d] = [*b"Micr", *b"osof", *b"t Hv"].map(u32::from_le_bytes);
    let mut vendor = kvm(hv::VENDOR)?;
    (vendor.eax, vendor.ebx, vendor.ecx, vendor.edx) = (hv::LIMITS, b, c, d);
    let mut interface = kvm(hv::INTERFACE)?;
    interface.eax = u32::from_le_bytes(*b"Hv#1");

    let mut features = kvm(hv::FEATURES)?;
    let offered = u64::from(features.ebx) << 32 | u64::from(features.eax);
    let given = Privileges::from_bits_retain(offered) & PRIVILEGES;
    if !given.contains(NEEDED) {
        return Err(format!(
            "KVM's Hyper-V support lacks {:?}: a newer kernel is needed",
            NEEDED.difference(given)
        ));
    }
    let [a0, a1, a2, a3, b0, b1, b2, b3] = given.bits().to_le_bytes();
    features.eax = u32::from_le_bytes([a0, a1, a2, a3]);
    features.ebx = u32::from_le_bytes([b0, b1, b2, b3]);
    features.ecx = 0;
    features.edx &= FEATURES.bits();

    let mut recommendations = kvm(hv::RECOMMENDATIONS)?;
    recommendations.eax &= RECOMMENDATIONS.bits();
    // A guest that spins is not to tell.
    recommendations.ebx = u32::MAX;
    Ok(vec![
        vendor,
        interface,
        kvm(hv::VERSION)?,
        features,
        recommendations,
        kvm(hv::LIMITS)?,
    ])
}

#[cfg(test)]
mod tests;
