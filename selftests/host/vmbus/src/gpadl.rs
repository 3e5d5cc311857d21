// SPDX-License-Identifier: GPL-2.0

//! GPADLs as the host takes them in: whole before they are looked at, and bounded.

use crate::channel::PortId;
use crate::host::Memory;
use crate::memory::{page_address, GpaList, PAGE_SIZE};
use vmbus_proto::message::wire;

/// The most GPADLs at a time.
pub(crate) const MAX_GPADLS: usize = 1024;

/// The most bytes of ranges and PFNs at a time: 1280 MiB of pages, the limit of Windows Server 2019.
pub(crate) const MAX_BYTES: usize = 8 * 1280 * 256;

/// Memory that the guest lends.
#[derive(Debug)]
pub(crate) struct Gpadl {
    /// The channel that it belongs to.
    pub(crate) port: PortId,
    /// Ranges and PFNs, as far as they have come.
    bytes: Vec<u8>,
    /// How many bytes there will be.
    len: usize,
    /// How many ranges there will be.
    range_count: u16,
    /// The ranges, once all have come.
    pub(crate) ranges: Option<GpaList>,
}

/// What a message made of a GPADL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More bytes are to come.
    Partial,
    /// It is complete and usable.
    Complete,
    /// It is wrong: too many bytes, ranges that make no sense, or pages that are not in guest memory.
    Bad,
}

impl Gpadl {
    /// A GPADL without any bytes yet.
    pub(crate) fn new(port: PortId, header: &wire::GpadlHeader) -> Self {
        Self {
            port,
            bytes: Vec::new(),
            len: header.range_buffer_len.get().into(),
            range_count: header.range_count.get(),
            ranges: None,
        }
    }

    /// Bytes that it takes, those to come included.
    pub(crate) fn cost(&self) -> usize {
        self.len
    }

    /// Bytes that have come.
    pub(crate) fn bytes_held(&self) -> usize {
        self.bytes.len()
    }

    /// Takes bytes in.
    pub(crate) fn push(&mut self, memory: &Memory, tail: &[u8]) -> Progress {
        let total = self.bytes.len().saturating_add(tail.len());
        if self.ranges.is_some() || total > self.len || self.range_count == 0 {
            return Progress::Bad;
        }
        self.bytes.extend_from_slice(tail);
        if total < self.len {
            return Progress::Partial;
        }
        match GpaList::parse_ranges(memory, self.range_count.into(), &self.bytes) {
            Ok((list, [])) => {
                self.ranges = Some(list);
                Progress::Complete
            }
            _ => Progress::Bad,
        }
    }

    /// The addresses of its pages, if it is complete and one range of whole pages, as rings must be.
    pub(crate) fn ring_pages(&self, memory: &Memory) -> Option<Vec<u64>> {
        self.ranges.as_ref()?;
        let (head, pfns) = self.bytes.split_first_chunk::<8>()?;
        let [a, b, c, d, offset @ ..] = *head;
        let whole = u64::from(u32::from_le_bytes([a, b, c, d])) % PAGE_SIZE == 0;
        if self.range_count != 1 || offset != [0; 4] || !whole {
            return None;
        }
        pfns.chunks_exact(8)
            .map(|pfn| page_address(memory, u64::from_le_bytes(*pfn.first_chunk::<8>()?)))
            .collect()
    }
}
