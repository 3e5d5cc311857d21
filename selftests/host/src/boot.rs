// SPDX-License-Identifier: GPL-2.0

//! Loads a bzImage for its 64-bit entry: kernel, initrd, command line, boot parameters, page tables, registers.
//!
//! See `Documentation/arch/x86/boot.rst` of the kernel for the protocol.

use crate::acpi;
use crate::memory::{ACPI_START, CONVENTIONAL_END, HIGH_START, LOW_END, MIB};
use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};
use linux_loader::bootparam::{boot_e820_entry, boot_params, setup_header};
use linux_loader::cmdline::Cmdline;
use linux_loader::loader::{load_cmdline, BzImage, KernelLoader};
use std::error::Error;
use std::fs::File;
use std::path::Path;
use vm_memory::{ByteValued, Bytes, GuestAddress, GuestMemory, GuestMemoryMmap, GuestMemoryRegion};

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
/// The version of the boot protocol that has all fields used here: 2.12, of Linux 3.8.
const VERSION: u16 = 0x20c;
/// `xloadflags`: the kernel has an entry for 64-bit mode.
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
    let Kernel {
        mut header,
        start,
        end,
    } = load_kernel(memory, image.kernel)?;

    header.type_of_loader = LOADER_OTHER;
    header.cmd_line_ptr = narrow(COMMAND_LINE)?;
    load_command_line(memory, image.command_line, header.cmdline_size)?;
    if let Some(path) = image.initrd {
        let (address, length) = load_initrd(memory, path, end, header.initrd_addr_max)?;
        header.ramdisk_image = narrow(address)?;
        header.ramdisk_size = narrow(length)?;
    }
    let map = e820(memory);
    let mut params = boot_params {
        hdr: header,
        acpi_rsdp_addr: ACPI_START,
        e820_entries: u8::try_from(map.len()).map_err(|error| error.to_string())?,
        ..Default::default()
    };
    // The structure is packed: its table cannot be borrowed.
    let mut table = params.e820_table;
    table.iter_mut().zip(map).for_each(|(to, from)| *to = from);
    params.e820_table = table;
    write(params.as_slice(), BOOT_PARAMS)?;

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

/// A number that must fit the boot protocol's 32 bits.
fn narrow(value: u64) -> Result<u32, String> {
    u32::try_from(value).map_err(|_| format!("{value:#x} is out of the boot protocol's range"))
}

/// A kernel in guest memory.
struct Kernel {
    /// Its setup header.
    header: setup_header,
    /// Where it was loaded.
    start: u64,
    /// The first address that it does not need.
    end: u64,
}

/// Loads the kernel where its header says.
fn load_kernel(memory: &GuestMemoryMmap, path: &Path) -> Result<Kernel, String> {
    let shown = path.display();
    let mut file = File::open(path).map_err(|error| format!("--kernel {shown}: {error}"))?;
    let loaded = BzImage::load(memory, None, &mut file, Some(GuestAddress(MIB)))
        .map_err(|error| format!("--kernel {shown} is no bzImage that can be loaded: {error}"))?;
    let header = loaded
        .setup_header
        .filter(|header| header.version >= VERSION && header.xloadflags & XLF_KERNEL_64 != 0)
        .ok_or_else(|| format!("--kernel {shown} is no 64-bit kernel of Linux 3.8 or newer"))?;
    let start = loaded.kernel_load.0;
    Ok(Kernel {
        header,
        start,
        end: start
            .max(header.pref_address)
            .saturating_add(u64::from(header.init_size))
            .max(loaded.kernel_end),
    })
}

