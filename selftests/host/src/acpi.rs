// SPDX-License-Identifier: GPL-2.0

//! The ACPI tables: processors, interrupts, power, and the VMBus device.
//!
//! The crate acpi_tables makes such tables too, but needs Rust 1.87. (References: ACPI specification 6.5, chapters 5 and 20.)
//!
//! The VMBus device looks as Hyper-V has it: a module device with the MMIO ranges, and the bus below it.

mod aml;

use crate::memory::{ACPI_START, IOAPIC, LOCAL_APIC, MIB, VMBUS_HIGH_MMIO, VMBUS_LOW_MMIO};

/// Port of the PM1 event registers: 16 bits of status, 16 bits of enable.
pub(crate) const PM1_EVENT: u16 = 0x600;
/// Port of the PM1 control register, 16 bits.
pub(crate) const PM1_CONTROL: u16 = 0x604;
/// Port of the reset register, 8 bits.
pub(crate) const RESET: u16 = 0xcf9;
/// Value that resets.
pub(crate) const RESET_VALUE: u8 = 6;
/// Sleep type of S5, which is off.
pub(crate) const S5: u8 = 5;
/// Interrupt of fixed events.
pub(crate) const SCI: u8 = 9;

/// Who made the tables.
const OEM: &[u8] = b"HVHOSTHVHOST  ";
/// Size of the header of a table.
const HEADER: usize = 36;
/// Offset of the checksum in it.
const CHECKSUM: usize = 9;
/// Alignment of every table; the FACS needs it.
const ALIGNMENT: u64 = 64;

/// `IAPC_BOOT_ARCH`: there are devices at the addresses of the PC.
const BOOT_LEGACY_DEVICES: u16 = 1 << 0;
/// `IAPC_BOOT_ARCH`: there is no VGA.
const BOOT_NO_VGA: u16 = 1 << 2;
/// FADT flags: WBINVD works, there is a C1, there is no sleep button, the RTC wakes nobody, there is a reset register.
const FLAGS: u32 = 1 << 0 | 1 << 2 | 1 << 5 | 1 << 6 | 1 << 10;

/// The tables in one block that goes to [`ACPI_START`], the RSDP first.
///
/// `hyperv` says whether there is a VMBus.
pub(crate) fn tables(cpus: u8, hyperv: bool) -> Vec<u8> {
    let mut block = Block { bytes: vec![0; 64] };
    let dsdt = block.add(&table(*b"DSDT", 2, &dsdt(hyperv)));
    let facs = block.add(&facs());
    let fadt = block.add(&table(*b"FACP", 6, &fadt(dsdt, facs)));
    let madt = block.add(&table(*b"APIC", 4, &madt(cpus)));
    let entries = [fadt, madt].map(u64::to_le_bytes).concat();
    let xsdt = block.add(&table(*b"XSDT", 1, &entries));
    put(&mut block.bytes, 0, &rsdp(xsdt));
    block.bytes
}

/// Tables in a row.
struct Block {
    /// What goes to [`ACPI_START`].
    bytes: Vec<u8>,
}

impl Block {
    /// Adds a table; returns its address.
    fn add(&mut self, table: &[u8]) -> u64 {
        let address = u64::try_from(self.bytes.len())
            .unwrap_or(MIB)
            .saturating_add(ACPI_START);
        self.bytes.extend_from_slice(table);
        while u64::try_from(self.bytes.len()).is_ok_and(|length| length & (ALIGNMENT - 1) != 0) {
            self.bytes.push(0);
        }
        address
    }
}

/// Replaces bytes at an offset.
fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    for (to, from) in bytes.iter_mut().skip(offset).zip(value) {
        *to = *from;
    }
}

/// Sets the byte at `offset` so that all of them add up to 0.
fn seal(bytes: &mut [u8], offset: usize) {
    let sum = bytes
        .iter()
        .fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
    put(bytes, offset, &[sum.wrapping_neg()]);
}

/// A length that a table can have.
fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes()
}

/// A table: header and body.
fn table(signature: [u8; 4], revision: u8, body: &[u8]) -> Vec<u8> {
    let total = length(body.len().saturating_add(HEADER));
    // Revisions of the tables and of the program that made them.
    let mut bytes = [
        &signature[..],
        &total,
        &[revision, 0],
        OEM,
        &[1, 0, 0, 0],
        b"HVHO",
        &[1, 0, 0, 0],
        body,
    ]
    .concat();
    seal(&mut bytes, CHECKSUM);
    bytes
}

/// What a guest finds first.
fn rsdp(xsdt: u64) -> [u8; 36] {
    let mut bytes = [0; 36];
    put(&mut bytes, 0, b"RSD PTR ");
    put(&mut bytes, 9, b"HVHOST");
    put(&mut bytes, 15, &[2]);
    // The first 20 bytes are those of ACPI 1.0 and have a sum of their own.
    if let Some(old) = bytes.get_mut(..20) {
        seal(old, 8);
    }
    put(&mut bytes, 20, &36u32.to_le_bytes());
    put(&mut bytes, 24, &xsdt.to_le_bytes());
    seal(&mut bytes, 32);
    bytes
}

