// SPDX-License-Identifier: GPL-2.0

//! A bzImage: the setup header, and the kernel after it.
//!
//! The crate linux-loader does this too, but since 0.14, which goes with our vm-memory, it needs Rust 1.87.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// Size of the boot parameters, and of what is read of the file to find the header.
pub(super) const PARAMS_SIZE: usize = 4096;
/// Size of a sector of the setup code, in bytes.
const SECTOR: u64 = 512;
/// First byte of the setup header, in the file and in the boot parameters.
const HEADER: usize = 0x1f1;
/// Signature of the header.
const MAGIC: u32 = u32::from_le_bytes(*b"HdrS");
/// The version that has all the fields below: 2.12, of Linux 3.8.
const VERSION: u16 = 0x20c;
/// `xloadflags`: the kernel has an entry for 64-bit mode.
const XLF_KERNEL_64: u16 = 1 << 0;

/// Fields of the header, by their offset.
pub(super) mod field {
    /// Number of sectors of setup code, 8 bits.
    pub(super) const SETUP_SECTORS: usize = 0x1f1;
    /// The header's end, counted from 0x202, 8 bits.
    pub(super) const LENGTH: usize = 0x201;
    /// Signature, 32 bits.
    pub(super) const MAGIC: usize = 0x202;
    /// Version of the protocol, 16 bits.
    pub(super) const VERSION: usize = 0x206;
    /// Kind of loader, 8 bits.
    pub(in super::super) const LOADER: usize = 0x210;
    /// Where the kernel is loaded, 32 bits.
    pub(super) const CODE32_START: usize = 0x214;
    /// Address of the initramfs, 32 bits.
    pub(in super::super) const RAMDISK_IMAGE: usize = 0x218;
    /// Its size, 32 bits.
    pub(in super::super) const RAMDISK_SIZE: usize = 0x21c;
    /// Address of the command line, 32 bits.
    pub(in super::super) const COMMAND_LINE: usize = 0x228;
    /// The highest address of the initramfs, 32 bits.
    pub(in super::super) const INITRD_MAX: usize = 0x22c;
    /// More flags, 16 bits.
    pub(super) const XLOADFLAGS: usize = 0x236;
    /// Longest command line, 32 bits.
    pub(in super::super) const COMMAND_LINE_SIZE: usize = 0x238;
    /// Where the kernel wants to run, 64 bits.
    pub(super) const PREFERRED: usize = 0x258;
    /// Memory that it needs there, 32 bits.
    pub(super) const INIT_SIZE: usize = 0x260;
}

/// Little-endian bytes at an offset; zeroes beyond the end.
fn bytes<const N: usize>(from: &[u8], offset: usize) -> [u8; N] {
    let mut found = [0; N];
    for (to, byte) in found.iter_mut().zip(from.iter().skip(offset)) {
        *to = *byte;
    }
    found
}

/// Boot parameters: the "zero page", with the kernel's own header in it.
pub(super) struct Params(pub(super) [u8; PARAMS_SIZE]);

impl Params {
    /// A field of 32 bits.
    pub(super) fn get(&self, offset: usize) -> u32 {
        u32::from_le_bytes(bytes(&self.0, offset))
    }

    /// Sets bytes at an offset.
    pub(super) fn set(&mut self, offset: usize, bytes: &[u8]) {
        for (to, byte) in self.0.iter_mut().skip(offset).zip(bytes) {
            *to = *byte;
        }
    }
}

/// A kernel in guest memory.
pub(super) struct Kernel {
    /// The boot parameters so far.
    pub(super) params: Params,
    /// Where it was loaded.
    pub(super) start: u64,
    /// The first address that it does not need.
    pub(super) end: u64,
}

