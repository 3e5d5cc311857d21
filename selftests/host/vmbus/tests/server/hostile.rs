// SPDX-License-Identifier: GPL-2.0

//! A guest that means harm. The same functions are fuzz targets.

use proptest::collection::vec;
use proptest::prelude::*;
use vmbus_host::sim::hostile;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_messages(data in vec(any::<u8>(), 0..4000)) {
        hostile::messages(&data);
    }

    #[test]
    fn any_rings(data in vec(any::<u8>(), 0..2000)) {
        hostile::rings(&data);
    }

    #[test]
    fn any_gpa_list(
        count in 0_u32..5,
        ranges in vec((0_u32..20_000, 0_u32..5000, vec(0_u64..0x200, 0..6)), 0..5),
    ) {
        let mut bytes = [[0; 4], count.to_le_bytes()].concat();
        for (byte_count, byte_offset, pfns) in ranges {
            bytes.extend(byte_count.to_le_bytes());
            bytes.extend(byte_offset.to_le_bytes());
            bytes.extend(pfns.iter().flat_map(|pfn| pfn.to_le_bytes()));
        }
        hostile::gpa_list(&bytes);
    }

    #[test]
    fn any_bytes_as_gpa_list(data in vec(any::<u8>(), 0..100)) {
        hostile::gpa_list(&data);
    }
}
