// SPDX-License-Identifier: GPL-2.0

//! Each fault does what it says, and nothing else.

use crate::{exchange, offered, opened, ECHO};
use core::time::Duration;
use serde_json::{json, Value};
use vmbus_host::sim::{OpenError, Received, Sim};
use vmbus_proto::{Relid, Status, Version};
use vmbus_ring::{Corrupt, OutgoingPacket, ReadError, WriteError};

/// Sends requests 1 to 4 under one rule, and returns what came back in 1 s.
fn run(rule: Value) -> (Sim, Relid, Vec<Received>) {
    let (mut sim, relid) = opened(Version::V6_0);
    sim.fault(rule);
    for id in 1..=4_u64 {
        sim.send(relid, &OutgoingPacket::request(id, &[&id.to_le_bytes()]));
        sim.advance(Duration::from_millis(1));
    }
    sim.settle();
    let received = std::iter::from_fn(|| sim.receive(relid)).collect();
    (sim, relid, received)
}

/// The ids of packets.
fn ids(received: &[Received]) -> Vec<u64> {
    received
        .iter()
        .map(|packet| packet.transaction_id)
        .collect()
}

/// A rule for packets.
fn rule(direction: &str, action: Value) -> Value {
    json!({"channel": ECHO, "direction": direction, "nth": 2, "action": action})
}

#[test]
fn packets_are_lost_doubled_delayed_and_overtaken() {
    for direction in ["to-guest", "from-guest"] {
        let order = |action| ids(&run(rule(direction, action)).2);
        assert_eq!(order(json!("drop")), [1, 3, 4]);
        assert_eq!(order(json!("duplicate")), [1, 2, 2, 3, 4]);
        assert_eq!(order(json!({"delay_ms": 500})), [1, 3, 4, 2]);
        assert_eq!(order(json!("reorder")), [1, 3, 2, 4]);
    }
    // Nothing overtakes the last one, which goes on after a while.
    let last = json!({"direction": "to-guest", "nth": 4, "action": "reorder"});
    assert_eq!(ids(&run(last).2), [1, 2, 3, 4]);
}

#[test]
fn each_delay_is_its_own() {
    let (mut sim, relid) = opened(Version::V6_0);
    for (nth, ms) in [(1, 500), (2, 20)] {
        sim.fault(json!({"direction": "to-guest", "nth": nth, "action": {"delay_ms": ms}}));
    }
    sim.send(relid, &OutgoingPacket::request(1, &[]));
    sim.send(relid, &OutgoingPacket::request(2, &[]));
    sim.advance(Duration::from_millis(19));
    assert_eq!(sim.receive(relid), None);
    sim.advance(Duration::from_millis(1));
    assert_eq!(sim.receive(relid).unwrap().transaction_id, 2);
    sim.advance(Duration::from_millis(479));
    assert_eq!(sim.receive(relid), None);
    sim.advance(Duration::from_millis(1));
    assert_eq!(sim.receive(relid).unwrap().transaction_id, 1);
}

#[test]
fn what_was_delayed_does_not_outlive_its_channel() {
    for direction in ["to-guest", "from-guest"] {
        let (mut sim, relid) = opened(Version::V6_0);
        sim.fault(json!({"direction": direction, "action": {"delay_ms": 5}}));
        sim.send(relid, &OutgoingPacket::request(1, &[]));
        assert!(sim.close(relid));
        sim.open(relid, 5, 5, [0; 120]).unwrap();
        sim.settle();
        assert_eq!(sim.receive(relid), None);
        exchange(&mut sim, relid, 2);
    }
}

#[test]
fn packets_are_changed() {
    for direction in ["to-guest", "from-guest"] {
        let second = |action| run(rule(direction, action)).2.remove(1);
        assert!(second(json!({"truncate": 0})).payload.is_empty());
        assert_eq!(second(json!({"extend": 800})).payload.len(), 808);
        let corrupt = second(json!({"corrupt": {"offset": 1, "xor": 0x0102_0304}}));
        assert_eq!(corrupt.payload, [2, 4, 3, 2, 1, 0, 0, 0]);
        let beyond = second(json!({"corrupt": {"offset": 7, "xor": 0xff_ffff}}));
        assert_eq!(beyond.payload, [2, 0, 0, 0, 0, 0, 0, 0xff]);
        assert_eq!(second(json!("wrong-id")).transaction_id, 3);
        let unknown = second(json!("unknown-id")).transaction_id;
        assert!(unknown > 100, "{unknown}");
        // The same seed gives the same number.
        assert_eq!(second(json!("unknown-id")).transaction_id, unknown);
    }
}

