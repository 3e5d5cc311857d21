// SPDX-License-Identifier: GPL-2.0

//! The tables as a guest's firmware parser finds them.

#![expect(clippy::arithmetic_side_effects, reason = "A failure is the test's.")]

use super::*;

/// The table at an address.
fn table(block: &[u8], address: u64) -> &[u8] {
    let start = usize::try_from(address - ACPI_START).unwrap();
    let length = u32::from_le_bytes(block[start + 4..start + 8].try_into().unwrap());
    &block[start..start + usize::try_from(length).unwrap()]
}

/// The 64-bit number at an offset.
fn quad(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap())
}

/// The sum of all bytes, 0 in a sound table.
fn sum(bytes: &[u8]) -> u8 {
    bytes
        .iter()
        .fold(0, |sum: u8, byte| sum.wrapping_add(*byte))
}

/// The tables by signature, found as a guest does.
fn find(block: &[u8]) -> Vec<(String, Vec<u8>)> {
    assert_eq!(&block[..8], b"RSD PTR ");
    assert_eq!(sum(&block[..20]), 0);
    assert_eq!(sum(&block[..36]), 0);
    let xsdt = table(block, quad(block, 24));
    assert_eq!(sum(xsdt), 0);
    let mut found = Vec::new();
    for entry in xsdt[36..].chunks(8) {
        found.push(table(block, quad(entry, 0)));
    }
    let fadt = found
        .iter()
        .find(|table| table.starts_with(b"FACP"))
        .unwrap();
    let dsdt = quad(fadt, 140);
    assert_eq!(
        dsdt,
        u64::from(u32::from_le_bytes(fadt[40..44].try_into().unwrap()))
    );
    found.push(table(block, dsdt));
    found
        .into_iter()
        .map(|table| {
            assert_eq!(sum(table), 0);
            (
                String::from_utf8_lossy(&table[..4]).into_owned(),
                table.to_vec(),
            )
        })
        .collect()
}

#[test]
fn every_table_is_found_and_sound() {
    let block = tables(8, true);
    assert!(block.len() < 0x2_0000);
    let names: Vec<_> = find(&block).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["FACP", "APIC", "DSDT"]);
}

#[test]
fn each_processor_has_an_entry() {
    for cpus in [1, 2, 8] {
        let found = find(&tables(cpus, true));
        let mut rest = &found[1].1[44..];
        let mut seen = 0;
        while !rest.is_empty() {
            if rest[0] == 0 {
                assert_eq!(rest[3], seen);
                seen += 1;
            }
            rest = &rest[usize::from(rest[1])..];
        }
        assert_eq!(seen, cpus);
    }
}

#[test]
fn the_facs_is_where_the_fadt_says() {
    let block = tables(1, true);
    let fadt = &find(&block)[0].1;
    let facs = u64::from(u32::from_le_bytes(fadt[36..40].try_into().unwrap()));
    assert_eq!(facs & 63, 0);
    assert!(table(&block, facs).starts_with(b"FACS"));
}

#[test]
fn vmbus_is_there_only_for_hyperv_guests() {
    for hyperv in [true, false] {
        let found = find(&tables(1, hyperv));
        let dsdt = &found[2].1;
        assert_eq!(dsdt.windows(5).any(|word| word == b"VMBus"), hyperv);
        assert!(dsdt.windows(4).any(|word| word == b"_S5_"));
    }
}

#[test]
fn mmio_is_declared_as_windows_that_vmbus_hands_out() {
    let found = find(&tables(1, true));
    let dsdt = &found[2].1;
    // Descriptor, length, memory, flags of a producer whose ends are fixed.
    let low = [0x87, 23, 0, 0, 0x0c];
    let at = dsdt.windows(5).position(|word| word == low).unwrap();
    let ends = &dsdt[at + 10..at + 18];
    assert_eq!(ends[..4], VMBUS_LOW_MMIO.0.to_le_bytes());
    assert_eq!(ends[4..], VMBUS_LOW_MMIO.1.to_le_bytes());
    let high = [0x8a, 43, 0, 0, 0x0c];
    let at = dsdt.windows(5).position(|word| word == high).unwrap();
    assert_eq!(quad(dsdt, at + 14), VMBUS_HIGH_MMIO.0);
    assert_eq!(quad(dsdt, at + 22), VMBUS_HIGH_MMIO.1);
}
