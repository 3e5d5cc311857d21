// SPDX-License-Identifier: GPL-2.0

//! Contact, offers, the life of a channel at every version, unload and what comes instead of it.

use crate::{assert_clean, exchange, host, host_counts, offered, opened, ECHO, VERSIONS};
use serde_json::json;
use vmbus_host::sim::{Echo, OpenError};
use vmbus_host::{HypercallStatus, Output};
use vmbus_proto::message::wire;
use vmbus_proto::message::Outgoing;
use vmbus_proto::{Event, OpenParams, Status, Version};

#[test]
fn every_version_connects_opens_exchanges_closes_and_unloads() {
    for version in VERSIONS {
        let (mut sim, relid) = opened(version);
        for id in 1..100 {
            exchange(&mut sim, relid, id);
        }
        assert!(sim.close(relid));
        // The same offer can be opened again, and again after an unload.
        sim.open(relid, 2, 2, [0; 120]).unwrap();
        exchange(&mut sim, relid, 1);
        assert!(sim.close(relid));
        assert_clean(&mut sim);
        assert!(sim.unload(), "{version}");
        assert_eq!(sim.connect(version), version);
        let relid = sim.wait_offer(Echo::CLASS);
        sim.open(relid, 2, 2, [0; 120]).unwrap();
        exchange(&mut sim, relid, 1);
        // This time with the channel open.
        assert!(sim.unload(), "{version}");
        assert_clean(&mut sim);
        assert_eq!(sim.count(ECHO, 0, "packets_in"), 101);
        assert_eq!(sim.count(ECHO, 0, "packets_out"), 101);
        assert_eq!(sim.count(ECHO, 0, "bytes_in"), 808);
        assert_eq!(sim.count(ECHO, 0, "bytes_out"), 808);
        assert_eq!(sim.count(ECHO, 0, "opens"), 3);
        assert_eq!(sim.count(ECHO, 0, "needless_signals"), 0);
    }
}

#[test]
fn the_best_common_version_is_found() {
    for max in VERSIONS {
        let mut sim = host(max);
        assert_eq!(sim.contact(Version(u32::MAX)), Some(max));
        for newer in VERSIONS.into_iter().filter(|newer| *newer > max) {
            let mut sim = host(newer);
            assert_eq!(sim.contact(max), Some(max));
        }
    }
}

#[test]
fn a_host_that_claims_3_0_is_refused() {
    let mut sim = host(Version(0x3_0000));
    assert_eq!(sim.contact(Version(u32::MAX)), None);
    let contact = wire::InitiateContact {
        version: 0x3_0000.into(),
        target_vp: 0.into(),
        interrupt_page_or_target: [0; 8],
        parent_to_child_monitor_page: 0.into(),
        child_to_parent_monitor_page: 0.into(),
    };
    let message = Outgoing::new(1, &contact);
    let posted = sim.host.post_message(1, 1, message.as_bytes());
    assert_eq!(posted, HypercallStatus::SUCCESS);
    let Some(Output::Message { payload, .. }) = sim.host.next_output() else {
        panic!("no answer");
    };
    assert_eq!((payload[0], payload[8]), (15, 1));
}

#[test]
fn connections_are_those_of_the_version() {
    // No connection 4 before 5.0.
    let mut old = host(Version::V4_1);
    assert_eq!(
        old.host.post_message(4, 1, &[0; 8]),
        HypercallStatus::INVALID_CONNECTION_ID
    );
    let mut sim = host(Version::V5_3);
    let invalid = HypercallStatus::INVALID_CONNECTION_ID;
    assert_eq!(sim.host.post_message(0x41, 1, &[0; 8]), invalid);
    assert_eq!(sim.host.signal_event(2, 1), invalid);
    sim.connect(Version::V5_3);
    let bad = HypercallStatus::INVALID_PARAMETER;
    assert_eq!(sim.host.post_message(0x41, 2, &[0; 8]), bad);
    assert_eq!(sim.host.post_message(0x41, 1, &[0; 241]), bad);
    // A message of a connected guest on the connection for contact is not carried out.
    let unload = Outgoing::new(4, &wire::Unload {});
    assert_eq!(sim.post(&unload), HypercallStatus::SUCCESS);
    let counts = host_counts(&mut sim);
    let refused = &counts["messages"]["refused"];
    assert_eq!(refused["message on the wrong connection"], 1, "{counts}");
    assert_eq!(counts["messages"]["refused_posts"], 3);
    assert_eq!(counts["version"], "5.3");
}

#[test]
fn contact_without_unload_drops_the_old_connection() {
    for version in VERSIONS {
        let (mut sim, relid) = opened(version);
        exchange(&mut sim, relid, 1);
        sim.forget();
        assert_eq!(sim.connect(version), version);
        let again = sim.wait_offer(Echo::CLASS);
        assert_eq!(again, relid, "relids are free again");
        sim.open(again, 5, 5, [0; 120]).unwrap();
        exchange(&mut sim, again, 1);
        assert!(sim.close(again));
        assert_clean(&mut sim);
    }
}

