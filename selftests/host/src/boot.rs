// SPDX-License-Identifier: GPL-2.0

//! Loads a bzImage for its 64-bit entry: kernel, initrd, command line, boot parameters, page tables, registers.
//!
//! See `Documentation/arch/x86/boot.rst` of the kernel for the protocol.

mod bzimage;

use crate::acpi;
use crate::memory::{ACPI_START, CONVENTIONAL_END, HIGH_START, LOW_END, MIB};
use bzimage::{field, Kernel};
use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};
use std::fs::File;
use std::path::Path;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};

/// Where the boot parameters are, the "zero page".
const BOOT_PARAMS: u64 = 0x7000;
/// The root of the page tables, which map the first 4 GiB to itself.
const PML4: u64 = 0x9000;
/// Its one table.
const PDPT: u64 = 0xa000;
/// Four page directories of 2 MiB pages.
const PAGE_DIRECTORIES: u64 = 0xb000;
/// The segment descriptors.
const GDT: u64 = 0x500;
/// The command line.
const COMMAND_LINE: u64 = 0x2_0000;
/// Where the 64-bit entry is in the loaded kernel.
const ENTRY_64: u64 = 0x200;
/// Kind of loader for one without a number of its own.
const LOADER_OTHER: u8 = 0xff;
/// Page table flags: present, writable.
const TABLE: u64 = 0x3;
/// As above, for a 2 MiB page.
const LARGE_PAGE: u64 = 0x83;
/// Offset of the RSDP's address in the boot parameters, 64 bits.
const PARAM_RSDP: usize = 0x70;
/// Offset of the number of entries of the memory map, 8 bits.
const PARAM_E820_ENTRIES: usize = 0x1e8;
/// Offset of the memory map, of entries of 20 bytes.
const PARAM_E820: usize = 0x2d0;
/// E820: memory.
const E820_RAM: u32 = 1;
/// E820: no memory.
const E820_RESERVED: u32 = 2;

/// What to boot.
pub(crate) struct Image<'a> {
    /// The bzImage.
    pub(crate) kernel: &'a Path,
    /// The initramfs.
    pub(crate) initrd: Option<&'a Path>,
    /// The kernel's command line.
    pub(crate) command_line: &'a str,
}

/// Loads everything into `memory`. Returns the address where the first VP starts.
///
/// # Errors
///
/// A sentence that names the file and says what is wrong.
pub(crate) fn load(
    memory: &GuestMemoryMmap,
    image: &Image<'_>,
    cpus: u8,
    hyperv: bool,
) -> Result<u64, String> {
    let write = |bytes: &[u8], address: u64| {
        memory
            .write_slice(bytes, GuestAddress(address))
            .map_err(|error| format!("guest memory at {address:#x}: {error}"))
    };
    let Kernel {
        mut params,
        start,
        end,
    } = Kernel::load(memory, image.kernel)?;

    let command_line = image.command_line.as_bytes();
    let limit = params.get(field::COMMAND_LINE_SIZE);
    let length = u64::try_from(command_line.len()).map_err(|error| error.to_string())?;
    if length > u64::from(limit) {
        return Err(format!(
            "--cmdline is longer than the kernel's {limit} bytes"
        ));
    }
    write(command_line, COMMAND_LINE)?;
    write(&[0], COMMAND_LINE.saturating_add(length))?;

    params.set(field::LOADER, &[LOADER_OTHER]);
    params.set(field::COMMAND_LINE, &narrow(COMMAND_LINE)?);
    if let Some(path) = image.initrd {
        let limit = params.get(field::INITRD_MAX);
        let (address, length) = load_initrd(memory, path, end, limit)?;
        params.set(field::RAMDISK_IMAGE, &narrow(address)?);
        params.set(field::RAMDISK_SIZE, &narrow(length)?);
    }
    params.set(PARAM_RSDP, &ACPI_START.to_le_bytes());
    let map = e820(memory);
    let count = u8::try_from(map.len()).map_err(|error| error.to_string())?;
    params.set(PARAM_E820_ENTRIES, &[count]);
    let map: Vec<u8> = map.iter().flat_map(E820::to_bytes).collect();
    params.set(PARAM_E820, &map);
    write(&params.0, BOOT_PARAMS)?;

    write(&acpi::tables(cpus, hyperv), ACPI_START)?;
    for (number, descriptor) in (0u64..).zip(GDT_ENTRIES) {
        write(
            &descriptor.to_le_bytes(),
            GDT.saturating_add(number.saturating_mul(8)),
        )?;
    }
    for (address, entry) in page_tables() {
        write(&entry.to_le_bytes(), address)?;
    }
    Ok(start.saturating_add(ENTRY_64))
}