#[test]
fn requests_end_with_a_status_or_never() {
    let (_, _, received) = run(rule("from-guest", json!({"error-status": 0x77})));
    assert_eq!(ids(&received), [1, 2, 3, 4]);
    assert_eq!(received[1].payload[8..], [0x77, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(received[2].payload.len(), 8);
    let (mut sim, _, received) = run(rule("from-guest", json!("never-answer")));
    assert_eq!(ids(&received), [1, 3, 4]);
    assert_eq!(sim.count(ECHO, 0, "packets_in"), 4);
    assert_eq!(sim.count(ECHO, 0, "packets_out"), 3);
}

#[test]
fn indices_are_overwritten() {
    let (sim, relid, _) = run(rule("to-guest", json!({"index": {"write": 0x1000_0000}})));
    assert_eq!(
        sim.broken(relid),
        Some(ReadError::Corrupt(Corrupt::WriteIndex(0x1000_0000)))
    );
    let (mut sim, relid) = opened(Version::V6_0);
    sim.fault(json!({"direction": "from-guest", "action": {"index": {"read": 12}}}));
    sim.send(relid, &OutgoingPacket::in_band(&[b"8 bytes."]));
    let error = (0..1000).find_map(|_| {
        let sent = sim.try_send(relid, &OutgoingPacket::in_band(&[&[0; 2000]]));
        sent.err()
    });
    assert_eq!(error, Some(WriteError::Corrupt(Corrupt::ReadIndex(12))));
}

#[test]
fn rules_name_channels_and_types() {
    for (channel, kind, hits) in [
        ("echo", "IN_BAND", 1),
        ("echo/0", "IN_BAND", 1),
        ("echo/1", "IN_BAND", 0),
        ("ech", "IN_BAND", 0),
        ("echo", "GPA_DIRECT", 0),
    ] {
        let (mut sim, ..) = run(json!({"channel": channel, "direction": "from-guest",
            "type": kind, "action": "drop"}));
        let faults = sim.control(json!({"command": "faults"})).unwrap();
        assert_eq!(faults[0]["hits"], hits, "{channel} {kind}");
    }
}

#[test]
fn rules_count_and_throw_dice() {
    let from_second = json!({"direction": "from-guest", "nth": 2, "times": 2, "action": "drop"});
    assert_eq!(ids(&run(from_second).2), [1, 4]);
    let half = |seed| {
        let mut sim = Sim::with(vmbus_host::Config {
            max_version: Version::V6_0,
            vps: 1,
            seed,
        });
        sim.add(ECHO, vmbus_host::sim::Echo::default());
        sim.connect(Version::V6_0);
        let relid = sim.wait_offer(vmbus_host::sim::Echo::CLASS);
        sim.open(relid, 5, 5, [0; 120]).unwrap();
        sim.fault(json!({"direction": "from-guest", "probability": 0.5, "action": "drop"}));
        for id in 1..=1000_u64 {
            sim.send(relid, &OutgoingPacket::request(id, &[]));
        }
        ids(&std::iter::from_fn(|| sim.receive(relid)).collect::<Vec<_>>())
    };
    let (one, other) = (half(1), half(2));
    assert!((400..600).contains(&one.len()), "{}", one.len());
    assert_eq!(one, half(1), "the same seed, the same faults");
    assert_ne!(one, other);
}

#[test]
fn messages_are_lost_doubled_and_delayed() {
    let (mut sim, relid) = offered(Version::V6_0);
    sim.fault(json!({"direction": "message-to-guest", "type": "OPEN_RESULT", "action": "drop"}));
    assert_eq!(
        sim.open(relid, 5, 5, [0; 120]),
        Err(OpenError::NoAnswer),
        "the client takes a late answer"
    );
    let (mut sim, relid) = offered(Version::V6_0);
    sim.fault(
        json!({"direction": "message-to-guest", "type": "OPEN_RESULT", "action": "duplicate"}),
    );
    sim.open(relid, 5, 5, [0; 120]).unwrap();
    assert_eq!(sim.take_errors().len(), 1);
    exchange(&mut sim, relid, 1);
    let (mut sim, relid) = offered(Version::V6_0);
    sim.fault(
        json!({"direction": "message-to-guest", "type": "OPEN_RESULT", "action": {"delay_ms": 30}}),
    );
    assert_eq!(sim.open(relid, 5, 5, [0; 120]), Err(OpenError::NoAnswer));
    sim.settle();
    // The client has closed what was opened late: it can be opened now.
    assert_eq!(sim.take_errors(), []);
    sim.open(relid, 5, 5, [0; 120]).unwrap();
    exchange(&mut sim, relid, 1);
}

#[test]
fn requests_by_message_fail() {
    let low = Status::INSUFFICIENT_RESOURCES;
    let fail = |direction: &str, kind: &str| {
        let (mut sim, relid) = offered(Version::V6_0);
        sim.fault(
            json!({"channel": ECHO, "direction": direction, "type": kind,
            "action": {"error-status": low.0}}),
        );
        let error = sim.open(relid, 5, 5, [0; 120]).unwrap_err();
        let list = sim.control(json!({"command": "list"})).unwrap();
        (error, list[0]["state"].clone())
    };
    assert_eq!(
        fail("message-from-guest", "OPEN_CHANNEL"),
        (OpenError::Open(low), "offered".into())
    );
    assert_eq!(
        fail("message-from-guest", "GPADL_HEADER"),
        (OpenError::Gpadl(low), "offered".into())
    );
    // A host that lies.
    assert_eq!(
        fail("message-to-guest", "OPEN_RESULT"),
        (OpenError::Open(low), "open".into())
    );
    assert_eq!(
        fail("message-to-guest", "GPADL_CREATED"),
        (OpenError::Gpadl(low), "offered".into())
    );
}

#[test]
fn requests_by_message_are_never_answered_or_changed() {
    let (mut sim, relid) = offered(Version::V6_0);
    sim.fault(json!({"direction": "message-from-guest", "type": "OPEN_CHANNEL", "action": "never-answer"}));
    assert_eq!(sim.open(relid, 5, 5, [0; 120]), Err(OpenError::NoAnswer));
    let list = sim.control(json!({"command": "list"})).unwrap();
    assert_eq!(list[0]["state"], "open", "it was carried out");
    for action in [
        json!("wrong-id"),
        json!("unknown-id"),
        json!({"truncate": 9}),
        json!({"corrupt": {"offset": 8, "xor": 0x8000}}),
    ] {
        let (mut sim, relid) = offered(Version::V6_0);
        sim.fault(
            json!({"direction": "message-to-guest", "type": "GPADL_CREATED", "action": action}),
        );
        assert_eq!(sim.open(relid, 5, 5, [0; 120]), Err(OpenError::NoAnswer));
        assert_eq!(sim.take_errors().len(), 1, "{action}");
    }
}

#[test]
fn contact_and_unload_can_be_lost() {
    for kind in ["INITIATE_CONTACT", "VERSION_RESPONSE"] {
        let mut sim = crate::host(Version::V6_0);
        let direction = if kind == "INITIATE_CONTACT" {
            "message-from-guest"
        } else {
            "message-to-guest"
        };
        sim.fault(json!({"direction": direction, "type": kind, "action": "drop"}));
        assert_eq!(sim.contact(Version::V6_0), None);
        sim.forget();
        assert_eq!(sim.contact(Version::V6_0), Some(Version::V6_0));
    }
    let (mut sim, _) = opened(Version::V6_0);
    sim.fault(json!({"direction": "message-to-guest", "type": "UNLOAD_RESPONSE", "action": {"delay_ms": 50}}));
    assert!(!sim.unload());
    sim.settle();
    let unloaded = sim.take_event(|event| matches!(event, vmbus_proto::Event::Unloaded));
    assert!(unloaded.is_some());
}