#[test]
fn a_reset_forgets_the_guest() {
    let (mut sim, relid) = opened(Version::V4_0);
    exchange(&mut sim, relid, 1);
    sim.host.reset();
    sim.run();
    sim.forget();
    sim.connect(Version::V6_0);
    let relid = sim.wait_offer(Echo::CLASS);
    sim.open(relid, 5, 5, [0; 120]).unwrap();
    exchange(&mut sim, relid, 1);
    assert!(sim.close(relid));
    assert_clean(&mut sim);
}

#[test]
fn devices_that_come_later_are_offered() {
    let (mut sim, relid) = offered(Version::V5_3);
    let mut other = Echo::default();
    other.spec.instance = hvdef::Guid::from_bytes([9; 16]);
    sim.add("other", other);
    assert_eq!(sim.client.table().iter_relids(), vec![relid.get(), 2]);
    let list = sim.control(json!({"command": "list"})).unwrap();
    assert_eq!(list[1]["name"], "other");
    assert_eq!(list[1]["channels"][0]["relid"], 2);
    assert_eq!(list[1]["state"], "offered");
    assert!(sim
        .host
        .add(ECHO, Box::new(Echo::default()))
        .unwrap_err()
        .contains(ECHO));
}

/// The relids of a table.
trait Relids {
    /// In order.
    fn iter_relids(&self) -> Vec<u32>;
}

impl<T: vmbus_proto::ChannelTable> Relids for T {
    fn iter_relids(&self) -> Vec<u32> {
        self.iter().map(|channel| channel.relid().get()).collect()
    }
}

#[test]
fn large_memory_comes_in_many_messages() {
    let (mut sim, relid) = offered(Version::V6_0);
    let pages = sim.allocate(2000);
    let gpadl = sim.lend(relid, &pages).unwrap();
    assert!(sim.take_back(relid, gpadl));
    let pages = sim.allocate(8190);
    let gpadl = sim.lend(relid, &pages).unwrap();
    let counts = host_counts(&mut sim);
    assert_eq!(counts["gpadls"], 1);
    assert_eq!(counts["messages"]["messages_in"]["GPADL_HEADER"], 2);
    // 26 PFNs in the header, 28 in each body.
    let bodies = (2000_u32 - 26).div_ceil(28) + (8190_u32 - 26).div_ceil(28);
    assert_eq!(counts["messages"]["messages_in"]["GPADL_BODY"], bodies);
    assert!(sim.take_back(relid, gpadl));
    assert_clean(&mut sim);
}

#[test]
fn what_makes_no_sense_is_refused_with_a_status() {
    let (mut sim, relid) = offered(Version::V5_3);
    let invalid = Status::INVALID_PARAMETER;
    // A page beyond the guest's memory.
    assert_eq!(
        sim.lend(relid, &[1, 1 << 30]),
        Err(OpenError::Gpadl(invalid))
    );
    // Rings without data.
    let pages = sim.allocate(2);
    let ring = sim.lend(relid, &pages).unwrap();
    let params = OpenParams {
        ring,
        target_vp: 0,
        downstream_page_offset: 1,
        user_data: [0; 120],
    };
    let open = sim.client.open(relid, &params).unwrap();
    sim.post(&open);
    sim.run();
    let answer = sim.take_event(|event| matches!(event, Event::OpenResult { .. }));
    assert!(
        matches!(answer, Some(Event::OpenResult { status, .. }) if status == invalid),
        "{answer:?}"
    );
    assert!(sim.take_back(relid, ring));
    // It still works.
    sim.open(relid, 2, 2, [0; 120]).unwrap();
    exchange(&mut sim, relid, 1);
    assert!(sim.close(relid));
    assert_clean(&mut sim);
}

#[test]
fn memory_is_bounded() {
    let (mut sim, relid) = offered(Version::V5_3);
    let pages = sim.allocate(8190);
    let mut lent = Vec::new();
    let error = loop {
        if lent.len() == 8 {
            // The client knows of no more per channel: the next ones are lent behind its back.
            break lend_behind_its_back(&mut sim, relid.get());
        }
        lent.push(sim.lend(relid, &pages).unwrap());
    };
    // 1280 MiB are 40 GPADLs of 8190 pages, and one that is a little smaller fits too.
    assert_eq!(error, (32, Status::INSUFFICIENT_RESOURCES));
}

/// Lends as much as the host takes; returns how often, and with what status it ends.
fn lend_behind_its_back(sim: &mut vmbus_host::sim::Sim, relid: u32) -> (u32, Status) {
    for round in 0..1000 {
        let header = wire::GpadlHeader {
            relid: relid.into(),
            gpadl: (round + 1).into(),
            range_buffer_len: (8 * 8191).into(),
            range_count: 1.into(),
        };
        sim.host
            .post_message(0x41, 1, Outgoing::new(0, &header).as_bytes());
        if let Some(Output::Message { payload, .. }) = sim.host.next_output() {
            let status = u32::from_le_bytes(payload[16..20].try_into().unwrap());
            return (round, Status(status));
        }
    }
    panic!("the host takes everything");
}
