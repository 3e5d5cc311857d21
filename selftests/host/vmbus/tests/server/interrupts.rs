// SPDX-License-Identifier: GPL-2.0

//! Signals and interrupts: dedicated, shared, monitored, re-targeted; sub-channels.

use crate::{assert_clean, exchange, host_with, offered, opened, ECHO, VERSIONS};
use core::time::Duration;
use serde_json::json;
use vmbus_host::sim::{Echo, Sim};
use vmbus_proto::{class, Relid, Status, Version};
use vmbus_ring::OutgoingPacket;

/// An open channel of an echo device that is offered in this way.
fn opened_with(version: Version, dedicated_interrupt: bool, monitored: bool) -> (Sim, Relid) {
    let mut echo = Echo::default();
    echo.spec.dedicated_interrupt = dedicated_interrupt;
    echo.spec.monitored = monitored;
    let mut sim = host_with(version, echo);
    sim.connect(version);
    let relid = sim.wait_offer(Echo::CLASS);
    sim.open(relid, 5, 5, [0; 120]).unwrap();
    (sim, relid)
}

#[test]
fn signals_are_shared_before_5_0_only() {
    for version in VERSIONS {
        for dedicated in [false, true] {
            let (mut sim, relid) = opened_with(version, dedicated, false);
            let offer = sim.offer(relid);
            let shared = !dedicated && version < Version::V5_0;
            assert_eq!(offer.dedicated_interrupt, !shared);
            assert_eq!(offer.connection_id == 2, shared);
            for id in 1..10 {
                exchange(&mut sim, relid, id);
            }
            assert_eq!(sim.count(ECHO, 0, "signals"), 9);
            assert_eq!(sim.count(ECHO, 0, "interrupts"), 9);
            assert!(sim.close(relid));
            assert_clean(&mut sim);
        }
    }
}

#[test]
fn monitored_channels_are_polled() {
    for version in VERSIONS {
        for dedicated in [false, true] {
            let (mut sim, relid) = opened_with(version, dedicated, true);
            assert_eq!(sim.offer(relid).monitor_id, Some(0));
            for id in 1..10 {
                sim.send(relid, &OutgoingPacket::request(id, &[b"monitor "]));
                assert_eq!(sim.receive(relid), None, "nothing happens at once");
                sim.advance(Duration::from_millis(1));
                assert_eq!(sim.receive(relid).unwrap().transaction_id, id);
            }
            assert_eq!(sim.count(ECHO, 0, "signals"), 0);
            assert_eq!(sim.count(ECHO, 0, "monitor_triggers"), 9);
            assert!(sim.close(relid));
            assert_eq!(sim.host.deadline(), None, "no polling without a channel");
            assert_clean(&mut sim);
        }
    }
}

#[test]
fn the_interrupt_page_is_for_shared_channels() {
    let mut echo = Echo::default();
    echo.spec.monitored = true;
    let mut sim = host_with(Version::V4_1, echo);
    let mut other = Echo::default();
    other.spec.class = class::SCSI.id;
    other.spec.dedicated_interrupt = false;
    sim.add("other", other);
    sim.connect(Version::V4_1);
    let (monitored, shared) = (sim.wait_offer(Echo::CLASS), sim.wait_offer(class::SCSI.id));
    sim.open(monitored, 5, 5, [0; 120]).unwrap();
    sim.open(shared, 5, 5, [0; 120]).unwrap();
    // This sets a bit in both pages, and the next signal makes the host look at one of them.
    sim.send(monitored, &OutgoingPacket::request(1, &[]));
    exchange(&mut sim, shared, 1);
    assert_eq!(sim.count(ECHO, 0, "signals"), 0);
    assert_eq!(sim.receive(monitored), None);
    sim.advance(Duration::from_millis(1));
    assert_eq!(sim.receive(monitored).unwrap().transaction_id, 1);
    assert_eq!(sim.count("other", 0, "signals"), 1);
}