/// The bytes of a number that must fit the boot protocol's 32 bits.
fn narrow(value: u64) -> Result<[u8; 4], String> {
    u32::try_from(value)
        .map(u32::to_le_bytes)
        .map_err(|_| format!("{value:#x} is out of the boot protocol's range"))
}

/// Puts the initramfs at the end of low memory. Returns its address and length.
fn load_initrd(
    memory: &GuestMemoryMmap,
    path: &Path,
    kernel_end: u64,
    limit: u32,
) -> Result<(u64, u64), String> {
    let shown = path.display();
    let error = |error: std::io::Error| format!("--initrd {shown}: {error}");
    let mut file = File::open(path).map_err(error)?;
    let length = file.metadata().map_err(error)?.len();
    let top = low_ram_end(memory).min(u64::from(limit).saturating_add(1));
    let address = top.saturating_sub(length) & !0xfff;
    if address < kernel_end {
        return Err(format!(
            "--initrd {shown} of {} MiB does not fit beside the kernel: give the guest more --memory",
            length.div_ceil(MIB)
        ));
    }
    let count = usize::try_from(length).map_err(|error| error.to_string())?;
    memory
        .read_exact_volatile_from(GuestAddress(address), &mut file, count)
        .map_err(|error| format!("--initrd {shown}: {error}"))?;
    Ok((address, length))
}

/// End of RAM below the hole.
fn low_ram_end(memory: &GuestMemoryMmap) -> u64 {
    memory
        .iter()
        .filter(|region| region.start_addr().0 < LOW_END)
        .map(|region| region.start_addr().0.saturating_add(region.len()))
        .max()
        .unwrap_or(0)
}

/// An entry of the memory map.
#[derive(Debug, PartialEq, Eq)]
struct E820 {
    /// First address.
    start: u64,
    /// Length in bytes.
    length: u64,
    /// What is there.
    kind: u32,
}

impl E820 {
    /// The entry as the kernel reads it.
    fn to_bytes(&self) -> Vec<u8> {
        let [start, length] = [self.start, self.length].map(u64::to_le_bytes);
        [&start[..], &length, &self.kind.to_le_bytes()].concat()
    }
}

/// The memory map of the guest.
fn e820(memory: &GuestMemoryMmap) -> Vec<E820> {
    let entry = |start: u64, end: u64, kind| E820 {
        start,
        length: end.saturating_sub(start),
        kind,
    };
    let mut map = vec![
        entry(0, CONVENTIONAL_END, E820_RAM),
        entry(CONVENTIONAL_END, MIB, E820_RESERVED),
        entry(MIB, low_ram_end(memory), E820_RAM),
    ];
    for region in memory.iter() {
        let start = region.start_addr().0;
        if start >= HIGH_START {
            map.push(entry(start, start.saturating_add(region.len()), E820_RAM));
        }
    }
    map
}

/// Null, unused, and the flat segments that the protocol asks for: 64-bit code and data.
const GDT_ENTRIES: [u64; 4] = [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];

/// Entries of the page tables, as (address, value).
fn page_tables() -> Vec<(u64, u64)> {
    let mut entries = vec![(PML4, PDPT | TABLE)];
    for gigabyte in 0..4u64 {
        let directory = PAGE_DIRECTORIES.saturating_add(gigabyte.saturating_mul(0x1000));
        entries.push((
            PDPT.saturating_add(gigabyte.saturating_mul(8)),
            directory | TABLE,
        ));
    }
    for page in 0..2048u64 {
        entries.push((
            PAGE_DIRECTORIES.saturating_add(page.saturating_mul(8)),
            page << 21 | LARGE_PAGE,
        ));
    }
    entries
}

