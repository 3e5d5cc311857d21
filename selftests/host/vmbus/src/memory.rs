// SPDX-License-Identifier: GPL-2.0

//! Guest memory as the host uses it: pages, buffers of GPA-direct packets, and rings.

use crate::host::Memory;
use core::sync::atomic::{fence, Ordering};
use std::sync::atomic::AtomicU32;
use std::sync::Arc;
use vm_memory::bitmap::BS;
use vm_memory::{Bytes, GuestAddress, GuestMemory, GuestMemoryMmap, VolatileMemory, VolatileSlice};
use vmbus_ring::gpa::pages;
use vmbus_ring::{Control, RingMem};

/// Size of the pages that PFNs count, in bytes.
pub const PAGE_SIZE: u64 = 4096;

/// [`PAGE_SIZE`] for arithmetic on buffers in the host's own memory.
const PAGE: usize = 4096;

/// The address of a page, if the page is in guest memory.
pub(crate) fn page_address(memory: &GuestMemoryMmap, pfn: u64) -> Option<u64> {
    let address = pfn.checked_mul(PAGE_SIZE)?;
    is_page(memory, address).then_some(address)
}

/// Whether a page of guest memory starts here.
pub(crate) fn is_page(memory: &GuestMemoryMmap, address: u64) -> bool {
    address % PAGE_SIZE == 0 && memory.check_range(GuestAddress(address), PAGE)
}

/// Takes the set bits of a word of guest memory and leaves 0; 0 if there is no such word.
pub(crate) fn take_bits(memory: &GuestMemoryMmap, address: u64) -> u32 {
    let word = memory.get_slice(GuestAddress(address), size_of::<u32>());
    word.ok()
        .and_then(|slice| {
            let word = slice.get_atomic_ref::<AtomicU32>(0).ok()?;
            // An exchange locks the bus: most words that are polled are 0, and a load is all that takes.
            match word.load(Ordering::Relaxed) {
                0 => None,
                _ => Some(u32::from_le(word.swap(0, Ordering::AcqRel))),
            }
        })
        .unwrap_or(0)
}

/// An access beyond the end of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfBounds;

/// Consecutive bytes of guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    /// Where they begin.
    address: u64,
    /// How many there are.
    len: usize,
}

/// One logical buffer in guest memory, which may lie on any pages: a range of a GPA-direct packet.
///
/// It owns what it needs, so that other threads can use it. Every page was in guest memory when it was made.
#[derive(Clone, Debug)]
pub struct GuestBuffer {
    /// The guest's memory.
    memory: Memory,
    /// The bytes, in order; neighbours are one piece.
    pieces: Vec<Piece>,
    /// Bytes in all.
    len: usize,
}

impl GuestBuffer {
    /// A buffer of `byte_count` bytes that begins `byte_offset` into the first of `pfns`, which must be exactly those
    /// that the bytes touch; `None` if they are not, or not all in guest memory.
    pub fn new(
        memory: &Memory,
        byte_offset: u32,
        byte_count: u32,
        pfns: impl ExactSizeIterator<Item = u64>,
    ) -> Option<Self> {
        let count = usize::try_from(pages(byte_offset, byte_count)).ok()?;
        if count == 0 || count != pfns.len() {
            return None;
        }
        let mut offset = usize::try_from(byte_offset).ok()?;
        let len = usize::try_from(byte_count).ok()?;
        let mut left = len;
        let mut pieces: Vec<Piece> = Vec::new();
        for pfn in pfns {
            let here = PAGE.checked_sub(offset)?.min(left);
            let address = page_address(memory, pfn)?.checked_add(u64::try_from(offset).ok()?)?;
            match pieces.last_mut() {
                Some(last) if last.end() == Some(address) => {
                    last.len = last.len.checked_add(here)?;
                }
                _ => pieces.push(Piece { address, len: here }),
            }
            left = left.checked_sub(here)?;
            offset = 0;
        }
        Some(Self {
            memory: Arc::clone(memory),
            pieces,
            len,
        })
    }