#[test]
fn the_guest_is_signalled_once_for_a_burst() {
    let (mut sim, relid) = opened(Version::V6_0);
    sim.control(json!({"command": "burst", "device": ECHO, "count": 20, "size": 100}))
        .unwrap();
    for _ in 0..20 {
        assert_eq!(sim.receive(relid).unwrap().payload.len(), 104);
    }
    assert_eq!(sim.count(ECHO, 0, "interrupts"), 1);
}

#[test]
fn a_needless_signal_is_counted() {
    let (mut sim, relid) = opened(Version::V6_0);
    exchange(&mut sim, relid, 1);
    sim.signal_channel(relid);
    sim.run();
    assert_eq!(sim.count(ECHO, 0, "signals"), 2);
    assert_eq!(sim.count(ECHO, 0, "needless_signals"), 1);
}

#[test]
fn an_interrupt_moves_from_4_1_on() {
    // The simulated guest checks the VP of each interrupt.
    for version in VERSIONS.into_iter().filter(|v| *v >= Version::V4_1) {
        let (mut sim, relid) = opened(version);
        for vp in [3, 0, 2] {
            let answer = sim.retarget(relid, vp);
            let expected = (version >= Version::V5_3).then_some(Status::SUCCESS);
            assert_eq!(answer, expected, "{version}");
            exchange(&mut sim, relid, 1);
        }
        let list = sim.control(json!({"command": "list"})).unwrap();
        assert_eq!(list[0]["channels"][0]["vp"], 2);
        // There is no VP 4, and the interrupt stays where it was.
        let answer = sim.retarget(relid, 4);
        assert_ne!(answer, Some(Status::SUCCESS));
        let list = sim.control(json!({"command": "list"})).unwrap();
        assert_eq!(list[0]["channels"][0]["vp"], 2);
    }
}

#[test]
fn sub_channels_are_offered_and_work_side_by_side() {
    for version in VERSIONS {
        let (mut sim, first) = offered(version);
        let request = json!({"command": "sub_channels", "device": ECHO, "count": 3});
        sim.control(request.clone()).unwrap();
        assert_eq!(sim.find_channel(Echo::CLASS, 1), None, "not before opening");
        sim.open(first, 5, 5, [0; 120]).unwrap();
        sim.control(request.clone()).unwrap();
        // Those that are offered stay.
        sim.control(request).unwrap();
        assert_eq!(sim.find_channel(Echo::CLASS, 4), None);
        let all: Vec<Relid> = (0..4)
            .map(|index| sim.wait_channel(Echo::CLASS, index))
            .collect();
        for sub in &all[1..] {
            sim.open(*sub, 3, 3, [0; 120]).unwrap();
        }
        for (index, relid) in all.iter().enumerate().rev() {
            exchange(&mut sim, *relid, 7);
            assert_eq!(sim.count(ECHO, index, "packets_in"), 1);
        }
        // The usual way: the guest closes sub-channels and gives them back, then closes the first.
        assert!(sim.close(all[3]));
        let release = sim.client.release(all[3]).unwrap();
        sim.post(&release);
        // Another guest forgets some: the host withdraws them.
        assert!(sim.close(all[2]));
        assert!(sim.close(first));
        assert_eq!(sim.client.table_len(), 1);
        assert_clean(&mut sim);
        // All comes back.
        sim.open(first, 5, 5, [0; 120]).unwrap();
        sim.control(json!({"command": "sub_channels", "device": ECHO, "count": 3}))
            .unwrap();
        let sub = sim.wait_channel(Echo::CLASS, 3);
        sim.open(sub, 3, 3, [0; 120]).unwrap();
        exchange(&mut sim, sub, 8);
    }
}

/// How many channels a client has.
trait TableLen {
    /// How many channels the client has.
    fn table_len(&self) -> usize;
}

impl<T: vmbus_proto::ChannelTable> TableLen for vmbus_proto::Client<T> {
    fn table_len(&self) -> usize {
        self.table().iter().count()
    }
}