/// Puts the command line, of at most `limit` bytes, where the boot parameters say.
fn load_command_line(
    memory: &GuestMemoryMmap,
    command_line: &str,
    limit: u32,
) -> Result<(), String> {
    let load = || -> Result<(), Box<dyn Error>> {
        // The crate counts the terminating zero, the kernel does not.
        let mut line = Cmdline::new(usize::try_from(limit)?.saturating_add(1))?;
        line.insert_str(command_line)?;
        Ok(load_cmdline(memory, GuestAddress(COMMAND_LINE), &line)?)
    };
    load().map_err(|error| format!("--cmdline: {error} (It may have {limit} bytes of ASCII.)"))
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
        type_: kind,
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
    use vmm_sys_util::tempfile::TempFile;

    /// The map as plain numbers.
    fn map(mebibytes: u64) -> Vec<(u64, u64, u32)> {
        e820(&memory::allocate(mebibytes).unwrap())
            .into_iter()
            .map(|entry| (entry.addr, entry.size, entry.type_))
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

    /// Changes a header.
    type Change = fn(&mut setup_header);

    /// A file with one sector of setup code and a kernel of 1000 bytes, its header changed by `change`, cut to `length`.
    fn image(change: Change, length: usize) -> TempFile {
        let mut header = setup_header {
            setup_sects: 1,
            header: u32::from_le_bytes(*b"HdrS"),
            version: VERSION,
            loadflags: 1,
            code32_start: 0x10_0000,
            xloadflags: XLF_KERNEL_64,
            pref_address: 0x100_0000,
            init_size: 0x20_0000,
            cmdline_size: 7,
            initrd_addr_max: 0x7fff_ffff,
            ..Default::default()
        };
        change(&mut header);
        let mut bytes = vec![0; 0x1f1];
        bytes.extend(header.as_slice());
        bytes.resize(1024, 0);
        bytes.extend([0xaa; 1000]);
        bytes.truncate(length);
        let file = TempFile::new().unwrap();
        file.as_file().write_all(&bytes).unwrap();
        file
    }

    #[test]
    fn the_kernel_is_loaded_and_its_header_kept() {
        let memory = memory::allocate(64).unwrap();
        let file = image(|_| (), 2024);
        let image = Image {
            kernel: file.as_path(),
            initrd: Some(file.as_path()),
            command_line: "a=b c d",
        };
        assert_eq!(load(&memory, &image, 1, true), Ok(0x10_0200));
        let byte = |address| memory.read_obj::<u8>(GuestAddress(address)).unwrap();
        assert_eq!(
            [0xf_ffff, 0x10_0000, 0x10_03e7, 0x10_03e8].map(byte),
            [0, 0xaa, 0xaa, 0]
        );
        let params: boot_params = memory.read_obj(GuestAddress(BOOT_PARAMS)).unwrap();
        let setup_header {
            header,
            cmd_line_ptr,
            ramdisk_image,
            ramdisk_size,
            ..
        } = params.hdr;
        assert_eq!(header.to_le_bytes(), *b"HdrS");
        assert_eq!(u64::from(ramdisk_image), 64 * MIB - 4096);
        assert_eq!(ramdisk_size, 2024);
        let mut line = [0xff; 8];
        let start = GuestAddress(u64::from(cmd_line_ptr));
        memory.read_slice(&mut line, start).unwrap();
        assert_eq!(&line, b"a=b c d\0");
        let (map, rsdp) = (params.e820_table, params.acpi_rsdp_addr);
        assert_eq!((params.e820_entries, rsdp), (3, ACPI_START));
        assert_eq!(map[..3], e820(&memory));
    }

    #[test]
    fn memory_that_the_kernel_needs_is_kept_free() {
        let memory = memory::allocate(64).unwrap();
        let end = |change: Change| {
            load_kernel(&memory, image(change, 2024).as_path())
                .unwrap()
                .end
        };
        assert_eq!(end(|_| ()), 0x120_0000);
        assert_eq!(end(|header| header.pref_address = 0), 0x30_0000);
        assert_eq!(
            end(|header| (header.pref_address, header.init_size) = (0, 0)),
            0x10_03e8
        );
    }

    #[test]
    fn what_is_no_kernel_is_refused_with_its_name() {
        let memory = memory::allocate(64).unwrap();
        let cases: [(Change, usize, &str); 7] = [
            (|header| header.header = 0, 2024, "no bzImage"),
            (|_| (), 0, "no bzImage"),
            (|_| (), 0x240, "no bzImage"),
            (|header| header.version = 0x20b, 2024, "3.8"),
            (|header| header.xloadflags = 0, 2024, "64-bit"),
            (|header| header.code32_start = 0x9_0000, 2024, "address"),
            (
                |header| header.code32_start = 0xff10_0000,
                2024,
                "no bzImage",
            ),
        ];
        for (change, length, said) in cases {
            let file = image(change, length);
            let error = load_kernel(&memory, file.as_path()).err().unwrap();
            assert!(error.contains(said), "{error}");
            assert!(error.contains(&file.as_path().display().to_string()));
        }
    }

    #[test]
    fn a_command_line_that_the_kernel_cannot_read_is_refused() {
        let memory = memory::allocate(64).unwrap();
        for (line, good) in [
            ("", true),
            ("1234567", true),
            ("12345678", false),
            ("ä", false),
        ] {
            let loaded = load_command_line(&memory, line, 7);
            assert_eq!(loaded.is_ok(), good, "{loaded:?}");
            assert!(loaded.err().is_none_or(|error| error.contains("7 bytes")));
        }
    }

    #[test]
    fn an_initrd_goes_to_the_end_of_low_memory_or_is_refused() {
        let file = TempFile::new().unwrap();
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
