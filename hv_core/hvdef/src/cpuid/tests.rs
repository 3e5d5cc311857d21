// SPDX-License-Identifier: GPL-2.0

//! Tests of discovery.

use super::*;
use proptest::prelude::*;
use std::string::ToString;

/// EBX, ECX and EDX of "Microsoft Hv".
const SIGNATURE: [u32; 3] = [0x7263_694d, 0x666f_736f, 0x7648_2074];

/// A machine like QEMU's with every `hv-*` flag.
fn machine(leaf: u32) -> [u32; 4] {
    let [b, c, d] = SIGNATURE;
    match leaf {
        PROCESSOR_FEATURES => [0, 0, 1 << 31, 0],
        VENDOR => [ISOLATION, b, c, d],
        INTERFACE => [0x3123_7648, 0, 0, 0],
        VERSION => [20348, 10 << 16, 3, 1 << 24 | 2],
        FEATURES => [0x2e7f, 1 << 4 | 1 << 5 | 1 << 22, 0, 1 << 19 | 1 << 31],
        RECOMMENDATIONS => [1 << 9, 0xfff, 0, 0],
        LIMITS => [1024, 512, 7, 0],
        HARDWARE_FEATURES => [1 << 3, 0, 0, 0],
        ISOLATION => [1, 3 | 1 << 5 | 47 << 6, 0, 0],
        _ => panic!("leaf {leaf:#x}"),
    }
}

/// The same with the answer to one leaf replaced.
fn with(leaf: u32, answer: [u32; 4]) -> Result<Hypervisor, DiscoverError> {
    Hypervisor::discover(|asked| {
        if asked == leaf {
            answer
        } else {
            machine(asked)
        }
    })
}

#[test]
fn everything_is_read() {
    let found = Hypervisor::discover(machine).unwrap();
    assert_eq!(found.version.to_string(), "10.0.20348.3-1-2");
    assert!(found
        .privileges
        .contains(Privileges::SYNIC_MSRS | Privileges::POST_MESSAGES | Privileges::SIGNAL_EVENTS));
    assert!(found.features.contains(Features::DIRECT_SYNTHETIC_TIMERS));
    assert_eq!(found.recommendations, Recommendations::DEPRECATING_AEOI);
    assert_eq!(found.spinlock_retries, Some(0xfff));
    assert_eq!(
        found.limits,
        Limits {
            virtual_processors: 1024,
            logical_processors: 512,
            interrupt_vectors: 7
        }
    );
    assert_eq!(
        found.hardware,
        HardwareFeatures::SECOND_LEVEL_ADDRESS_TRANSLATION
    );
    assert_eq!(
        found.isolation,
        Isolation {
            isolation_type: IsolationType::TDX,
            paravisor: true,
            shared_gpa_boundary_bit: Some(47)
        }
    );
}

#[test]
fn the_table_names_flags_and_shows_unknown_ones() {
    let table = Hypervisor::discover(machine).unwrap().to_string();
    assert!(
        table.contains("features         DIRECT_SYNTHETIC_TIMERS 0x80000000\n"),
        "{table}"
    );
    assert!(
        table.contains("recommendations  DEPRECATING_AEOI\n"),
        "{table}"
    );
    assert!(
        table.contains("isolation        TDX, paravisor\n"),
        "{table}"
    );
}

#[test]
fn errors_are_sentences() {
    let [b, c, d] = SIGNATURE;
    assert_eq!(
        with(
            PROCESSOR_FEATURES,
            [u32::MAX, u32::MAX, !(1 << 31), u32::MAX]
        ),
        Err(DiscoverError::NotVirtual)
    );
    let kvm = with(VENDOR, [0x4000_0001, 0x4b4d_564b, 0x564b_4d56, 0x4d]).unwrap_err();
    assert_eq!(kvm, DiscoverError::OtherVendor(*b"KVMKVMKVM\0\0\0"));
    assert_eq!(
        kvm.to_string(),
        "the hypervisor is \"KVMKVMKVM\", not Hyper-V or compatible"
    );
    let other = with(INTERFACE, [0x3123_7649, 0, 0, 0]).unwrap_err();
    assert_eq!(
        other.to_string(),
        "the hypervisor has the interface \"Iv#1\", not \"Hv#1\""
    );
    for (max_leaf, usable) in [
        (LIMITS - 1, false),
        (LIMITS, true),
        (LAST_LEAF, true),
        (LAST_LEAF + 1, false),
    ] {
        let found = with(VENDOR, [max_leaf, b, c, d]);
        assert_eq!(found.is_ok(), usable, "{max_leaf:#x}");
        if !usable {
            assert_eq!(found, Err(DiscoverError::TooOld { max_leaf }));
        }
    }
}

#[test]
fn leaves_beyond_the_largest_are_not_asked() {
    let [b, c, d] = SIGNATURE;
    let found = Hypervisor::discover(|leaf| match leaf {
        VENDOR => [LIMITS, b, c, d],
        HARDWARE_FEATURES | ISOLATION => panic!("leaf {leaf:#x}"),
        leaf => machine(leaf),
    })
    .unwrap();
    assert_eq!(found.hardware, HardwareFeatures::empty());
    assert_eq!(found.isolation.isolation_type, IsolationType::NONE);
}

#[test]
fn isolation_counts_only_with_its_privilege() {
    assert_eq!(
        with(FEATURES, [0, 0, 0, 0]).unwrap().isolation,
        Isolation::NONE
    );
}

proptest! {
    #[test]
    fn any_answers_print(words: [u32; 4]) {
        let found = Hypervisor::discover(|leaf| match leaf {
            PROCESSOR_FEATURES | VENDOR | INTERFACE => machine(leaf),
            _ => words,
        });
        prop_assert!(found.unwrap().to_string().lines().count() == 8);
    }
}
