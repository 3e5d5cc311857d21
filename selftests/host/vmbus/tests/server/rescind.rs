// SPDX-License-Identifier: GPL-2.0

//! Rescind at every step of open and close, and what comes after it.

use crate::{assert_clean, exchange, host_counts, offered, opened, ECHO, VERSIONS};
use serde_json::{json, Value};
use vmbus_host::sim::{Echo, OpenError, Sim};
use vmbus_proto::{Event, Relid, Version};

/// The messages of an opening and a closing.
const STEPS: [(&str, &str); 8] = [
    ("message-from-guest", "GPADL_HEADER"),
    ("message-from-guest", "GPADL_BODY"),
    ("message-to-guest", "GPADL_CREATED"),
    ("message-from-guest", "OPEN_CHANNEL"),
    ("message-to-guest", "OPEN_RESULT"),
    ("message-from-guest", "CLOSE_CHANNEL"),
    ("message-from-guest", "GPADL_TEARDOWN"),
    ("message-to-guest", "GPADL_TORNDOWN"),
];

/// A device that was rescinded is offered again, and works.
fn works_again(sim: &mut Sim) {
    sim.control(json!({"command": "faults_clear"})).unwrap();
    sim.control(json!({"command": "reoffer", "device": ECHO}))
        .unwrap();
    let relid = sim.wait_offer(Echo::CLASS);
    sim.open(relid, 20, 20, [0; 120]).unwrap();
    exchange(sim, relid, 9);
    assert!(sim.close(relid));
}

/// What was refused was only what crossed the withdrawal.
fn assert_only_crossing(sim: &mut Sim) {
    let counts = host_counts(sim);
    for (why, count) in counts["messages"]["refused"].as_object().unwrap() {
        // Bodies name no channel.
        let body = "GPADL body without a header";
        assert!(
            ["message to a rescinded channel", body].contains(&why.as_str()),
            "{why}: {count}"
        );
    }
    assert_eq!(counts["gpadls"], 0, "{counts}");
    assert_eq!(counts["unreleased"], 0, "{counts}");
}

#[test]
fn rescind_at_every_step_of_open_and_close() {
    for version in VERSIONS {
        for (direction, kind) in STEPS {
            for when in ["before", "after"] {
                let (mut sim, relid) = offered(version);
                sim.fault(
                    json!({"channel": ECHO, "direction": direction, "type": kind,
                    "action": {"rescind": when}}),
                );
                let context = format!("{version} {kind} {when}");
                // Large enough for a GPADL body.
                match sim.open(relid, 20, 20, [0; 120]) {
                    Err(OpenError::Rescinded) => {}
                    Ok(()) => {
                        if sim.find_channel(Echo::CLASS, 0).is_some() {
                            exchange(&mut sim, relid, 1);
                        }
                        sim.close(relid);
                    }
                    other => panic!("{context}: {other:?}"),
                }
                let hits = &sim.control(json!({"command": "faults"})).unwrap()[0]["hits"];
                assert_eq!(hits, 1, "{context}");
                let rescinded = sim.take_event(|event| matches!(event, Event::Rescinded { .. }));
                assert!(rescinded.is_some(), "{context}");
                assert_eq!(sim.find_channel(Echo::CLASS, 0), None, "{context}");
                works_again(&mut sim);
                assert_only_crossing(&mut sim);
                assert!(sim.unload(), "{context}");
            }
        }
    }
}

#[test]
fn rescind_of_an_idle_and_of_an_open_channel() {
    for version in VERSIONS {
        let (mut sim, relid) = opened(version);
        exchange(&mut sim, relid, 1);
        for _ in 0..2 {
            sim.control(json!({"command": "rescind", "device": ECHO}))
                .unwrap();
            assert_eq!(sim.find_channel(Echo::CLASS, 0), None);
            let list = sim.control(json!({"command": "list"})).unwrap();
            assert_eq!(list[0]["state"], "not offered");
            assert_eq!(list[0]["channels"], json!([]));
            works_again(&mut sim);
        }
        assert_clean(&mut sim);
    }
}

/// Withdraws the device before the guest has read anything of it; returns the relid.
fn offered_relid(sim: &mut Sim) -> Value {
    let list = sim.control(json!({"command": "list"})).unwrap();
    list[0]["channels"][0]["relid"].clone()
}

#[test]
fn a_relid_is_reused_only_after_its_release() {
    let (mut sim, relid) = offered(Version::V5_3);
    assert_eq!(offered_relid(&mut sim), relid.get());
    // The release is lost, so that the relid stays out of use for ever.
    sim.fault(
        json!({"direction": "message-from-guest", "type": "RELID_RELEASED", "action": "drop"}),
    );
    // Each new offer comes before the guest has read of the end of the one before.
    for expected in [2, 3, 2, 3] {
        sim.control(json!({"command": "reoffer", "device": ECHO}))
            .unwrap();
        assert_eq!(offered_relid(&mut sim), expected);
    }
    let counts = host_counts(&mut sim);
    assert_eq!(counts["unreleased"], 1);
    // An unload forgets that too.
    assert!(sim.unload());
    sim.connect(Version::V5_3);
    assert_eq!(sim.wait_offer(Echo::CLASS), Relid::new(1).unwrap());
}

#[test]
fn sub_channels_go_with_the_first() {
    let (mut sim, first) = opened(Version::V6_0);
    sim.control(json!({"command": "sub_channels", "device": ECHO, "count": 2}))
        .unwrap();
    let sub = sim.wait_channel(Echo::CLASS, 2);
    sim.open(sub, 3, 3, [0; 120]).unwrap();
    exchange(&mut sim, sub, 3);
    exchange(&mut sim, first, 3);
    sim.control(json!({"command": "rescind", "device": ECHO}))
        .unwrap();
    for index in 0..3 {
        assert_eq!(sim.find_channel(Echo::CLASS, index), None);
    }
    let rescinded: Vec<u32> = std::iter::from_fn(|| {
        match sim.take_event(|event| matches!(event, Event::Rescinded { .. })) {
            Some(Event::Rescinded { relid, .. }) => Some(relid.get()),
            _ => None,
        }
    })
    .collect();
    assert_eq!(rescinded, [3, 2, 1], "sub-channels before the first");
    works_again(&mut sim);
    assert_clean(&mut sim);
}

#[test]
fn rescind_while_packets_flow() {
    for direction in ["to-guest", "from-guest"] {
        for when in ["before", "after"] {
            let (mut sim, relid) = opened(Version::V5_3);
            sim.fault(
                json!({"channel": "echo/0", "direction": direction, "nth": 3, "action": {"rescind": when}}),
            );
            exchange(&mut sim, relid, 1);
            exchange(&mut sim, relid, 2);
            sim.send(
                relid,
                &vmbus_ring::OutgoingPacket::request(3, &[b"the last"]),
            );
            assert_eq!(sim.find_channel(Echo::CLASS, 0), None);
            works_again(&mut sim);
            assert_only_crossing(&mut sim);
        }
    }
}
