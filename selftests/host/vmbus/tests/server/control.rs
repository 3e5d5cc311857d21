// SPDX-License-Identifier: GPL-2.0

//! Requests of the control socket that the host itself answers.

use crate::{exchange, offered, opened, ECHO};
use serde_json::json;
use vmbus_host::parse_version;
use vmbus_host::sim::Echo;
use vmbus_proto::Version;

#[test]
fn requests_that_make_no_sense_are_explained() {
    let (mut sim, _) = offered(Version::V6_0);
    for (request, words) in [
        (json!({}), "\"command\""),
        (json!({"command": 5}), "\"command\""),
        (json!({"command": "dance"}), "dance"),
        (json!({"command": "rescind"}), "\"device\""),
        (json!({"command": "rescind", "device": "x"}), "no device x"),
        (json!({"command": "counters", "device": "x"}), "no device x"),
        (
            json!({"command": "dance", "device": ECHO}),
            "no such command",
        ),
        (
            json!({"command": "configure", "vmbus_max": "five"}),
            "a version",
        ),
        (
            json!({"command": "reoffer", "device": ECHO, "monitored": 1}),
            "true or false",
        ),
        (
            json!({"command": "fault", "direction": "up", "action": "drop"}),
            "unknown variant",
        ),
        (
            json!({"command": "fault", "direction": "to-guest", "action": "drop", "sometimes": 1}),
            "sometimes",
        ),
        (
            json!({"command": "fault", "direction": "to-guest", "action": "drop", "probability": 2}),
            "from 0 to 1",
        ),
        (
            json!({"command": "fault", "direction": "to-guest", "type": "OPEN_RESULT", "action": "drop"}),
            "no type OPEN_RESULT",
        ),
        (
            json!({"command": "fault", "direction": "to-guest", "action": "drop", "nth": 0}),
            "from 1",
        ),
    ] {
        let error = sim.control(request.clone()).unwrap_err();
        assert!(error.contains(words), "{request}: {error}");
    }
}

#[test]
fn a_device_is_offered_in_another_way() {
    let (mut sim, relid) = opened(Version::V4_1);
    exchange(&mut sim, relid, 1);
    sim.control(json!({"command": "reoffer", "device": ECHO,
        "monitored": true, "dedicated_interrupt": false}))
        .unwrap();
    let relid = sim.wait_offer(Echo::CLASS);
    let offer = sim.offer(relid);
    assert_eq!(
        (offer.monitor_id, offer.dedicated_interrupt),
        (Some(0), false)
    );
    // It stays so for the next connection, and until the next word.
    assert!(sim.unload());
    sim.connect(Version::V4_1);
    let relid = sim.wait_offer(Echo::CLASS);
    assert_eq!(sim.offer(relid).monitor_id, Some(0));
    sim.control(json!({"command": "reoffer", "device": ECHO}))
        .unwrap();
    let relid = sim.wait_offer(Echo::CLASS);
    assert_eq!(sim.offer(relid).monitor_id, None);
}

#[test]
fn the_version_changes_with_the_next_contact() {
    let (mut sim, relid) = opened(Version::V6_0);
    for (text, version) in [
        ("4.0", Version::V4_0),
        ("5.3", Version::V5_3),
        ("6.0", Version::V6_0),
    ] {
        let request = json!({"command": "configure", "vmbus_max": text});
        sim.control(request).unwrap();
        assert!(sim.unload());
        assert_eq!(sim.connect(Version::V6_0), version);
        assert_eq!(parse_version(text), Some(version));
    }
    assert_eq!(sim.wait_offer(Echo::CLASS), relid);
    for text in ["", "5", "5.", ".3", "5.3.1", "70000.0", "-5.3"] {
        assert_eq!(parse_version(text), None, "{text}");
    }
}

#[test]
fn the_list_shows_devices_and_channels() {
    let (mut sim, _) = opened(Version::V6_0);
    let list = sim.control(json!({"command": "list"})).unwrap();
    assert_eq!(
        list,
        json!([{
            "name": "echo",
            "class": "6563686f-0000-4000-8000-000000000001",
            "instance": "6563686f-0000-4000-8000-000000000002",
            "state": "open",
            "channels": [{
                "index": 0,
                "relid": 1,
                "open": true,
                "vp": 1,
                "connection": 0x1_0001,
                "dedicated_interrupt": true,
                "monitor": null,
            }],
            "status": {"open": [0]},
        }])
    );
    // Or one of them only.
    let mut other = Echo::default();
    other.spec.instance = Echo::CLASS;
    sim.add("other", other);
    let one = sim.control(json!({"command": "list", "device": ECHO}));
    assert_eq!(one, Ok(list));
}
