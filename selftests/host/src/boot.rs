// SPDX-License-Identifier: GPL-2.0

//! Loads a bzImage for its 64-bit entry: kernel, initrd, command line, boot parameters, page tables, registers.
//!
//! See `Documentation/arch/x86/boot.rst` of the kernel for the protocol.

use crate::acpi;
use crate::memory::{ACPI_START, CONVENTIONAL_END, HIGH_START, LOW_END, MIB};
use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};
use linux_loader::bootparam::{boot_e820_entry, boot_params};
use linux_loader::configurator::linux::LinuxBootConfigurator;
use linux_loader::configurator::{BootConfigurator, BootParams};
use linux_loader::loader::bzimage::BzImage;
use linux_loader::loader::KernelLoader;
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
/// `xloadflags`: the kernel has that entry.
const XLF_KERNEL_64: u16 = 1 << 0;
/// Kind of loader for one without a number of its own.
const LOADER_OTHER: u8 = 0xff;
/// Page table flags: present, writable.
const TABLE: u64 = 0x3;
/// As above, for a 2 MiB page.
const LARGE_PAGE: u64 = 0x83;
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
    let shown = image.kernel.display();
    let mut file =
        File::open(image.kernel).map_err(|error| format!("--kernel {shown}: {error}"))?;
    let loaded = BzImage::load(memory, None, &mut file, Some(GuestAddress(MIB)))
        .map_err(|error| format!("--kernel {shown} is no bzImage that can be loaded: {error}"))?;
    let Some(mut header) = loaded.setup_header else {
        return Err(format!("--kernel {shown} has no setup header"));
    };
    if header.xloadflags & XLF_KERNEL_64 == 0 {
        return Err(format!("--kernel {shown} is no 64-bit kernel"));
    }

    let command_line = image.command_line.as_bytes();
    let limit = header.cmdline_size;
    if u32::try_from(command_line.len()).map_or(true, |length| length > limit) {
        return Err(format!(
            "--cmdline is longer than the kernel's {limit} bytes"
        ));
    }
    write(command_line, COMMAND_LINE)?;
    let end = u64::try_from(command_line.len()).map_err(|error| error.to_string())?;
    write(&[0], COMMAND_LINE.saturating_add(end))?;

    header.type_of_loader = LOADER_OTHER;
    header.cmd_line_ptr = narrow(COMMAND_LINE)?;
    if let Some(path) = image.initrd {
        let kernel_end = loaded
            .kernel_load
            .0
            .max(header.pref_address)
            .saturating_add(u64::from(header.init_size))
            .max(loaded.kernel_end);
        let (address, length) = load_initrd(memory, path, kernel_end, header.initrd_addr_max)?;
        header.ramdisk_image = narrow(address)?;
        header.ramdisk_size = narrow(length)?;
    }

    let mut params = boot_params {
        hdr: header,
        acpi_rsdp_addr: ACPI_START,
        ..Default::default()
    };
    let map = e820(memory);
    params.e820_entries = u8::try_from(map.len()).map_err(|error| error.to_string())?;
    let mut table = params.e820_table;
    table.iter_mut().zip(map).for_each(|(to, from)| *to = from);
    params.e820_table = table;
    LinuxBootConfigurator::write_bootparams(
        &BootParams::new(&params, GuestAddress(BOOT_PARAMS)),
        memory,
    )
    .map_err(|error| format!("boot parameters: {error}"))?;

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
    Ok(loaded.kernel_load.0.saturating_add(ENTRY_64))
}

/// A number that must fit the boot protocol's 32 bits.
fn narrow(value: u64) -> Result<u32, String> {
    u32::try_from(value).map_err(|_| format!("{value:#x} is out of the boot protocol's range"))
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

/// The memory map of the guest.
fn e820(memory: &GuestMemoryMmap) -> Vec<boot_e820_entry> {
    let entry = |start: u64, end: u64, kind| boot_e820_entry {
        addr: start,
        size: end.saturating_sub(start),
        r#type: kind,
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
            .map(|entry| (entry.addr, entry.size, entry.r#type))
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
    fn what_is_no_kernel_is_refused_with_its_name() {
        let file = vmm_sys_util::tempfile::TempFile::new().unwrap();
        file.as_file().write_all(&[0; 4096]).unwrap();
        let image = Image {
            kernel: file.as_path(),
            initrd: None,
            command_line: "",
        };
        let memory = memory::allocate(64).unwrap();
        let error = load(&memory, &image, 1, true).unwrap_err();
        assert!(error.contains("no bzImage"), "{error}");
        assert!(error.contains(&file.as_path().display().to_string()));
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
