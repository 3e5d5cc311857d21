// SPDX-License-Identifier: GPL-2.0

use std::vec;
use std::vec::Vec;

use crate::gpa::{extension_size, pages, GpaDirect, GpaError};

/// Decodes an extension as a host would: ranges of byte count, byte offset and PFNs.
fn decode(extension: &[u8]) -> Vec<(u32, u32, Vec<u64>)> {
    let word = |at: usize| u32::from_le_bytes(extension[at..at + 4].try_into().unwrap());
    assert_eq!(word(0), 0, "reserved");
    let mut at = 8;
    let ranges = (0..word(4))
        .map(|_| {
            let (count, offset) = (word(at), word(at + 4));
            at += 8;
            let touched = (u64::from(offset) + u64::from(count)).div_ceil(4096);
            let list = (0..touched)
                .map(|_| {
                    at += 8;
                    u64::from_le_bytes(extension[at - 8..at].try_into().unwrap())
                })
                .collect();
            (count, offset, list)
        })
        .collect();
    assert_eq!(at, extension.len());
    ranges
}

#[test]
fn a_logical_buffer_is_one_range_however_many_pages_it_has() {
    let mut buffer = [0xff; 128];
    let mut gpa = GpaDirect::new(&mut buffer).unwrap();
    gpa.push(4000, 4096 + 97, [7, 8, 9]).unwrap();
    let extension = gpa.finish();
    assert_eq!(extension.len(), extension_size(1, 3));
    assert_eq!(decode(extension), [(4193, 4000, vec![7, 8, 9])]);
}

#[test]
fn a_page_buffer_list_has_one_range_for_each_small_buffer() {
    let mut buffer = [0xff; 56];
    let mut gpa = GpaDirect::new(&mut buffer).unwrap();
    for (pfn, offset, len) in [(u64::MAX, 0, 4096), (1, 4095, 1), (2, 8, 100)] {
        gpa.push(offset, len, [pfn]).unwrap();
    }
    let extension = gpa.finish();
    assert_eq!(extension.len(), extension_size(3, 3));
    let expected = [
        (4096, 0, vec![u64::MAX]),
        (1, 4095, vec![1]),
        (100, 8, vec![2]),
    ];
    assert_eq!(decode(extension), expected);
}

#[test]
fn an_extension_may_have_no_ranges() {
    let mut buffer = [0xff; 8];
    assert_eq!(GpaDirect::new(&mut buffer).unwrap().finish(), [0; 8]);
    assert_eq!(
        GpaDirect::new(&mut [0; 7]).map(|_| ()),
        Err(GpaError::NoRoom)
    );
}

#[test]
fn touched_pages_are_counted_at_their_limits() {
    for (offset, count, expected) in [
        (0, 0, 0),
        (0, 1, 1),
        (0, 4095, 1),
        (0, 4096, 1),
        (0, 4097, 2),
        (4095, 1, 1),
        (4095, 2, 2),
        (4095, 4097, 2),
        (4095, 4098, 3),
        (4096, 1, 0),
        (u32::MAX, 1, 0),
        (0, u32::MAX, 1 << 20),
        (4095, u32::MAX, (1 << 20) + 1),
    ] {
        assert_eq!(pages(offset, count), expected, "{offset} {count}");
    }
}

#[test]
fn a_range_that_is_refused_leaves_the_packet_as_it_was() {
    let mut buffer = [0xff; 40];
    let mut gpa = GpaDirect::new(&mut buffer).unwrap();
    gpa.push(0, 1, [1]).unwrap();
    assert_eq!(gpa.push(0, 0, []), Err(GpaError::BadRange));
    assert_eq!(gpa.push(4096, 1, [2]), Err(GpaError::BadRange));
    assert_eq!(
        gpa.push(0, 4096, []),
        Err(GpaError::BadRange),
        "a PFN is missing"
    );
    assert_eq!(
        gpa.push(0, 4096, [1, 2]),
        Err(GpaError::BadRange),
        "a PFN is too many"
    );
    assert_eq!(gpa.push(0, 4097, [1, 2]), Err(GpaError::NoRoom));
    assert_eq!(gpa.push(0, u32::MAX, []), Err(GpaError::NoRoom));
    gpa.push(1, 2, [3]).unwrap();
    assert_eq!(gpa.push(0, 1, [4]), Err(GpaError::NoRoom));
    assert_eq!(decode(gpa.finish()), [(1, 0, vec![1]), (2, 1, vec![3])]);
}