/// The registers with which the first VP starts at `entry`.
pub(crate) fn registers(entry: u64) -> kvm_regs {
    kvm_regs {
        rip: entry,
        rsi: BOOT_PARAMS,
        rflags: 2,
        ..Default::default()
    }
}

/// Makes `sregs`, as after reset, those of 64-bit mode with the page tables above.
pub(crate) fn enter_long_mode(sregs: &mut kvm_sregs) {
    let code = kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector: 0x10,
        type_: 0xb,
        present: 1,
        s: 1,
        l: 1,
        g: 1,
        ..Default::default()
    };
    let data = kvm_segment {
        selector: 0x18,
        type_: 3,
        l: 0,
        db: 1,
        ..code
    };
    sregs.cs = code;
    for segment in [
        &mut sregs.ds,
        &mut sregs.es,
        &mut sregs.fs,
        &mut sregs.gs,
        &mut sregs.ss,
    ] {
        *segment = data;
    }
    sregs.gdt.base = GDT;
    sregs.gdt.limit = 31;
    sregs.idt.limit = 0;
    sregs.cr3 = PML4;
    // PAE; then long mode enabled and active; then paging, write protection off, extension type, protection.
    sregs.cr4 |= 1 << 5;
    sregs.efer |= 1 << 8 | 1 << 10;
    sregs.cr0 = 1 << 31 | 1 << 4 | 1;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory;
    use std::io::Write;

    /// The map as plain numbers.
    fn map(mebibytes: u64) -> Vec<(u64, u64, u32)> {
        e820(&memory::allocate(mebibytes).unwrap())
            .into_iter()
            .map(|entry| (entry.start, entry.length, entry.kind))
            .collect()
    }

    #[test]
    fn the_map_has_the_firmware_and_the_hole_left_out() {
        assert_eq!(
            map(64),
            [
                (0, CONVENTIONAL_END, E820_RAM),
                (CONVENTIONAL_END, MIB - CONVENTIONAL_END, E820_RESERVED),
                (MIB, 63 * MIB, E820_RAM)
            ]
        );
        let large = map(3072 + 512);
        assert_eq!(large.get(2), Some(&(MIB, LOW_END - MIB, E820_RAM)));
        assert_eq!(large.get(3), Some(&(HIGH_START, 512 * MIB, E820_RAM)));
    }

    #[test]
    fn the_tables_are_above_conventional_memory_and_below_the_kernel() {
        let tables = u64::try_from(acpi::tables(8, true).len()).unwrap();
        assert!(CONVENTIONAL_END <= ACPI_START && ACPI_START + tables <= MIB);
    }

    #[test]
    fn the_first_four_gibibytes_map_to_themselves() {
        let entries: std::collections::BTreeMap<_, _> = page_tables().into_iter().collect();
        for address in [0u64, 0x10_0200, 0xbfff_ffff, 0xffff_ffff] {
            let at = |table: u64, shift: u32| {
                entries[&((table & !0xfff) + (address >> shift & 0x1ff) * 8)]
            };
            let large = at(at(at(PML4, 39), 30), 21);
            assert_eq!(large & 0x80, 0x80);
            assert_eq!((large & !0x1f_ffff) | (address & 0x1f_ffff), address);
        }
    }

    #[test]
    fn an_initrd_goes_to_the_end_of_low_memory_or_is_refused() {
        let file = vmm_sys_util::tempfile::TempFile::new().unwrap();
        file.as_file().write_all(&[0x5a; 5000]).unwrap();
        let memory = memory::allocate(64).unwrap();
        let (address, length) =
            load_initrd(&memory, file.as_path(), 16 * MIB, 0x7fff_ffff).unwrap();
        assert_eq!((address, length), (64 * MIB - 8192, 5000));
        assert_eq!(
            memory.read_obj::<u8>(GuestAddress(address + 4999)).unwrap(),
            0x5a
        );
        let (address, _) = load_initrd(&memory, file.as_path(), 16 * MIB, 0x1ff_ffff).unwrap();
        assert_eq!(address, 32 * MIB - 8192);
        let error = load_initrd(&memory, file.as_path(), 64 * MIB, 0x7fff_ffff).unwrap_err();
        assert!(error.contains("--memory"), "{error}");
    }
}
