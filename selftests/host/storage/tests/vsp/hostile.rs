// SPDX-License-Identifier: GPL-2.0

//! Guests that send anything at all.

use crate::guest::{controller, Data, Guest, SCSI};
use proptest::prelude::*;
use storage_vsp::ControllerConfig;
use storvsc_proto::Operation;
use vmbus_ring::OutgoingPacket;

fn victim() -> Guest {
    let config = ControllerConfig {
        max_sub_channels: 2,
        ..ControllerConfig::scsi(SCSI)
    };
    let disks = ["ram=1M", "ram=1M,sector=4096,ro", "ram=1M,dvd", "dvd"];
    Guest::with(controller(config, &disks))
}

/// The controller still works.
fn still_works(guest: &mut Guest) {
    while guest.sim.receive(guest.relid).is_some() {}
    let done = guest.command(0, &[0x12, 0, 0, 0, 36, 0], Data::In(36));
    assert_eq!(done.good()[8..12], *b"Msft");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_packets(packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..96), 1..40)) {
        let mut guest = victim();
        for packet in &packets {
            guest.sim.send(guest.relid, &OutgoingPacket::request(1, &[packet]));
        }
        still_works(&mut guest);
    }

    #[test]
    fn any_operations(operations in proptest::collection::vec((0u32..16, any::<[u8; 52]>()), 1..40)) {
        let mut guest = victim();
        for (operation, payload) in &operations {
            let head = [&Operation(*operation).0.to_le_bytes()[..], &[1, 0, 0, 0, 0, 0, 0, 0]].concat();
            guest.sim.send(guest.relid, &OutgoingPacket::request(1, &[&head, payload]));
            prop_assert!(guest.sim.receive(guest.relid).is_some());
        }
    }

    /// Each command is answered once, and nothing beyond its buffer is written.
    #[test]
    fn any_commands(commands in proptest::collection::vec(
        (0u8..6, any::<[u8; 16]>(), 1usize..=16, 0u32..5000, 0u32..5000, any::<[u8; 32]>()), 1..40,
    )) {
        let mut guest = victim();
        for (lun, cdb, length, room, asked, bytes) in commands {
            let mut srb = Guest::srb(lun, &cdb[..length], Data::None);
            srb.data_transfer_length = asked.into();
            let bytes = &bytes[..usize::try_from(room).unwrap().min(32)];
            let done = guest.raw(&srb, room, bytes);
            prop_assert!(done.srb.sense_info_length <= 18);
            if done.srb.srb_status == 1 {
                prop_assert!(done.srb.data_transfer_length.get() <= asked.min(room));
            }
        }
        still_works(&mut guest);
    }

    /// As before, but with commands that exist.
    #[test]
    fn likely_commands(commands in proptest::collection::vec(
        (
            0u8..5,
            prop::sample::select(vec![
                0x00, 0x03, 0x08, 0x0a, 0x12, 0x15, 0x1a, 0x1b, 0x1e, 0x25, 0x28, 0x2a, 0x2e, 0x2f, 0x35, 0x41, 0x42,
                0x43, 0x46, 0x4a, 0x51, 0x55, 0x5a, 0x5e, 0x5f, 0x88, 0x8a, 0x8f, 0x91, 0x93, 0x9e, 0xa0, 0xa3, 0xa8,
                0xaa, 0xaf, 0xbd,
            ]),
            any::<[u8; 15]>(),
            any::<[bool; 15]>(),
            0u32..9000,
            proptest::collection::vec(any::<u8>(), 0..64),
        ),
        1..60,
    )) {
        let mut guest = victim();
        for (lun, opcode, rest, keep, room, bytes) in commands {
            let mut cdb = [0; 16];
            cdb[0] = opcode;
            for at in 0..15 {
                cdb[at + 1] = if keep[at] { rest[at] } else { 0 };
            }
            let mut srb = Guest::srb(lun, &cdb, Data::None);
            srb.data_transfer_length = room.into();
            let bytes = &bytes[..bytes.len().min(usize::try_from(room).unwrap())];
            let done = guest.raw(&srb, room, bytes);
            prop_assert!(done.srb.data_transfer_length.get() <= room);
        }
        still_works(&mut guest);
    }
}
