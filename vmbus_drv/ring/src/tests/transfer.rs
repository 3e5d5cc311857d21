// SPDX-License-Identifier: GPL-2.0

use std::vec::Vec;

use proptest::prelude::*;

use crate::transfer::{TransferError, TransferPages, TransferRange};

/// An extension with these ranges of offset and count, whose header announces `count` of them.
fn extension(count: u32, ranges: &[(u32, u32)]) -> Vec<u8> {
    let mut bytes = Vec::from([0xad, 0xde, 1, 0xff]);
    bytes.extend(count.to_le_bytes());
    for (offset, len) in ranges {
        bytes.extend(len.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
    }
    bytes
}

#[test]
fn ranges_within_the_buffer_are_listed() {
    let bytes = extension(3, &[(0, 1000), (999, 1), (1000, 0), (5, 5)]);
    let pages = TransferPages::parse(&bytes, 1000).unwrap();
    assert_eq!(pages.set_id, 0xdead);
    let ranges: Vec<_> = pages.ranges().collect();
    let range = |byte_offset, byte_count| TransferRange {
        byte_offset,
        byte_count,
    };
    assert_eq!(ranges, [range(0, 1000), range(999, 1), range(1000, 0)]);
}

#[test]
fn ranges_at_the_end_of_the_buffer_are_checked() {
    for (byte_offset, byte_count, valid) in [
        (0, 999, true),
        (0, 1000, true),
        (0, 1001, false),
        (1, 1000, false),
        (1000, 0, true),
        (1001, 0, false),
        (u32::MAX, 0, false),
        (u32::MAX, 1, false),
        (1, u32::MAX, false),
        (u32::MAX, u32::MAX, false),
    ] {
        let bytes = extension(2, &[(0, 0), (byte_offset, byte_count)]);
        let expected = if valid {
            Ok(())
        } else {
            Err(TransferError::OutOfBounds {
                byte_offset,
                byte_count,
            })
        };
        assert_eq!(TransferPages::parse(&bytes, 1000).map(|_| ()), expected);
    }
}

#[test]
fn announced_ranges_that_are_not_there_are_refused() {
    for (count, valid) in [
        (0, true),
        (1, true),
        (2, true),
        (3, false),
        (1 << 29, false),
        (u32::MAX, false),
    ] {
        let bytes = extension(count, &[(0, 0), (0, 0)]);
        assert_eq!(TransferPages::parse(&bytes, 0).is_ok(), valid, "{count}");
    }
    for len in 0..24 {
        let bytes = extension(2, &[(0, 0), (0, 0)]);
        assert!(TransferPages::parse(&bytes[..len], 0).is_err(), "{len}");
    }
}

proptest! {
    #[test]
    fn any_bytes_give_ranges_within_the_buffer(
        bytes in proptest::collection::vec(prop_oneof![Just(0), 0..3u8, any::<u8>()], 0..100),
        len in any::<u32>(),
    ) {
        if let Ok(pages) = TransferPages::parse(&bytes, len) {
            for range in pages.ranges() {
                prop_assert!(u64::from(range.byte_offset) + u64::from(range.byte_count) <= u64::from(len));
            }
        }
    }
}
