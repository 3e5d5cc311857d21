// SPDX-License-Identifier: GPL-2.0

//! Packets: GPA lists, full rings in both directions, and rings that the guest breaks.

use crate::{assert_clean, exchange, host_counts, host_with, opened, ECHO};
use core::time::Duration;
use serde_json::json;
use vm_memory::{Bytes, GuestAddress};
use vmbus_host::sim::{Echo, Sim};
use vmbus_proto::{Relid, Version};
use vmbus_ring::gpa::GpaDirect;
use vmbus_ring::{OutgoingPacket, PacketType, WriteError};

/// Sends one buffer of `len` bytes from `offset` on, on these pages.
fn send_buffer(sim: &mut Sim, relid: Relid, pages: &[u64], offset: u32, len: u32) {
    let mut room = [0; 512];
    let mut extension = GpaDirect::new(&mut room).unwrap();
    extension.push(offset, len, pages.iter().copied()).unwrap();
    let extension = extension.finish();
    sim.send(
        relid,
        &OutgoingPacket::gpa_direct(5, &[extension], &[b"look at the data"]),
    );
}

#[test]
fn the_host_uses_the_pages_of_a_request() {
    let (mut sim, relid) = opened(Version::V6_0);
    let pages = sim.allocate(3);
    let data: Vec<u8> = (0..9000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let buffer = sim.buffer(&pages, 300, 9000);
    buffer.write_at(0, &data).unwrap();
    send_buffer(&mut sim, relid, &pages, 300, 9000);
    assert_eq!(sim.expect_packet(relid).payload, b"look at the data");
    let inverted: Vec<u8> = data.iter().map(|byte| !byte).collect();
    assert_eq!(buffer.to_vec(), inverted);
    // Nothing around it.
    let whole = sim.buffer(&pages, 0, 3 * 4096).to_vec();
    assert!(whole[..300].iter().all(|byte| *byte == 0));
    assert!(whole[9300..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_buffer_knows_its_bounds() {
    let mut sim = Sim::new();
    let pages = sim.allocate(2);
    let buffer = sim.buffer(&pages, 4000, 200);
    assert_eq!(buffer.len(), 200);
    let mut byte = [0];
    assert!(buffer.read_at(199, &mut byte).is_ok());
    assert!(buffer.read_at(200, &mut byte).is_err());
    assert!(buffer.read_at(usize::MAX, &mut byte).is_err());
    assert!(buffer.write_at(100, &[0; 101]).is_err());
    assert!(buffer.write_at(100, &[7; 100]).is_ok());
    assert_eq!(buffer.slices(90, 20).unwrap().len(), 2);
    assert_eq!(buffer.slices(200, 0).unwrap().len(), 0);
}

#[test]
fn packets_of_any_size_that_fits_pass() {
    let (mut sim, relid) = opened(Version::V6_0);
    sim.close(relid);
    sim.open(relid, 200, 200, [0; 120]).unwrap();
    // The largest is what 16 bits express in units of 8 bytes.
    for size in [0, 1, 7, 8, 9, 0x3ff0, 0x4001, 100_000, 65_535 * 8 - 16] {
        let payload = vec![0xa5; size];
        sim.send(relid, &OutgoingPacket::request(3, &[&payload]));
        let packet = sim.expect_packet(relid);
        assert_eq!(packet.payload.len(), size.next_multiple_of(8));
        assert_eq!(packet.payload[..size], payload, "{size}");
    }
}

#[test]
fn a_buffer_is_reached_at_any_offset() {
    let mut sim = Sim::new();
    let pages = sim.allocate(5);
    let buffer = sim.buffer(&pages, 100, 4 * 4096 + 500);
    let data: Vec<u8> = (0..buffer.len())
        .map(|n| n.to_le_bytes()[0] ^ 0x55)
        .collect();
    buffer.write_at(0, &data).unwrap();
    for offset in [0, 1, 3995, 3996, 3997, 8091, 8092, 8093, 13_000, 16_884] {
        for len in [0, 1, 2, 4096, 9000] {
            let end = (offset + len).min(data.len());
            let mut part = vec![0; end - offset];
            buffer.read_at(offset, &mut part).unwrap();
            assert_eq!(part, data[offset..end], "{offset} {len}");
        }
    }
}

#[test]
fn pages_outside_memory_reach_no_device() {
    let (mut sim, relid) = opened(Version::V6_0);
    let end = 64 << 8;
    for page in [end, end + 1, u64::MAX >> 12, u64::MAX] {
        send_buffer(&mut sim, relid, &[page], 0, 4096);
        send_buffer(&mut sim, relid, &[1, page], 4000, 100);
    }
    assert_eq!(sim.count(ECHO, 0, "bad_packets"), 8);
    assert_eq!(sim.receive(relid), None);
    send_buffer(&mut sim, relid, &[end - 1], 0, 4096);
    assert_eq!(sim.expect_packet(relid).transaction_id, 5);
}

#[test]
fn a_full_ring_to_the_guest_keeps_packets_in_order() {
    let (mut sim, relid) = opened(Version::V5_3);
    sim.pause(relid, true);
    for burst in 0..10_u64 {
        sim.control(json!({"command": "burst", "device": ECHO, "count": 30, "size": 200}))
            .unwrap();
        // The ring to the host still works.
        sim.send(
            relid,
            &OutgoingPacket::request(burst + 1, &[&burst.to_le_bytes()]),
        );
    }
    assert!(sim.count(ECHO, 0, "ring_full") > 200);
    sim.pause(relid, false);
    for burst in 0..10_u64 {
        for _ in 0..30 {
            assert_eq!(sim.receive(relid).unwrap().transaction_id, 0);
        }
        assert_eq!(sim.receive(relid).unwrap().transaction_id, burst + 1);
    }
    assert_eq!(sim.receive(relid), None);
    assert_eq!(sim.count(ECHO, 0, "packets_out"), 310);
    assert_eq!(
        sim.count(ECHO, 0, "needless_signals"),
        0,
        "signals for room are needed"
    );
    assert!(sim.close(relid));
    assert_clean(&mut sim);
}

#[test]
fn a_guest_that_never_reads_fails_its_channel() {
    let (mut sim, relid) = opened(Version::V5_3);
    sim.pause(relid, true);
    for _ in 0..5 {
        sim.control(json!({"command": "burst", "device": ECHO, "count": 1000, "size": 64}))
            .unwrap();
    }
    assert_eq!(sim.count(ECHO, 0, "failures"), 1);
    let list = sim.control(json!({"command": "list"})).unwrap();
    assert_eq!(list[0]["channels"][0]["open"], false);
    // It may close and open it again.
    assert!(sim.close(relid));
    sim.open(relid, 5, 5, [0; 120]).unwrap();
    exchange(&mut sim, relid, 1);
    let counts = host_counts(&mut sim);
    let refused = &counts["messages"]["refused"];
    assert_eq!(refused, &json!({"close of a closed channel": 1}));
}

#[test]
fn a_guest_that_waits_for_room_is_interrupted() {
    // The host looks at a monitored channel after a while only, so that its ring fills.
    let mut echo = Echo::default();
    echo.spec.monitored = true;
    let mut sim = host_with(Version::V5_3, echo);
    sim.connect(Version::V5_3);
    let relid = sim.wait_offer(Echo::CLASS);
    sim.open(relid, 3, 80, [0; 120]).unwrap();
    let packet = OutgoingPacket {
        packet_type: PacketType::COMPLETION,
        ..OutgoingPacket::in_band(&[&[0; 64]])
    };
    for round in 1..10 {
        let sent = (0..1000).find_map(|_| sim.try_send(relid, &packet).err());
        assert!(matches!(sent, Some(WriteError::Full { .. })), "{sent:?}");
        let before = sim.count(ECHO, 0, "interrupts");
        sim.pause(relid, true);
        sim.advance(Duration::from_millis(1));
        // One for the room, and one for the echoes.
        assert_eq!(sim.count(ECHO, 0, "interrupts") - before, 2, "{round}");
        sim.pause(relid, false);
    }
    assert_eq!(
        sim.count(ECHO, 0, "packets_in"),
        sim.count(ECHO, 0, "packets_out")
    );
}

#[test]
fn a_broken_ring_fails_its_channel_alone() {
    for (word, value) in [(0_u64, 4_u32), (0, 5 * 4096), (0, 4096 * 4), (0, u32::MAX)] {
        let (mut sim, relid) = opened(Version::V6_0);
        let control = sim.ring_pages(relid).unwrap().0[0] * 4096;
        sim.memory()
            .write_obj(value, GuestAddress(control + word))
            .unwrap();
        sim.signal_channel(relid);
        sim.run();
        assert_eq!(sim.count(ECHO, 0, "failures"), 1, "{value:#x}");
        sim.close(relid);
        sim.open(relid, 5, 5, [0; 120]).unwrap();
        exchange(&mut sim, relid, 1);
    }
    // The ring to the guest, of which the guest owns the read index.
    let (mut sim, relid) = opened(Version::V6_0);
    let control = sim.ring_pages(relid).unwrap().1[0] * 4096;
    sim.memory()
        .write_obj(8_u32, GuestAddress(control + 4))
        .unwrap();
    sim.pause(relid, true);
    sim.control(json!({"command": "burst", "device": ECHO, "count": 100, "size": 200}))
        .unwrap();
    assert_eq!(sim.count(ECHO, 0, "failures"), 1);
}

#[test]
fn a_stream_without_end_does_not_hold_the_host() {
    let (mut sim, relid) = opened(Version::V6_0);
    // More packets than one turn takes, published before the host looks.
    sim.close(relid);
    sim.open(relid, 40, 40, [0; 120]).unwrap();
    let size = 39 * 4096 / 24;
    let mut bytes = Vec::new();
    for _ in 0..size {
        let packet = [6_u16, 2, 2, 0].map(u16::to_le_bytes).concat();
        bytes.extend([packet, vec![0; 16]].concat());
    }
    let pages = sim.ring_pages(relid).unwrap().0.to_vec();
    for (chunk, page) in bytes.chunks(4096).zip(&pages[1..]) {
        sim.write_page(*page, chunk);
    }
    let used = u32::try_from(bytes.len() - 24).unwrap();
    sim.memory()
        .write_obj(used, GuestAddress(pages[0] * 4096))
        .unwrap();
    sim.host.signal_event(sim.offer(relid).connection_id, 1);
    assert_eq!(
        sim.host
            .channel_counters(device(&sim), 0)
            .unwrap()
            .packets_in,
        1024
    );
    assert_eq!(sim.host.deadline(), Some(Duration::ZERO));
    sim.run();
    assert_eq!(
        sim.count(ECHO, 0, "packets_in"),
        u64::try_from(size - 1).unwrap()
    );
}

/// The only device.
fn device(_: &Sim) -> vmbus_host::DeviceId {
    vmbus_host::DeviceId(1)
}
