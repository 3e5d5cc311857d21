// SPDX-License-Identifier: GPL-2.0

//! Transfer-page packets: the host has put data into a buffer that both sides know, and the packet
//! lists where.
//!
//! Only network devices use them. The buffer is the receive buffer that the guest shared by a
//! GPADL.

use zerocopy::little_endian::{U16, U32};
use zerocopy::FromBytes as _;
use zerocopy_derive::{FromBytes, Immutable, KnownLayout};

/// The start of the extension (`struct vmtransfer_page_packet_header` without its descriptor): 8
/// bytes.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    /// Names the buffer.
    set_id: U16,
    /// Not used.
    sender_owns_set: u8,
    /// Not used.
    reserved: u8,
    /// Number of ranges that follow.
    range_count: U32,
}
const _: () = assert!(size_of::<Header>() == 8);

/// One range (`struct vmtransfer_page_range`): 8 bytes.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct WireRange {
    /// Bytes in the range.
    byte_count: U32,
    /// Where it starts in the buffer.
    byte_offset: U32,
}
const _: () = assert!(size_of::<WireRange>() == 8);

/// Why the extension of a transfer-page packet cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferError {
    /// It is too short for its header or for the ranges that the header announces.
    Truncated,
    /// A range does not lie within the buffer.
    OutOfBounds {
        /// Where the range starts.
        byte_offset: u32,
        /// Bytes in the range.
        byte_count: u32,
    },
}

/// A part of the shared buffer that is known to lie within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferRange {
    /// Where it starts in the buffer, in bytes.
    pub byte_offset: u32,
    /// Bytes in the range.
    pub byte_count: u32,
}

/// The checked extension of a transfer-page packet.
#[derive(Clone, Copy, Debug)]
pub struct TransferPages<'a> {
    /// Names the buffer; chosen by the host when the buffer was shared.
    pub set_id: u16,
    /// The ranges, each checked.
    ranges: &'a [WireRange],
}

impl<'a> TransferPages<'a> {
    /// Checks the `extension` of a packet against a shared buffer of `buffer_len` bytes.
    ///
    /// # Errors
    ///
    /// [`TransferError`] if it has fewer ranges than announced, or one that is not within the
    /// buffer.
    pub fn parse(extension: &'a [u8], buffer_len: u32) -> Result<Self, TransferError> {
        let (header, rest) =
            Header::ref_from_prefix(extension).map_err(|_| TransferError::Truncated)?;
        let count =
            usize::try_from(header.range_count.get()).map_err(|_| TransferError::Truncated)?;
        let (ranges, _) = <[WireRange]>::ref_from_prefix_with_elems(rest, count)
            .map_err(|_| TransferError::Truncated)?;
        for range in ranges {
            let (byte_offset, byte_count) = (range.byte_offset.get(), range.byte_count.get());
            match byte_offset.checked_add(byte_count) {
                Some(end) if end <= buffer_len => {}
                _ => {
                    return Err(TransferError::OutOfBounds {
                        byte_offset,
                        byte_count,
                    })
                }
            }
        }
        Ok(Self {
            set_id: header.set_id.get(),
            ranges,
        })
    }

    /// The ranges, in the order of the packet. They may overlap or be empty.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = TransferRange> + 'a {
        self.ranges.iter().map(|range| TransferRange {
            byte_offset: range.byte_offset.get(),
            byte_count: range.byte_count.get(),
        })
    }
}
