// SPDX-License-Identifier: GPL-2.0

//! The Dynamic Memory device.

use hvdef::Guid;
use serde_json::json;
use vmbus_host::sim::Sim;
use vmbus_host::Balloon;
use vmbus_proto::{class, Relid, Version};
use vmbus_ring::OutgoingPacket;

/// A message of this type and transaction with these words after the header.
fn message(message_type: u16, transaction: u32, body: &[u64]) -> Vec<u8> {
    let size = u16::try_from(8 + body.len() * 8).unwrap();
    let mut bytes = [message_type.to_le_bytes(), size.to_le_bytes()].concat();
    bytes.extend(transaction.to_le_bytes());
    bytes.extend(body.iter().flat_map(|word| word.to_le_bytes()));
    bytes
}

/// Sends a message and returns the answer: type, size, transaction, and whether it is a yes.
fn ask(sim: &mut Sim, relid: Relid, message: &[u8]) -> (u16, u16, u32, u64) {
    sim.send(relid, &OutgoingPacket::in_band(&[message]));
    let payload = sim.expect_packet(relid).payload;
    let short = |at: usize| u16::from_le_bytes(payload[at..at + 2].try_into().unwrap());
    (
        short(0),
        short(2),
        u32::from_le_bytes(payload[4..8].try_into().unwrap()),
        u64::from_le_bytes(payload[8..16].try_into().unwrap()),
    )
}

#[test]
fn the_balloon_agrees_and_takes_reports() {
    let mut sim = Sim::new();
    sim.add("dm", Balloon::new(Guid::from_bytes([3; 16])));
    sim.connect(Version::V6_0);
    let first = sim.wait_offer(class::DM.id);
    sim.control(json!({"command": "sub_channels", "device": "dm", "count": 2}))
        .unwrap();
    assert_eq!(sim.find_channel(class::DM.id, 1), None);
    sim.open(first, 5, 5, [0; 120]).unwrap();
    let sub = sim.wait_channel(class::DM.id, 2);
    sim.open(sub, 5, 5, [0; 120]).unwrap();
    // Capabilities before a version.
    let early = ask(&mut sim, first, &message(3, 0, &[0, 0, 9]));
    assert_eq!(early, (4, 16, 0, 0));
    for relid in [first, sub] {
        assert_eq!(
            ask(&mut sim, relid, &message(1, 1, &[3 << 16])),
            (2, 16, 1, 0)
        );
        assert_eq!(
            ask(&mut sim, relid, &message(1, 2, &[2 << 16])),
            (2, 16, 2, 1)
        );
        assert_eq!(
            ask(&mut sim, relid, &message(3, 3, &[0, 0, 9])),
            (4, 16, 3, 1)
        );
        let report = message(5, 4, &[1000, 2000, 0, 0, 0]);
        sim.send(relid, &OutgoingPacket::in_band(&[&report]));
        sim.send(relid, &OutgoingPacket::in_band(&[b"nonsense"]));
        assert_eq!(sim.receive(relid), None);
        if relid == first {
            let list = sim.control(json!({"command": "list"})).unwrap();
            assert_eq!(
                list[0]["status"],
                json!({"version": "2.0", "capabilities": 0, "reports": 1,
                    "available_pages": 1000, "committed_pages": 2000, "nonsense": 1})
            );
        }
        sim.control(json!({"command": "sub_channels", "device": "dm", "count": 2}))
            .unwrap();
    }
    let error = sim.control(json!({"command": "sub_channels", "device": "dm", "count": 65}));
    assert!(error.unwrap_err().contains("64"));
}