/// The firmware's control structure, of which only the lock is of use.
fn facs() -> [u8; 64] {
    let mut bytes = [0; 64];
    put(&mut bytes, 0, b"FACS");
    put(&mut bytes, 4, &length(64));
    put(&mut bytes, 32, &[1]);
    bytes
}

/// Devices and sleep states.
fn dsdt(hyperv: bool) -> Vec<u8> {
    let mut code = aml::name(b"_S5_", &aml::package(&[S5, 0, 0, 0]));
    if hyperv {
        code.extend(aml::scope(b"\\_SB_", &vmbus()));
    }
    code
}

/// The module device whose MMIO belongs to VMBus devices, with VMBus below it.
fn vmbus() -> Vec<u8> {
    let (low, high) = (VMBUS_LOW_MMIO, VMBUS_HIGH_MMIO);
    let mmio = [aml::memory32(low.0, low.1), aml::memory64(high.0, high.1)].concat();
    let bus = [
        aml::name(b"_HID", &aml::string("VMBus")),
        aml::name(b"_UID", &aml::byte(0)),
        aml::name(b"_DDN", &aml::string("VMBUS")),
        // x86 guests take a vector of their own instead of an interrupt.
        aml::name(b"_CRS", &aml::resources(&[])),
    ]
    .concat();
    let module = [
        aml::name(b"_HID", &aml::string("ACPI0004")),
        aml::name(b"_UID", &aml::byte(0)),
        aml::name(b"_CRS", &aml::resources(&mmio)),
        aml::device(b"VMBS", &bus),
    ]
    .concat();
    aml::device(b"VMOD", &module)
}

/// A register behind a port: size in bits, access size (1: byte, 2: word), port.
fn port(bits: u8, access: u8, port: u16) -> Vec<u8> {
    let address = u64::from(port).to_le_bytes();
    [&[1, bits, 0, access][..], &address].concat()
}

/// Fixed hardware: power button, sleep control, reset. The offsets are those of the table, header included.
fn fadt(dsdt: u64, facs: u64) -> Vec<u8> {
    let mut bytes = [0; 276];
    // All tables are below 1 MiB, so that the 32-bit addresses hold all of them.
    put(&mut bytes, 36, &facs.to_le_bytes()[..4]);
    put(&mut bytes, 40, &dsdt.to_le_bytes()[..4]);
    put(&mut bytes, 140, &dsdt.to_le_bytes());
    put(&mut bytes, 46, &u16::from(SCI).to_le_bytes());
    put(&mut bytes, 56, &PM1_EVENT.to_le_bytes());
    put(&mut bytes, 64, &PM1_CONTROL.to_le_bytes());
    // Bytes of the event and of the control registers.
    put(&mut bytes, 88, &[4, 2]);
    put(&mut bytes, 148, &port(32, 2, PM1_EVENT));
    put(&mut bytes, 172, &port(16, 2, PM1_CONTROL));
    // Latencies of C2 and C3: so large that they do not exist.
    put(&mut bytes, 96, &[0xff; 4]);
    put(&mut bytes, 108, &[crate::rtc::CENTURY]);
    put(
        &mut bytes,
        109,
        &(BOOT_LEGACY_DEVICES | BOOT_NO_VGA).to_le_bytes(),
    );
    put(&mut bytes, 112, &FLAGS.to_le_bytes());
    put(&mut bytes, 116, &port(8, 1, RESET));
    put(&mut bytes, 128, &[RESET_VALUE]);
    // Minor version.
    put(&mut bytes, 131, &[5]);
    bytes.into_iter().skip(HEADER).collect()
}

/// Processors and interrupt controllers.
fn madt(cpus: u8) -> Vec<u8> {
    let mut body = LOCAL_APIC.to_le_bytes().to_vec();
    // There are 8259s as well.
    body.extend(1u32.to_le_bytes());
    for cpu in 0..cpus {
        // Processor local APIC: UID, APIC id, enabled.
        body.extend([0, 8, cpu, cpu, 1, 0, 0, 0]);
    }
    let [a, b, c, d] = IOAPIC.to_le_bytes();
    body.extend([1, 12, 0, 0, a, b, c, d, 0, 0, 0, 0]);
    // Interrupt source overrides: the PIT's is input 2; the SCI is level-triggered, active high.
    body.extend([2, 10, 0, 0, 2, 0, 0, 0, 0, 0]);
    body.extend([2, 10, 0, SCI, SCI, 0, 0, 0, 0x0d, 0]);
    // Local APIC NMI: all processors, edge-triggered active high, on LINT1.
    body.extend([4, 6, 0xff, 0, 0, 1]);
    body
}

#[cfg(test)]
mod tests;