impl Kernel {
    /// Loads a bzImage.
    ///
    /// # Errors
    ///
    /// A sentence that names the file.
    pub(super) fn load(memory: &GuestMemoryMmap, path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let wrong = |what: &str| format!("--kernel {shown} {what}");
        let failed = |error: std::io::Error| format!("--kernel {shown}: {error}");
        let mut file = File::open(path).map_err(failed)?;
        let mut start = Vec::new();
        file.by_ref()
            .take(u64::try_from(PARAMS_SIZE).unwrap_or(0))
            .read_to_end(&mut start)
            .map_err(failed)?;
        let word = |offset| u32::from_le_bytes(bytes(&start, offset));
        let half = |offset| u16::from_le_bytes(bytes(&start, offset));
        let [length] = bytes(&start, field::LENGTH);
        let [sectors] = bytes(&start, field::SETUP_SECTORS);
        if word(field::MAGIC) != MAGIC {
            return Err(wrong("is no bzImage"));
        }
        if half(field::VERSION) < VERSION || half(field::XLOADFLAGS) & XLF_KERNEL_64 == 0 {
            return Err(wrong("is no 64-bit kernel of Linux 3.8 or newer"));
        }

        let mut params = Params([0; PARAMS_SIZE]);
        let end = usize::from(length).saturating_add(field::MAGIC);
        params.set(
            HEADER,
            start
                .get(HEADER..end)
                .ok_or_else(|| wrong("is cut short"))?,
        );

        // No number of sectors stands for four, and the boot sector comes before them.
        let sectors = if sectors == 0 { 4 } else { u64::from(sectors) };
        let offset = sectors.saturating_add(1).saturating_mul(SECTOR);
        let size = file.metadata().map_err(failed)?.len();
        let size = size
            .checked_sub(offset)
            .ok_or_else(|| wrong("is cut short"))?;
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        let address = u64::from(word(field::CODE32_START));
        let count = usize::try_from(size).map_err(|error| error.to_string())?;
        memory
            .read_exact_volatile_from(GuestAddress(address), &mut file, count)
            .map_err(|error| wrong(&format!("does not fit: {error}")))?;
        let preferred = u64::from_le_bytes(bytes(&start, field::PREFERRED));
        let needed = u64::from(word(field::INIT_SIZE));
        Ok(Self {
            params,
            start: address,
            end: address
                .max(preferred)
                .saturating_add(needed)
                .max(address.saturating_add(size)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use vmm_sys_util::tempfile::TempFile;

    /// Changes an image.
    type Change = fn(&mut Vec<u8>);

    /// A file with one setup sector and a kernel of 1000 bytes, changed by `change`.
    fn image(change: impl FnOnce(&mut Vec<u8>)) -> TempFile {
        let mut bytes = vec![0; 1024 + 1000];
        let mut put = |offset: usize, value: &[u8]| {
            let end = offset.saturating_add(value.len());
            bytes[offset..end].copy_from_slice(value);
        };
        put(field::SETUP_SECTORS, &[1]);
        put(field::LENGTH, &[0x66]);
        put(field::MAGIC, b"HdrS");
        put(field::VERSION, &VERSION.to_le_bytes());
        put(field::CODE32_START, &0x10_0000u32.to_le_bytes());
        put(field::XLOADFLAGS, &XLF_KERNEL_64.to_le_bytes());
        put(field::PREFERRED, &0x100_0000u64.to_le_bytes());
        put(field::INIT_SIZE, &0x20_0000u32.to_le_bytes());
        put(1024, &[0xaa; 1000]);
        change(&mut bytes);
        let file = TempFile::new().unwrap();
        file.as_file().write_all(&bytes).unwrap();
        file
    }

    #[test]
    fn the_kernel_is_loaded_and_its_header_kept() {
        let memory = crate::memory::allocate(64).unwrap();
        let file = image(|_| ());
        let kernel = Kernel::load(&memory, file.as_path()).unwrap();
        assert_eq!((kernel.start, kernel.end), (0x10_0000, 0x120_0000));
        assert_eq!(kernel.params.get(field::MAGIC), MAGIC);
        let byte = |address| memory.read_obj::<u8>(GuestAddress(address)).unwrap();
        assert_eq!(
            [
                byte(0xf_ffff),
                byte(0x10_0000),
                byte(0x10_03e7),
                byte(0x10_03e8)
            ],
            [0, 0xaa, 0xaa, 0]
        );
        // Nothing but the header.
        assert!(kernel.params.0[..HEADER].iter().all(|byte| *byte == 0));
        assert!(kernel.params.0[0x268..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn what_is_no_kernel_is_refused_with_its_name() {
        let memory = crate::memory::allocate(64).unwrap();
        let changes: [(Change, &str); 6] = [
            (|bytes| bytes[field::MAGIC] = 0, "no bzImage"),
            (|bytes| bytes.clear(), "no bzImage"),
            (|bytes| bytes[field::VERSION] = 0xb, "3.8"),
            (|bytes| bytes[field::XLOADFLAGS] = 0, "64-bit"),
            (|bytes| bytes.truncate(0x240), "cut short"),
            (
                |bytes| bytes[field::CODE32_START + 3] = 0xff,
                "does not fit",
            ),
        ];
        for (change, said) in changes {
            let file = image(change);
            let error = Kernel::load(&memory, file.as_path()).err().unwrap();
            assert!(error.contains(said), "{error}");
            assert!(error.contains(&file.as_path().display().to_string()));
        }
    }
}