    /// Size in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces of `len` bytes from `offset` on.
    fn pieces(&self, offset: usize, len: usize) -> Result<Vec<Piece>, OutOfBounds> {
        let end = offset.checked_add(len).ok_or(OutOfBounds)?;
        if end > self.len {
            return Err(OutOfBounds);
        }
        let (mut skip, mut left) = (offset, len);
        let mut found = Vec::new();
        for piece in &self.pieces {
            if left == 0 {
                break;
            }
            if skip >= piece.len {
                skip = skip.saturating_sub(piece.len);
                continue;
            }
            let here = piece.len.saturating_sub(skip).min(left);
            found.push(Piece {
                address: u64::try_from(skip)
                    .map_or(piece.address, |skip| piece.address.saturating_add(skip)),
                len: here,
            });
            left = left.saturating_sub(here);
            skip = 0;
        }
        Ok(found)
    }

    /// The host's view of `len` bytes from `offset` on, for vectored I/O. The guest may write the bytes at any time.
    ///
    /// # Errors
    ///
    /// [`OutOfBounds`] if the buffer is shorter.
    pub fn slices(
        &self,
        offset: usize,
        len: usize,
    ) -> Result<Vec<VolatileSlice<'_, BS<'_, ()>>>, OutOfBounds> {
        let mut slices = Vec::new();
        for piece in self.pieces(offset, len)? {
            for slice in self
                .memory
                .get_slices(GuestAddress(piece.address), piece.len)
            {
                slices.push(slice.map_err(|_| OutOfBounds)?);
            }
        }
        Ok(slices)
    }

    /// Copies bytes out of the buffer.
    ///
    /// # Errors
    ///
    /// [`OutOfBounds`] if the buffer is shorter; nothing was copied.
    pub fn read_at(&self, offset: usize, to: &mut [u8]) -> Result<(), OutOfBounds> {
        let mut rest = to;
        for slice in self.slices(offset, rest.len())? {
            let (now, later) = rest.split_at_mut_checked(slice.len()).ok_or(OutOfBounds)?;
            slice.copy_to(now);
            rest = later;
        }
        Ok(())
    }

    /// Copies bytes into the buffer.
    ///
    /// # Errors
    ///
    /// [`OutOfBounds`] if the buffer is shorter; nothing was copied.
    pub fn write_at(&self, offset: usize, from: &[u8]) -> Result<(), OutOfBounds> {
        let mut rest = from;
        for slice in self.slices(offset, rest.len())? {
            let (now, later) = rest.split_at_checked(slice.len()).ok_or(OutOfBounds)?;
            slice.copy_from(now);
            rest = later;
        }
        Ok(())
    }

    /// A copy of all bytes.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len];
        // The length is the buffer's own.
        let _ = self.read_at(0, &mut bytes);
        bytes
    }
}

impl Piece {
    /// Where the bytes end.
    fn end(self) -> Option<u64> {
        self.address.checked_add(u64::try_from(self.len).ok()?)
    }
}

/// The ranges of a GPA-direct packet, each checked against guest memory; empty for other packets.
#[derive(Clone, Debug, Default)]
pub struct GpaList {
    /// The ranges.
    ranges: Vec<GuestBuffer>,
}

/// The extension of a GPA-direct packet makes no sense, or names pages that are not in guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadGpaList;

impl GpaList {
    /// Reads the extension of a GPA-direct packet.
    ///
    /// # Errors
    ///
    /// [`BadGpaList`].
    pub fn parse(memory: &Memory, extension: &[u8]) -> Result<Self, BadGpaList> {
        let (header, rest) = extension.split_first_chunk::<8>().ok_or(BadGpaList)?;
        let [_, _, _, _, a, b, c, d] = *header;
        let count = u32::from_le_bytes([a, b, c, d]);
        Self::parse_ranges(memory, count, rest).map(|(list, _)| list)
    }

