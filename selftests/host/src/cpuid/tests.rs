// SPDX-License-Identifier: GPL-2.0

//! CPUID as a guest reads it.

use super::*;
use hvdef::Hypervisor;

/// A leaf.
fn leaf(function: u32, [eax, ebx, ecx, edx]: [u32; 4]) -> kvm_cpuid_entry2 {
    kvm_cpuid_entry2 {
        function,
        eax,
        ebx,
        ecx,
        edx,
        ..Default::default()
    }
}

/// A processor with KVM's signature.
fn processor() -> Vec<kvm_cpuid_entry2> {
    vec![
        leaf(0, [0x20, 1, 2, 3]),
        leaf(1, [1, 0xffff_ffff, 0, 0xffff_ffff]),
        leaf(0xb, [9, 9, 9, 9]),
        leaf(0x4000_0000, [0x4000_0001, 0x4b4d_564b, 0x564b_4d56, 0x4d]),
        leaf(0x4000_0001, [u32::MAX, 0, 0, 0]),
        leaf(0x8000_0008, [0x3028, 0, 0xff, 0]),
    ]
}

/// A KVM that can do everything, and more than we know.
fn everything() -> Vec<kvm_cpuid_entry2> {
    let mut leaves: Vec<_> = (hv::VENDOR..=hv::LIMITS)
        .map(|function| leaf(function, [u32::MAX; 4]))
        .collect();
    leaves.push(leaf(0x4000_0082, [u32::MAX; 4]));
    leaves
}

/// What hv_core sees.
fn discover(leaves: &[kvm_cpuid_entry2]) -> Hypervisor {
    Hypervisor::discover(|function| {
        let found = leaves
            .iter()
            .find(|leaf| leaf.function == function)
            .unwrap();
        [found.eax, found.ebx, found.ecx, found.edx]
    })
    .unwrap()
}

#[test]
fn a_guest_discovers_hyperv_and_not_kvm() {
    let leaves = leaves(&processor(), Identity::HyperV(&everything()), 0, 2).unwrap();
    let hypervisor = discover(&leaves);
    assert_eq!(hypervisor.max_leaf, hv::LIMITS);
    assert!(hypervisor.privileges.contains(NEEDED));
    assert!(hypervisor.features.contains(Features::CRASH_MSRS));
    assert_eq!(hypervisor.spinlock_retries, None);
    assert_eq!(
        leaves
            .iter()
            .filter(|leaf| leaf.function == hv::VENDOR)
            .count(),
        1
    );
}

#[test]
fn nothing_is_offered_that_is_not_known_or_that_kvm_lacks() {
    let seen = discover(&leaves(&processor(), Identity::HyperV(&everything()), 0, 1).unwrap());
    assert_eq!(seen.privileges, PRIVILEGES);
    assert_eq!(seen.features, FEATURES);
    assert_eq!(seen.recommendations, RECOMMENDATIONS);

    let mut poor = everything();
    for leaf in &mut poor {
        match leaf.function {
            hv::FEATURES => {
                [leaf.eax, leaf.ebx] = [1 << 2 | 1 << 5 | 1 << 6, 1 << 4 | 1 << 5];
                leaf.edx = 1 << 4;
            }
            hv::RECOMMENDATIONS => leaf.eax = 1 << 5,
            _ => {}
        }
    }
    let seen = discover(&leaves(&processor(), Identity::HyperV(&poor), 0, 1).unwrap());
    assert_eq!(seen.privileges, NEEDED);
    assert_eq!(seen.features, Features::XMM_HYPERCALL_INPUT);
    assert_eq!(seen.recommendations, Recommendations::RELAXED_TIMING);
}

#[test]
fn a_kvm_without_what_vmbus_needs_is_refused() {
    let without: Vec<_> = everything()
        .into_iter()
        .filter(|leaf| leaf.function != hv::FEATURES)
        .collect();
    let error = leaves(&processor(), Identity::HyperV(&without), 0, 1).unwrap_err();
    assert!(error.contains("0x40000003"), "{error}");
    let mut without = everything();
    without
        .iter_mut()
        .filter(|leaf| leaf.function == hv::FEATURES)
        .for_each(|leaf| leaf.eax = 0);
    let error = leaves(&processor(), Identity::HyperV(&without), 0, 1).unwrap_err();
    assert!(error.contains("SYNIC_MSRS"), "{error}");
}

#[test]
fn a_plain_guest_sees_kvm() {
    let leaves = leaves(&processor(), Identity::Kvm, 0, 1).unwrap();
    let signature = leaves
        .iter()
        .find(|leaf| leaf.function == 0x4000_0000)
        .unwrap();
    assert_eq!(signature.ebx, 0x4b4d_564b);
}

#[test]
fn each_vp_has_its_apic_id_in_a_package_of_all() {
    for (vps, bits) in [(1, 0), (2, 1), (3, 2), (8, 3)] {
        for vp in 0..vps {
            let leaves = leaves(&processor(), Identity::Kvm, vp, vps).unwrap();
            let id = u32::from(vp);
            let first = leaves.iter().find(|leaf| leaf.function == 1).unwrap();
            assert_eq!(first.ebx >> 24, id);
            assert_eq!(first.ebx >> 16 & 0xff, u32::from(vps));
            assert_eq!(first.edx >> 28 & 1, u32::from(vps > 1));
            let levels: Vec<_> = leaves.iter().filter(|leaf| leaf.function == 0xb).collect();
            assert_eq!(levels.len(), 2);
            assert!(levels
                .iter()
                .all(|level| level.edx == id && level.flags == 1));
            assert_eq!(levels.last().map(|level| level.eax), Some(bits));
        }
    }
}
