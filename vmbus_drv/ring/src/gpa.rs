// SPDX-License-Identifier: GPL-2.0

//! GPA-direct packets: requests whose data stays in guest memory, which the packet lists by page.
//!
//! The extension of such a packet (`struct vmdata_gpa_direct`) is a header and a number of ranges.
//! Each range (`struct gpa_range`) is one run of bytes that may start inside its first page and end
//! inside its last, with one page frame number (PFN: guest physical address divided by 4096) for
//! each page that it touches.

use zerocopy::little_endian::{U32, U64};
use zerocopy::IntoBytes as _;
use zerocopy_derive::{Immutable, IntoBytes};

/// Size in bytes of the pages that PFNs count, whatever the guest's own page size.
pub const PAGE_SIZE: u32 = 4096;

/// Why a range was not added. The packet is as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GpaError {
    /// The buffer for the extension is too small.
    NoRoom,
    /// The range is empty, starts beyond its first page, or the number of PFNs is not the number of
    /// pages that it touches.
    BadRange,
}

/// The start of the extension: 8 bytes.
#[derive(Clone, Copy, Debug, Immutable, IntoBytes)]
#[repr(C)]
struct Header {
    /// Zero.
    reserved: U32,
    /// Number of ranges.
    range_count: U32,
}

/// Size in bytes of a [`Header`].
const HEADER_SIZE: usize = 8;
const _: () = assert!(size_of::<Header>() == HEADER_SIZE);

/// The start of a range: 8 bytes, followed by PFNs of 8 bytes each.
#[derive(Clone, Copy, Debug, Immutable, IntoBytes)]
#[repr(C)]
struct Range {
    /// Bytes in the range.
    byte_count: U32,
    /// Where the range starts in its first page, below [`PAGE_SIZE`].
    byte_offset: U32,
}

/// Size in bytes of a [`Range`].
const RANGE_SIZE: usize = 8;
const _: () = assert!(size_of::<Range>() == RANGE_SIZE);

/// Size in bytes of a PFN.
const PFN_SIZE: usize = 8;

/// The number of pages that `byte_count` bytes touch from `byte_offset` in the first page on; 0 if
/// the range is none.
#[inline]
pub const fn pages(byte_offset: u32, byte_count: u32) -> u32 {
    if byte_count == 0 || byte_offset >= PAGE_SIZE {
        return 0;
    }
    // The first page takes what lies behind the offset; this form cannot overflow.
    let first = PAGE_SIZE.wrapping_sub(byte_offset);
    byte_count
        .saturating_sub(first)
        .div_ceil(PAGE_SIZE)
        .wrapping_add(1)
}

/// The words before the PFNs in an extension with one range.
#[inline]
pub fn one_range(byte_offset: u32, byte_count: u32) -> [u64; 2] {
    let range_count = 1u64 << 32;
    [
        range_count.to_le(),
        (u64::from(byte_offset) << 32 | u64::from(byte_count)).to_le(),
    ]
}

/// Size in bytes of an extension with `ranges` ranges that list `pfns` PFNs in all.
#[inline]
pub const fn extension_size(ranges: usize, pfns: usize) -> usize {
    HEADER_SIZE
        .saturating_add(ranges.saturating_mul(RANGE_SIZE))
        .saturating_add(pfns.saturating_mul(PFN_SIZE))
}

/// Builds the extension of a GPA-direct packet in memory of the caller.
///
/// One logical buffer is one range, however many pages it has: hosts take separate ranges as
/// separate buffers, and netvsp rejects an RNDIS message whose contiguous pages come one by one. So
/// the "page buffer" form of `hyperv.h` is a range of one PFN for each of several small buffers,
/// and its "multi-page buffer" form is one range.
#[derive(Debug)]
pub struct GpaDirect<'b> {
    /// The caller's memory.
    buffer: &'b mut [u8],
    /// Bytes of it in use, a multiple of 8.
    used: usize,
    /// Number of ranges.
    range_count: u32,
}

impl<'b> GpaDirect<'b> {
    /// Starts an extension without ranges in `buffer`; see [`extension_size`].
    ///
    /// # Errors
    ///
    /// [`GpaError::NoRoom`] if not even the header fits.
    #[inline]
    pub fn new(buffer: &'b mut [u8]) -> Result<Self, GpaError> {
        if buffer.len() < HEADER_SIZE {
            return Err(GpaError::NoRoom);
        }
        Ok(Self {
            buffer,
            used: HEADER_SIZE,
            range_count: 0,
        })
    }

    /// Adds one logical buffer of `byte_count` bytes, which starts `byte_offset` bytes into the
    /// first of `pfns`.
    ///
    /// # Errors
    ///
    /// [`GpaError::BadRange`] if `pfns` is not exactly as long as [`pages`] says,
    /// [`GpaError::NoRoom`] if it does not fit.
    #[inline]
    pub fn push<I>(&mut self, byte_offset: u32, byte_count: u32, pfns: I) -> Result<(), GpaError>
    where
        I: IntoIterator<Item = u64>,
    {
        let page_count =
            usize::try_from(pages(byte_offset, byte_count)).map_err(|_| GpaError::BadRange)?;
        if page_count == 0 {
            return Err(GpaError::BadRange);
        }
        let free = self.buffer.get_mut(self.used..).ok_or(GpaError::NoRoom)?;
        let size = page_count
            .saturating_mul(PFN_SIZE)
            .saturating_add(RANGE_SIZE);
        let (head, list) = free
            .get_mut(..size)
            .and_then(|range| range.split_at_mut_checked(RANGE_SIZE))
            .ok_or(GpaError::NoRoom)?;

        let mut pfns = pfns.into_iter();
        for slot in list.chunks_exact_mut(PFN_SIZE) {
            let pfn = pfns.next().ok_or(GpaError::BadRange)?;
            slot.copy_from_slice(U64::new(pfn).as_bytes());
        }
        if pfns.next().is_some() {
            return Err(GpaError::BadRange);
        }
        let range = Range {
            byte_count: U32::new(byte_count),
            byte_offset: U32::new(byte_offset),
        };
        head.copy_from_slice(range.as_bytes());
        self.used = self.used.saturating_add(size);
        self.range_count = self.range_count.saturating_add(1);
        Ok(())
    }

    /// The finished extension, for [`crate::OutgoingPacket::gpa_direct`].
    #[inline]
    pub fn finish(self) -> &'b [u8] {
        let header = Header {
            reserved: U32::ZERO,
            range_count: U32::new(self.range_count),
        };
        if let Some(head) = self.buffer.first_chunk_mut::<HEADER_SIZE>() {
            head.copy_from_slice(header.as_bytes());
        }
        self.buffer.get(..self.used).unwrap_or_default()
    }
}
