// SPDX-License-Identifier: GPL-2.0

//! GPADLs: how the guest describes memory to the host.

use crate::message::wire::{GpaRange, GpadlBody, GpadlHeader};
use crate::message::Outgoing;
use crate::offer::Relid;
use core::fmt;
use zerocopy::IntoBytes;

/// Size of a page, in bytes; PFNs count in it whatever the kernel's own page size is.
pub const PAGE_SIZE: u32 = 4096;

/// The most pages that one GPADL describes, since 16 bits hold the size of the range and its PFNs in bytes.
pub const MAX_PAGES: u32 = 8190;

/// The name of a GPADL, chosen by the guest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct GpadlId(pub u32);

impl fmt::Debug for GpadlId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Bytes that lie on at least one and at most [`MAX_PAGES`] pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Where they begin in the first page.
    byte_offset: u32,
    /// How many there are.
    byte_count: u32,
    /// How many pages they touch.
    pages: u16,
}

/// Bytes that no GPADL describes: none, too many, or an offset beyond the first page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadRange;

impl Range {
    /// Whole pages.
    ///
    /// # Errors
    ///
    /// [`BadRange`] if there are none or more than [`MAX_PAGES`].
    pub fn pages(count: u32) -> Result<Self, BadRange> {
        Self::bytes(0, count.checked_mul(PAGE_SIZE).ok_or(BadRange)?)
    }

    /// `byte_count` bytes that begin `byte_offset` into the first page. QEMU ignores all but whole pages.
    ///
    /// # Errors
    ///
    /// See [`BadRange`].
    pub fn bytes(byte_offset: u32, byte_count: u32) -> Result<Self, BadRange> {
        let end = byte_offset.checked_add(byte_count).ok_or(BadRange)?;
        let pages = end.div_ceil(PAGE_SIZE);
        if byte_offset >= PAGE_SIZE || byte_count == 0 || pages > MAX_PAGES {
            return Err(BadRange);
        }
        let pages = u16::try_from(pages).map_err(|_| BadRange)?;
        Ok(Self {
            byte_offset,
            byte_count,
            pages,
        })
    }

    /// How many pages the bytes touch, and so how many PFNs describe them.
    #[must_use]
    pub const fn page_count(self) -> u16 {
        self.pages
    }

    /// Size of the range and all its PFNs on the wire, in bytes. [`MAX_PAGES`] makes it fit.
    fn wire_len(self) -> u16 {
        self.pages.saturating_add(1).saturating_mul(8)
    }
}

/// The caller's PFNs ended before the last page of the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingPfns;

/// The messages that create a GPADL, in order: a header, and as many bodies as the other PFNs need.
#[derive(Debug)]
#[must_use = "a GPADL is not created until all its messages are posted"]
pub struct Encoder<I> {
    /// Where to post the messages.
    connection_id: u32,
    /// The GPADL.
    gpadl: GpadlId,
    /// The first message, until it was given out.
    header: Option<Outgoing>,
    /// The PFNs that were not given out.
    pfns: I,
    /// How many of them there must be.
    left: u16,
}

impl<I: Iterator<Item = u64>> Encoder<I> {
    /// Describes `range`, whose pages are `pfns`; no more of these than the range has pages are taken.
    pub fn new(connection_id: u32, relid: Relid, gpadl: GpadlId, range: Range, pfns: I) -> Self {
        let mut header = Outgoing::new(
            connection_id,
            &GpadlHeader {
                relid: relid.get().into(),
                gpadl: gpadl.0.into(),
                range_buffer_len: range.wire_len().into(),
                range_count: 1.into(),
            },
        );
        let range_head = GpaRange {
            byte_count: range.byte_count.into(),
            byte_offset: range.byte_offset.into(),
        };
        header.push(range_head.as_bytes());
        Self {
            connection_id,
            gpadl,
            header: Some(header),
            pfns,
            left: range.pages,
        }
    }

    /// Fills a message with PFNs.
    fn fill(&mut self, mut message: Outgoing) -> Result<Outgoing, MissingPfns> {
        while self.left > 0 && message.room() >= size_of::<u64>() {
            let pfn = self.pfns.next().ok_or(MissingPfns)?;
            message.push(&pfn.to_le_bytes());
            self.left = self.left.saturating_sub(1);
        }
        Ok(message)
    }
}

impl<I: Iterator<Item = u64>> Iterator for Encoder<I> {
    type Item = Result<Outgoing, MissingPfns>;

    fn next(&mut self) -> Option<Self::Item> {
        let message = match self.header.take() {
            Some(header) => header,
            None if self.left == 0 => return None,
            None => {
                let body = GpadlBody {
                    message_number: 0.into(),
                    gpadl: self.gpadl.0.into(),
                };
                Outgoing::new(self.connection_id, &body)
            }
        };
        let message = self.fill(message);
        if message.is_err() {
            self.left = 0;
        }
        Some(message)
    }
}

#[cfg(test)]
mod tests;