    /// Reads `count` ranges with their PFNs; returns what follows them too.
    pub(crate) fn parse_ranges<'b>(
        memory: &Memory,
        count: u32,
        mut bytes: &'b [u8],
    ) -> Result<(Self, &'b [u8]), BadGpaList> {
        let mut ranges = Vec::new();
        // Each range takes bytes, or the loop ends.
        for _ in 0..count {
            let (head, rest) = bytes.split_first_chunk::<8>().ok_or(BadGpaList)?;
            let [a, b, c, d, e, f, g, h] = *head;
            let byte_count = u32::from_le_bytes([a, b, c, d]);
            let byte_offset = u32::from_le_bytes([e, f, g, h]);
            let list = usize::try_from(pages(byte_offset, byte_count))
                .ok()
                .and_then(|count| count.checked_mul(8))
                .ok_or(BadGpaList)?;
            let (pfns, rest) = rest.split_at_checked(list).ok_or(BadGpaList)?;
            let pfns = pfns.chunks_exact(8).map(|pfn| {
                pfn.first_chunk::<8>()
                    .map_or(u64::MAX, |pfn| u64::from_le_bytes(*pfn))
            });
            ranges.push(GuestBuffer::new(memory, byte_offset, byte_count, pfns).ok_or(BadGpaList)?);
            bytes = rest;
        }
        Ok((Self { ranges }, bytes))
    }

    /// The ranges, in the order of the packet.
    #[must_use]
    pub fn ranges(&self) -> &[GuestBuffer] {
        &self.ranges
    }

    /// The first range, which is the only one of a storage request.
    #[must_use]
    pub fn first(&self) -> Option<&GuestBuffer> {
        self.ranges.first()
    }

    /// Whether there are no ranges.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Bytes of all ranges.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ranges
            .iter()
            .fold(0, |sum, range| sum.saturating_add(range.len()))
    }
}

/// The memory of one ring: a control page, and data pages that may lie anywhere.
#[derive(Clone, Debug)]
pub(crate) struct RingPages {
    /// The guest's memory.
    memory: Memory,
    /// The address of the control page.
    control: u64,
    /// The addresses of the data pages.
    data: Arc<[u64]>,
    /// Bytes of data.
    size: u32,
}

impl RingPages {
    /// A ring on these pages, the addresses of which were checked; `None` if they are fewer than two or far too many.
    pub(crate) fn new(memory: &Memory, pages: &[u64]) -> Option<Self> {
        let (control, data) = pages.split_first()?;
        let size = u32::try_from(data.len().checked_mul(PAGE)?).ok()?;
        (size != 0).then(|| Self {
            memory: Arc::clone(memory),
            control: *control,
            data: data.into(),
            size,
        })
    }

    /// The address of a control word.
    fn word(&self, word: Control) -> GuestAddress {
        let offset = u64::try_from(word.offset()).unwrap_or(0);
        GuestAddress(self.control.saturating_add(offset))
    }

    /// Calls `copy` for each page's part of `len` bytes from `offset` on, with the address and the number of bytes.
    fn parts(&self, offset: u32, len: usize, mut copy: impl FnMut(GuestAddress, usize)) {
        let mut at = usize::try_from(offset).unwrap_or(usize::MAX);
        let mut left = len;
        while left > 0 {
            let Some(page) = self.data.get(at / PAGE) else {
                return;
            };
            let within = at % PAGE;
            let here = PAGE.saturating_sub(within).min(left);
            copy(
                GuestAddress(page.saturating_add(u64::try_from(within).unwrap_or(0))),
                here,
            );
            at = at.saturating_add(here);
            left = left.saturating_sub(here);
        }
    }
}

// The pages were in guest memory when the ring was made, and guest memory does not shrink: no access fails.
impl RingMem for RingPages {
    fn size(&self) -> u32 {
        self.size
    }

    fn load(&self, word: Control) -> u32 {
        let value = self.memory.load(self.word(word), Ordering::Acquire);
        value.map_or(0, u32::from_le)
    }

    fn store(&self, word: Control, value: u32) {
        let _ = self
            .memory
            .store(value.to_le(), self.word(word), Ordering::Release);
    }

    fn full_fence(&self) {
        fence(Ordering::SeqCst);
    }

    fn read(&self, offset: u32, dest: &mut [u8]) {
        let len = dest.len();
        let mut rest = dest;
        self.parts(offset, len, |address, here| {
            if let Some((now, later)) = core::mem::take(&mut rest).split_at_mut_checked(here) {
                let _ = self.memory.read_slice(now, address);
                rest = later;
            }
        });
    }

    fn write(&self, offset: u32, src: &[u8]) {
        let mut rest = src;
        self.parts(offset, src.len(), |address, here| {
            if let Some((now, later)) = rest.split_at_checked(here) {
                let _ = self.memory.write_slice(now, address);
                rest = later;
            }
        });
    }
}
