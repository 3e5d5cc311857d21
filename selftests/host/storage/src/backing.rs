// SPDX-License-Identifier: GPL-2.0

//! What holds a disk's bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use vmm_sys_util::fallocate::{fallocate, FallocateMode};

/// What holds a disk's bytes. Offsets and lengths are in bytes, and the caller keeps them within [`Backing::size`].
///
/// Any thread may call; a write that has returned is seen by every later read.
pub trait Backing: Send + Sync {
    /// How many bytes there are.
    fn size(&self) -> u64;

    /// Changes the number of bytes. New ones are zero.
    fn resize(&self, size: u64) -> io::Result<()>;

    /// Reads bytes.
    fn read_at(&self, offset: u64, to: &mut [u8]) -> io::Result<()>;

    /// Writes bytes.
    fn write_at(&self, offset: u64, from: &[u8]) -> io::Result<()>;

    /// Makes what was written safe from a crash of the host.
    fn flush(&self) -> io::Result<()>;

    /// Makes bytes zero and gives back the room that they took.
    fn unmap(&self, offset: u64, length: u64) -> io::Result<()>;

    /// How much room the bytes take, in bytes.
    fn allocated(&self) -> u64;

    /// Whether it may be slow, so that a thread is to call it.
    fn may_block(&self) -> bool;
}

/// Locks, also after a panic of another thread: no value here is ever half changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file, or anything that behaves like one.
pub(crate) struct FileBacking {
    /// The file.
    file: File,
    /// Its size, unless resized since.
    size: Mutex<u64>,
}

impl FileBacking {
    /// Opens a file.
    pub(crate) fn open(path: &str, read_only: bool) -> io::Result<Self> {
        let mut file = File::options().read(true).write(!read_only).open(path)?;
        // The end, since a block device's metadata does not say its size.
        let size = Mutex::new(file.seek(SeekFrom::End(0))?);
        Ok(Self { file, size })
    }

    /// Makes a file of this size, if there is none.
    pub(crate) fn create(path: &str, size: u64) -> io::Result<()> {
        match File::options().write(true).create_new(true).open(path) {
            Ok(file) => file.set_len(size),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Backing for FileBacking {
    fn size(&self) -> u64 {
        *lock(&self.size)
    }

    fn resize(&self, size: u64) -> io::Result<()> {
        self.file.set_len(size)?;
        *lock(&self.size) = size;
        Ok(())
    }

    fn read_at(&self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(to, offset)
    }

    fn write_at(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        self.file.write_all_at(from, offset)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn unmap(&self, offset: u64, length: u64) -> io::Result<()> {
        if length == 0 {
            return Ok(());
        }
        fallocate(&self.file, FallocateMode::PunchHole, true, offset, length)
            .map_err(|error| io::Error::from_raw_os_error(error.errno()))
    }

    fn allocated(&self) -> u64 {
        self.file
            .metadata()
            .map_or(0, |data| data.blocks().saturating_mul(512))
    }

    fn may_block(&self) -> bool {
        true
    }
}

/// The unit in which memory is taken and given back, in bytes.
const CHUNK: u64 = 64 << 10;

/// Memory, of which only what was written is taken.
pub(crate) struct RamBacking(Mutex<Ram>);

/// The state of a [`RamBacking`].
struct Ram {
    /// How many bytes there are.
    size: u64,
    /// The chunks that are not zero, by number.
    chunks: BTreeMap<u64, Box<[u8]>>,
}

impl RamBacking {
    /// Memory of `size` bytes, all zero.
    pub(crate) const fn new(size: u64) -> Self {
        let chunks = BTreeMap::new();
        Self(Mutex::new(Ram { size, chunks }))
    }
}

/// Calls `part` for each chunk's part of the bytes from `offset` on, with chunk, offset in it, and number of bytes.
fn parts(mut offset: u64, mut length: u64, mut part: impl FnMut(u64, usize, usize)) {
    while length > 0 {
        let within = offset % CHUNK;
        let here = CHUNK.saturating_sub(within).min(length);
        // Both are at most the size of a chunk.
        let (start, count) = (usize::try_from(within), usize::try_from(here));
        part(offset / CHUNK, start.unwrap_or(0), count.unwrap_or(0));
        offset = offset.saturating_add(here);
        length = length.saturating_sub(here);
    }
}

/// A new chunk, all zero.
fn zero_chunk() -> Box<[u8]> {
    vec![0; usize::try_from(CHUNK).unwrap_or(0)].into()
}

/// `count` bytes of a chunk.
fn range(start: usize, count: usize) -> core::ops::Range<usize> {
    start..start.saturating_add(count)
}

/// A length of the host's own memory, as a number of bytes.
fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

impl Backing for RamBacking {
    fn size(&self) -> u64 {
        lock(&self.0).size
    }

    fn resize(&self, size: u64) -> io::Result<()> {
        let old = self.size();
        if size < old {
            self.unmap(size, old.saturating_sub(size))?;
        }
        lock(&self.0).size = size;
        Ok(())
    }

    fn read_at(&self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        let ram = lock(&self.0);
        let total = length(to);
        let mut rest = to;
        parts(offset, total, |chunk, start, count| {
            let (now, later) = core::mem::take(&mut rest).split_at_mut(count);
            match ram
                .chunks
                .get(&chunk)
                .and_then(|c| c.get(range(start, count)))
            {
                Some(bytes) => now.copy_from_slice(bytes),
                None => now.fill(0),
            }
            rest = later;
        });
        Ok(())
    }

    fn write_at(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        let mut ram = lock(&self.0);
        let mut rest = from;
        parts(offset, length(from), |chunk, start, count| {
            let (now, later) = rest.split_at(count);
            let chunk = ram.chunks.entry(chunk).or_insert_with(zero_chunk);
            if let Some(bytes) = chunk.get_mut(range(start, count)) {
                bytes.copy_from_slice(now);
            }
            rest = later;
        });
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn unmap(&self, offset: u64, length: u64) -> io::Result<()> {
        let mut ram = lock(&self.0);
        let end = offset.saturating_add(length);
        let first = offset / CHUNK;
        // A range may be far larger than what was ever written.
        let touched: Vec<u64> = ram
            .chunks
            .range(first..)
            .map(|(chunk, _)| *chunk)
            .take_while(|chunk| chunk.saturating_mul(CHUNK) < end)
            .collect();
        for number in touched {
            let begin = number.saturating_mul(CHUNK);
            let (from, to) = (offset.max(begin), end.min(begin.saturating_add(CHUNK)));
            if to.saturating_sub(from) == CHUNK {
                ram.chunks.remove(&number);
                continue;
            }
            let zeroed = usize::try_from(from.saturating_sub(begin))
                .ok()
                .zip(usize::try_from(to.saturating_sub(begin)).ok());
            if let (Some((from, to)), Some(chunk)) = (zeroed, ram.chunks.get_mut(&number)) {
                chunk.get_mut(from..to).unwrap_or_default().fill(0);
            }
        }
        Ok(())
    }

    fn allocated(&self) -> u64 {
        u64::try_from(lock(&self.0).chunks.len())
            .unwrap_or(u64::MAX)
            .saturating_mul(CHUNK)
    }

    fn may_block(&self) -> bool {
        false
    }
}
