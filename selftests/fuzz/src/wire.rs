// SPDX-License-Identifier: GPL-2.0

//! Extensions of packets: transfer pages from the host, GPA ranges to the host.

use vmbus_ring::gpa::{extension_size, GpaDirect, GpaError};
use vmbus_ring::transfer::TransferPages;

use crate::input::Input;

/// The length of the buffer, then an extension.
pub(crate) fn transfer_pages(bytes: &[u8]) {
    let mut input = Input(bytes);
    let len = input.u32();
    if let Ok(pages) = TransferPages::parse(input.0, len) {
        assert!(pages.ranges().len() * 8 + 8 <= input.0.len());
        for range in pages.ranges() {
            assert!(u64::from(range.byte_offset) + u64::from(range.byte_count) <= u64::from(len));
        }
    }
}

/// Ranges of offset, count and number of PFNs, added to an extension that is then decoded.
pub(crate) fn gpa_direct(bytes: &[u8]) {
    let mut input = Input(bytes);
    let mut buffer = vec![0xff; usize::from(input.u8()) * 4];
    let room = buffer.len();
    let Ok(mut gpa) = GpaDirect::new(&mut buffer) else {
        assert!(room < 8);
        return;
    };
    let mut expected = Vec::new();
    let mut pfn_count = 0;
    while !input.is_empty() {
        let (offset, count) = (input.u16(), u32::from(input.u16()) << (input.u8() % 17));
        let pfns: Vec<u64> = (0..input.u8() % 40).map(|_| input.u64()).collect();
        let touched = (u64::from(offset) + u64::from(count)).div_ceil(4096);
        let valid = count > 0 && offset < 4096 && touched == u64::try_from(pfns.len()).unwrap();
        let size = extension_size(expected.len() + 1, pfn_count + pfns.len());
        match gpa.push(u32::from(offset), count, pfns.iter().copied()) {
            Ok(()) => {
                assert!(valid);
                pfn_count += pfns.len();
                expected.push((count, u32::from(offset), pfns));
            }
            Err(GpaError::NoRoom) => assert!(!valid || size > room),
            Err(GpaError::BadRange) => assert!(!valid),
        }
    }
    let extension = gpa.finish();
    assert_eq!(extension.len(), extension_size(expected.len(), pfn_count));
    let mut wire = Input(extension);
    assert_eq!(wire.u32(), 0);
    assert_eq!(usize::try_from(wire.u32()), Ok(expected.len()));
    for (count, offset, pfns) in expected {
        assert_eq!((wire.u32(), wire.u32()), (count, offset));
        assert!(pfns.into_iter().all(|pfn| wire.u64() == pfn));
    }
    assert!(wire.is_empty());
}
