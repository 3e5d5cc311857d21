// SPDX-License-Identifier: GPL-2.0

//! The host against a guest in memory: a well-behaved one, one to which faults are done, and a hostile one.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    reason = "A test may panic."
)]

mod balloon;
mod connect;
mod control;
mod faults;
mod hostile;
mod interrupts;
mod misuse;
mod rescind;
mod rings;
mod time;

use serde_json::{json, Value};
use vmbus_host::sim::{Echo, Sim};
use vmbus_host::Config;
use vmbus_proto::{Relid, Version};
use vmbus_ring::OutgoingPacket;

/// The versions, oldest first.
pub(crate) const VERSIONS: [Version; 7] = [
    Version::V4_0,
    Version::V4_1,
    Version::V5_0,
    Version::V5_1,
    Version::V5_2,
    Version::V5_3,
    Version::V6_0,
];

/// Name of the device in these tests.
pub(crate) const ECHO: &str = "echo";

/// A host up to this version, with an echo device, and a guest that has not made contact.
pub(crate) fn host(max_version: Version) -> Sim {
    host_with(max_version, Echo::default())
}

/// The same, with an echo device that is offered in another way.
pub(crate) fn host_with(max_version: Version, echo: Echo) -> Sim {
    let mut sim = Sim::with(Config {
        max_version,
        vps: 4,
        seed: 0x5eed,
    });
    sim.add(ECHO, echo);
    sim
}

/// A connected guest with an offer.
pub(crate) fn offered(version: Version) -> (Sim, Relid) {
    let mut sim = host(version);
    assert_eq!(sim.connect(version), version);
    let relid = sim.wait_offer(Echo::CLASS);
    (sim, relid)
}

/// A connected guest with an open channel.
pub(crate) fn opened(version: Version) -> (Sim, Relid) {
    let (mut sim, relid) = offered(version);
    sim.open(relid, 5, 5, [0; 120]).unwrap();
    (sim, relid)
}

/// One request and its completion.
pub(crate) fn exchange(sim: &mut Sim, relid: Relid, id: u64) {
    sim.send(relid, &OutgoingPacket::request(id, &[&id.to_le_bytes()]));
    let packet = sim.expect_packet(relid);
    assert_eq!(packet.transaction_id, id);
    assert_eq!(packet.payload, id.to_le_bytes());
    assert_eq!(sim.receive(relid), None);
}

/// What the host counts of the connection.
pub(crate) fn host_counts(sim: &mut Sim) -> Value {
    sim.control(json!({"command": "counters"})).unwrap()
}

/// Everything is at rest: the host knows of no memory, no relid that is not back, and nothing went wrong.
pub(crate) fn assert_clean(sim: &mut Sim) {
    assert_eq!(sim.take_errors(), []);
    let counts = host_counts(sim);
    assert_eq!(counts["gpadls"], 0, "{counts}");
    assert_eq!(counts["unreleased"], 0, "{counts}");
    assert_eq!(counts["messages"]["refused"], json!({}), "{counts}");
}
