// SPDX-License-Identifier: GPL-2.0

//! Things that go wrong while a controller is brought up, one at each step.

use crate::driver::{Driver, ANSWER_MS, SCSI};
use serde_json::{json, Value};
use storage_vsp::{Controller, ControllerConfig, DiskSpec};
use vmbus_host::sim::Sim;

/// A guest with the offer of a controller of three sub-channels.
fn driver() -> Driver {
    let mut controller = Controller::new(ControllerConfig {
        max_sub_channels: 3,
        ..ControllerConfig::scsi(SCSI)
    });
    controller
        .add_spec(&DiskSpec::parse("ram=1M").unwrap())
        .unwrap();
    let mut sim = Sim::new();
    sim.add("scsi0", controller);
    sim.connect(vmbus_proto::Version::V6_0);
    Driver::new(sim, None)
}

/// Requests of the handshake, CREATE_SUB_CHANNELS included.
const STEPS: u64 = 5;

/// Has something go wrong at each step; afterwards all must be well with another try. Returns how many went well at once.
fn at_each_step(direction: &str, action: &Value) -> u64 {
    let mut well = 0;
    for nth in 1..=STEPS {
        let mut driver = driver();
        driver.sim.fault(
            json!({"channel": "scsi0", "direction": direction, "nth": nth, "action": action}),
        );
        let before = driver.sim.now();
        match driver.connect(9) {
            Ok(()) => well += 1,
            Err(error) => println!("{direction} {nth} {action}: {error}"),
        }
        let took = driver.sim.now() - before;
        assert!(took.as_millis() <= u128::from(ANSWER_MS) + 1000, "{took:?}");
        let mut driver = driver.again();
        driver.connect(9).unwrap();
        assert_eq!(driver.queues(), 4, "{nth} {action}");
    }
    well
}

#[test]
fn a_controller_that_goes_at_any_step_can_come_again() {
    for end in ["before", "after"] {
        for direction in ["from-guest", "to-guest"] {
            let well = at_each_step(direction, &json!({ "rescind": end }));
            assert!(well <= 1, "{direction} {end}: {well}");
        }
    }
}

#[test]
fn an_answer_that_never_comes_ends_the_wait() {
    for action in [
        json!("drop"),
        json!("wrong-id"),
        json!("unknown-id"),
        json!({"truncate": 56}),
    ] {
        assert_eq!(at_each_step("to-guest", &action), 0, "{action}");
    }
    assert_eq!(at_each_step("from-guest", &json!("drop")), 0);
    assert_eq!(at_each_step("from-guest", &json!("never-answer")), 0);
}

#[test]
fn what_comes_twice_or_late_counts_once() {
    for action in [
        json!("duplicate"),
        json!({"delay_ms": 100_000}),
        json!("reorder"),
    ] {
        assert_eq!(at_each_step("to-guest", &action), STEPS, "{action}");
    }
    assert_eq!(
        at_each_step("from-guest", &json!({"delay_ms": 100_000})),
        STEPS
    );
}

#[test]
fn a_refusal_is_an_error_but_of_versions_and_sub_channels() {
    // The second version is tried when the first is refused, and one channel is enough.
    let refused = json!({"error-status": 0xc000_0001_u32});
    assert_eq!(at_each_step("from-guest", &refused), 2);
}
