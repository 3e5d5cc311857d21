// SPDX-License-Identifier: GPL-2.0

//! Buffers, as the one range of a GPA-direct packet: a list of page frame numbers (PFNs).
//!
//! A host takes a buffer that is scattered over memory as one range, if every part but the first starts a page and
//! every part but the last ends one. So the kernel is asked for no other buffers (`virt_boundary_mask`), and what
//! comes nevertheless ends the list early, which whoever counts the pages notices.

/// Size in bytes of the pages that PFNs count, whatever the guest's own page size.
pub const PAGE_SIZE: u32 = 4096;

/// The same, for addresses.
const PAGE: u64 = 4096;

/// A run of bytes in memory as the host sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it starts: a guest physical address.
    pub address: u64,
    /// Its bytes, not 0.
    pub length: u32,
}

impl Segment {
    /// The PFN of its first page, little-endian.
    #[must_use]
    #[inline]
    pub fn first_page(&self) -> u64 {
        (self.address / PAGE).to_le()
    }

    /// Where the segment starts in its first page.
    #[must_use]
    #[inline]
    pub fn byte_offset(&self) -> u32 {
        u32::try_from(self.address % PAGE).unwrap_or(0)
    }
}

/// Writes the PFNs of a scattered buffer, and returns how many there are: at most as many as there is room for, and fewer
/// if the buffer cannot be one range.
#[inline]
pub fn page_numbers(segments: impl Iterator<Item = Segment>, pfns: &mut [u64]) -> usize {
    let mut written = 0usize;
    let mut end = 0;
    for segment in segments {
        let starts_inside = segment.address % PAGE != 0 && written != 0;
        if end % PAGE != 0 || starts_inside || segment.length == 0 {
            break;
        }
        let Some(next) = segment.address.checked_add(u64::from(segment.length)) else {
            break;
        };
        end = next;
        for number in segment.address / PAGE..end.div_ceil(PAGE) {
            let Some(slot) = pfns.get_mut(written) else {
                return written;
            };
            *slot = number.to_le();
            written = written.wrapping_add(1);
        }
    }
    written
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "an overflow fails the test")]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn numbers(segments: &[(u64, u32)]) -> Vec<u64> {
        let segments = segments
            .iter()
            .map(|&(address, length)| Segment { address, length });
        let mut numbers = std::vec![0; 64];
        let count = page_numbers(segments, &mut numbers);
        numbers.truncate(count);
        numbers
    }

    #[test]
    fn contiguous_and_scattered() {
        assert_eq!(numbers(&[(0x5000, 4096)]), [5]);
        assert_eq!(numbers(&[(0x5000, 4097)]), [5, 6]);
        assert_eq!(numbers(&[(0x5e00, 512)]), [5]);
        assert_eq!(numbers(&[(0x5e00, 513)]), [5, 6]);
        assert_eq!(numbers(&[(0x5e00, 512), (0x9000, 4096)]), [5, 9]);
        assert_eq!(
            numbers(&[(0x5000, 8192), (0x3000, 4096), (0x8000, 1)]),
            [5, 6, 3, 8]
        );
        assert_eq!(numbers(&[]), []);
    }

    #[test]
    fn a_gap_ends_the_list() {
        // The second starts inside a page, and the first ends inside one.
        assert_eq!(numbers(&[(0x5000, 4096), (0x9200, 512)]), [5]);
        assert_eq!(numbers(&[(0x5000, 512), (0x9000, 512), (0xa000, 512)]), [5]);
        // What follows is not taken up again.
        assert_eq!(numbers(&[(0x5000, 4096), (0x9200, 512), (0xa000, 9)]), [5]);
        assert_eq!(numbers(&[(0x5000, 0), (0x9000, 512)]), []);
    }

    #[test]
    fn the_end_of_the_address_space_ends_the_list() {
        assert_eq!(numbers(&[(u64::MAX, 1)]), []);
        assert_eq!(numbers(&[(u64::MAX, 2)]), []);
        assert_eq!(numbers(&[(u64::MAX - 1, 1)]), [u64::MAX / 4096]);
    }

    proptest! {
        #[test]
        fn every_byte_is_where_it_was(
            first in (0u64..1 << 40, 1u32..1 << 18),
            more in proptest::collection::vec((0u64..1 << 28, 1u32..16), 0..20),
        ) {
            // A first segment up to the end of a page, and whole pages.
            let inside = u32::try_from(first.0 % 4096).unwrap();
            let length = first.1 + (4096 - (inside + first.1) % 4096) % 4096;
            let mut segments = std::vec![(first.0, length)];
            segments.extend(more.iter().map(|&(page, pages)| (page * 4096, pages * 4096)));
            let mut expected = Vec::new();
            for &(address, length) in &segments {
                for byte in [address, address + u64::from(length) - 1]
                    .into_iter()
                    .chain((address..address + u64::from(length)).step_by(4096))
                {
                    expected.push(byte / 4096);
                }
            }
            let mut found = std::vec![0; 1024];
            let list = segments.iter().map(|&(address, length)| Segment { address, length });
            let count = page_numbers(list, &mut found);
            found.truncate(count);
            let bytes: u64 = segments.iter().map(|s| u64::from(s.1)).sum();
            let pages = (first.0 % 4096 + bytes).div_ceil(4096);
            prop_assert_eq!(u64::try_from(found.len()).unwrap(), pages);
            prop_assert!(expected.iter().all(|page| found.contains(page)));
        }
    }
}
