// SPDX-License-Identifier: GPL-2.0

//! Tests of the GPADL encoder.

use super::*;
use crate::message::Message;
use crate::version::{FeatureFlags, Version};
use proptest::prelude::*;
use std::vec::Vec;
use zerocopy::FromBytes;

/// The PFN of page `index` in these tests: a different one for each page, in no order.
fn pfn(index: u64) -> u64 {
    index.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Encodes a range and decodes it as a host would: header, number of messages, and PFNs.
fn round_trip(range: Range) -> (GpadlHeader, GpaRange, usize, Vec<u64>) {
    let relid = Relid::new(7).unwrap();
    let messages = Encoder::new(4, relid, GpadlId(0xe1e10), range, (0..).map(pfn));
    let messages: Vec<Outgoing> = messages.map(Result::unwrap).collect();
    let mut heads = None;
    let mut pfns = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        assert!(message.as_bytes().len() <= 240);
        assert_eq!(message.connection_id(), 4);
        let parsed = Message::parse(message.as_bytes(), Version::V4_0, FeatureFlags::empty());
        let tail = match parsed.unwrap() {
            Message::GpadlHeader(header, tail) if index == 0 => {
                let (range, tail) = GpaRange::read_from_prefix(tail).unwrap();
                heads = Some((header, range));
                tail
            }
            Message::GpadlBody(body, tail) if index > 0 => {
                assert_eq!(body.gpadl.get(), 0xe1e10);
                tail
            }
            other => panic!("{other:?}"),
        };
        assert!(tail.len() % 8 == 0 && !tail.is_empty());
        pfns.extend(
            tail.chunks(8)
                .map(|pfn| u64::from_le_bytes(pfn.try_into().unwrap())),
        );
    }
    let (header, range) = heads.unwrap();
    (header, range, messages.len(), pfns)
}

#[test]
fn a_range_has_1_to_8190_pages() {
    assert_eq!(Range::pages(0), Err(BadRange));
    for pages in [1, 2, 8189, 8190] {
        assert_eq!(
            Range::pages(pages).map(Range::page_count),
            Ok(u16::try_from(pages).unwrap())
        );
    }
    for pages in [8191, 0x1_0000, 0x10_0000, 0x10_0001, u32::MAX] {
        assert_eq!(Range::pages(pages), Err(BadRange), "{pages}");
    }
}

#[test]
fn a_range_counts_the_pages_that_its_bytes_touch() {
    let pages = |offset, count| Range::bytes(offset, count).map(Range::page_count);
    assert_eq!(pages(0, 0), Err(BadRange));
    assert_eq!(pages(4095, 0), Err(BadRange));
    assert_eq!(pages(0, 1), Ok(1));
    assert_eq!(pages(0, 4096), Ok(1));
    assert_eq!(pages(0, 4097), Ok(2));
    assert_eq!(pages(4095, 1), Ok(1));
    assert_eq!(pages(4095, 2), Ok(2));
    assert_eq!(pages(4096, 1), Err(BadRange));
    assert_eq!(pages(1, 8190 * 4096 - 1), Ok(8190));
    assert_eq!(pages(1, 8190 * 4096), Err(BadRange));
    assert_eq!(pages(1, u32::MAX), Err(BadRange));
    assert_eq!(pages(u32::MAX, u32::MAX), Err(BadRange));
}

#[test]
fn a_header_holds_26_pfns_and_a_body_28() {
    for (pages, messages) in [
        (1, 1),
        (25, 1),
        (26, 1),
        (27, 2),
        (53, 2),
        (54, 2),
        (55, 3),
        (26 + 28 * 100, 101),
        (26 + 28 * 100 + 1, 102),
        (8190, 293),
    ] {
        let range = Range::pages(pages).unwrap();
        let (header, head, count, pfns) = round_trip(range);
        assert_eq!(count, messages, "{pages} pages");
        assert_eq!((header.relid.get(), header.gpadl.get()), (7, 0xe1e10));
        assert_eq!(header.range_count.get(), 1);
        assert_eq!(u32::from(header.range_buffer_len.get()), 8 + 8 * pages);
        assert_eq!(
            (head.byte_offset.get(), head.byte_count.get()),
            (0, pages * 4096)
        );
        assert!(pfns.iter().copied().eq((0..u64::from(pages)).map(pfn)));
    }
}

#[test]
fn too_few_pfns_are_an_error_and_the_end() {
    let relid = Relid::new(7).unwrap();
    for given in [0, 25, 26, 53] {
        let range = Range::pages(54).unwrap();
        let encoder = Encoder::new(4, relid, GpadlId(1), range, 0..given);
        let results: Vec<bool> = encoder.take(10).map(|message| message.is_ok()).collect();
        let whole = if given < 26 { 0 } else { 1 };
        assert_eq!(results.len(), whole + 1, "{given}");
        assert_eq!(results.iter().filter(|good| **good).count(), whole);
        assert_eq!(results.last(), Some(&false));
    }
}

proptest! {
    #[test]
    fn every_range_survives(offset in 0..4096u32, count in 1..8189u32 * 4096) {
        let range = Range::bytes(offset, count).unwrap();
        let (header, head, _, pfns) = round_trip(range);
        prop_assert_eq!((head.byte_offset.get(), head.byte_count.get()), (offset, count));
        prop_assert_eq!(pfns.len(), usize::from(range.page_count()));
        let bytes = size_of_val(pfns.as_slice()).saturating_add(8);
        prop_assert_eq!(usize::from(header.range_buffer_len.get()), bytes);
    }
}
