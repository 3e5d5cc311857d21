// SPDX-License-Identifier: GPL-2.0

//! The ACPI tables: processors, interrupts, power, and the VMBus device.
//!
//! The VMBus device looks as Hyper-V has it: a module device with the MMIO ranges, and the bus below it.

use crate::memory::{ACPI_START, IOAPIC, LOCAL_APIC, MIB, VMBUS_HIGH_MMIO, VMBUS_LOW_MMIO};
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, Device, Name, Package, ResourceTemplate, Scope,
};
use acpi_tables::facs::FACS;
use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace as Space, GAS};
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use acpi_tables::Aml;

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
const OEM: [u8; 6] = *b"HVHOST";
/// The same, for all tables.
const OEM_TABLE: [u8; 8] = *b"HVHOST  ";
/// Size of the header of a table.
const HEADER: u32 = 36;
/// Alignment of every table; the FACS needs it.
const ALIGNMENT: u64 = 64;

/// `IAPC_BOOT_ARCH`: there are devices at the addresses of the PC.
const BOOT_LEGACY_DEVICES: u16 = 1 << 0;
/// `IAPC_BOOT_ARCH`: there is no VGA.
const BOOT_NO_VGA: u16 = 1 << 2;

/// The tables in one block that goes to [`ACPI_START`], the RSDP first.
///
/// `hyperv` says whether there is a VMBus.
pub(crate) fn tables(cpus: u8, hyperv: bool) -> Vec<u8> {
    let mut block = Block { bytes: vec![0; 64] };
    let dsdt = block.add(dsdt(hyperv).as_slice());
    let facs = block.add(&bytes(&FACS::new()));
    let fadt = block.add(&fadt(dsdt, facs));
    let madt = block.add(madt(cpus).as_slice());
    let mut xsdt = XSDT::new(OEM, OEM_TABLE, 1);
    xsdt.add_entry(fadt);
    xsdt.add_entry(madt);
    let xsdt = block.add(&bytes(&xsdt));
    let rsdp = bytes(&Rsdp::new(OEM, xsdt));
    block
        .bytes
        .iter_mut()
        .zip(rsdp)
        .for_each(|(to, from)| *to = from);
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

/// A table as bytes.
fn bytes(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.to_aml_bytes(&mut bytes);
    bytes
}

/// Devices and sleep states.
fn dsdt(hyperv: bool) -> Sdt {
    let mut table = Sdt::new(*b"DSDT", HEADER, 2, OEM, OEM_TABLE, 1);
    table.append_slice(&bytes(&Name::new(
        "_S5_".into(),
        &Package::new(vec![&S5, &0u8, &0u8, &0u8]),
    )));
    if hyperv {
        table.append_slice(&bytes(&Scope::new("\\_SB_".into(), vec![&VmbusModule])));
    }
    table
}

/// The module device whose MMIO belongs to VMBus devices, with VMBus below it.
struct VmbusModule;

impl Aml for VmbusModule {
    fn to_aml_bytes(&self, sink: &mut dyn acpi_tables::AmlSink) {
        let (low_start, low_end) = VMBUS_LOW_MMIO;
        let (high_start, high_end) = VMBUS_HIGH_MMIO;
        let cacheable = AddressSpaceCacheable::Cacheable;
        Device::new(
            "VMOD".into(),
            vec![
                &Name::new("_HID".into(), &"ACPI0004"),
                &Name::new("_UID".into(), &0u8),
                &Name::new(
                    "_CRS".into(),
                    &ResourceTemplate::new(vec![
                        &AddressSpace::new_memory(cacheable, true, low_start, low_end, None),
                        &AddressSpace::new_memory(cacheable, true, high_start, high_end, None),
                    ]),
                ),
                &Device::new(
                    "VMBS".into(),
                    vec![
                        &Name::new("_HID".into(), &"VMBus"),
                        &Name::new("_UID".into(), &0u8),
                        &Name::new("_DDN".into(), &"VMBUS"),
                        // x86 guests take a vector of their own instead of an interrupt.
                        &Name::new("_CRS".into(), &ResourceTemplate::new(vec![])),
                    ],
                ),
            ],
        )
        .to_aml_bytes(sink);
    }
}

/// Fixed hardware: power button, sleep control, reset.
fn fadt(dsdt: u64, facs: u64) -> Vec<u8> {
    // All tables are below 1 MiB.
    let [dsdt, facs] = [dsdt, facs].map(|address| u32::try_from(address).unwrap_or(0));
    let port = |bits: u8, size: AccessSize, port: u16| {
        GAS::new(Space::SystemIo, bits, 0, size, u64::from(port))
    };
    let mut table = FADTBuilder::new(OEM, OEM_TABLE, 1)
        .dsdt_64(u64::from(dsdt))
        .firmware_ctrl_32(facs)
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        .flag(Flags::SlpButton)
        .flag(Flags::FixRtc)
        .flag(Flags::ResetRegSup);
    table.dsdt = dsdt.into();
    table.sci_int = u16::from(SCI).into();
    table.pm1a_evt_blk = u32::from(PM1_EVENT).into();
    table.pm1a_cnt_blk = u32::from(PM1_CONTROL).into();
    table.pm1_evt_len = 4;
    table.pm1_cnt_len = 2;
    table.x_pm1a_evt_blk = port(32, AccessSize::WordAccess, PM1_EVENT);
    table.x_pm1a_cnt_blk = port(16, AccessSize::WordAccess, PM1_CONTROL);
    // Above these latencies a state does not exist.
    table.p_lvl2_lat = 0xffff.into();
    table.p_lvl3_lat = 0xffff.into();
    table.century = crate::rtc::CENTURY;
    table.iapc_boot_arch = (BOOT_LEGACY_DEVICES | BOOT_NO_VGA).into();
    table.reset_reg = port(8, AccessSize::ByteAccess, RESET);
    table.reset_value = RESET_VALUE;
    bytes(&table.finalize())
}

/// Processors and interrupt controllers.
fn madt(cpus: u8) -> Sdt {
    let mut table = Sdt::new(*b"APIC", HEADER, 4, OEM, OEM_TABLE, 1);
    table.append_slice(&LOCAL_APIC.to_le_bytes());
    // There are 8259s as well.
    table.append_slice(&1u32.to_le_bytes());
    for cpu in 0..cpus {
        // Processor local APIC: UID, APIC id, enabled.
        table.append_slice(&[0, 8, cpu, cpu, 1, 0, 0, 0]);
    }
    let [a, b, c, d] = IOAPIC.to_le_bytes();
    table.append_slice(&[1, 12, 0, 0, a, b, c, d, 0, 0, 0, 0]);
    // Interrupt source overrides: the PIT's is input 2; the SCI is level-triggered, active high.
    table.append_slice(&[2, 10, 0, 0, 2, 0, 0, 0, 0, 0]);
    table.append_slice(&[2, 10, 0, SCI, SCI, 0, 0, 0, 0x0d, 0]);
    // Local APIC NMI: all processors, edge-triggered active high, on LINT1.
    table.append_slice(&[4, 6, 0xff, 0, 0, 1]);
    table
}

#[cfg(test)]
mod tests;
