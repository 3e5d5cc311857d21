// SPDX-License-Identifier: GPL-2.0

use crate::monitor::{connection_id, Monitor};

/// Offsets as drawn above `struct hv_monitor_page`.
#[test]
fn ids_lead_to_their_places_in_the_page() {
    for (id, pending, mask, latency, connection) in [
        (0, 0x8, 1, 0x240, 0x440),
        (1, 0x8, 2, 0x242, 0x448),
        (31, 0x8, 1 << 31, 0x27e, 0x538),
        (32, 0x10, 1, 0x280, 0x540),
        (127, 0x20, 1 << 31, 0x33e, 0x838),
    ] {
        let monitor = Monitor::new(id).unwrap();
        assert_eq!(monitor.pending_offset(), pending);
        assert_eq!(monitor.mask(), mask);
        assert_eq!(monitor.latency_offset(), latency);
        assert_eq!(monitor.connection_id_offset(), connection);
    }
}

/// The page has four groups; Linux indexes it by ids up to 255.
#[test]
fn ids_beyond_the_page_are_refused() {
    for id in [128, 129, 255] {
        assert_eq!(Monitor::new(id), None);
    }
}

#[test]
fn connection_ids_have_24_bits() {
    assert_eq!(connection_id(0xff12_3456), 0x12_3456);
}
