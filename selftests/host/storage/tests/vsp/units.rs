// SPDX-License-Identifier: GPL-2.0

//! LUNs that come, go and change while the guest runs, and what it is told.

use crate::guest::{cdb10, pattern, Data, Guest};
use serde_json::json;
use storvsc_proto::{Operation, Packet, ScsiStatus, Srb};
use vmbus_ring::PacketType;
use zerocopy::FromZeros;

/// Takes a packet that nobody asked for.
fn notification(guest: &mut Guest) -> Option<Operation> {
    let packet = guest.sim.receive(guest.relid)?;
    assert_eq!(packet.packet_type, PacketType::IN_BAND);
    assert_eq!((packet.transaction_id, packet.flags.bits()), (0, 0));
    let packet = Packet::parse(&packet.payload).unwrap();
    assert_eq!(packet.flags().bits(), 0);
    Some(packet.operation())
}

#[test]
fn luns_come_and_go() {
    let mut guest = Guest::new(&["ram=1M"]);
    let added = guest.control("add_disk", json!({"ram": "2M", "lun": 5, "sector": 4096}));
    assert_eq!(added, Ok(json!({"target": 0, "lun": 5})));
    assert_eq!(notification(&mut guest), Some(Operation::ENUMERATE_BUS));
    assert_eq!(guest.read(5, 0, 1, 4096).len(), 4096);
    // The others are told, once.
    guest.command(0, &[0; 6], Data::None).check(6, 0x3f, 0x0e);
    guest.command(0, &[0; 6], Data::None).good();
    let added = guest.control("add_disk", json!({"ram": 1_048_576, "name": "d1"}));
    assert_eq!(added, Ok(json!({"target": 0, "lun": 1})));
    assert_eq!(notification(&mut guest), Some(Operation::ENUMERATE_BUS));
    guest.control("remove_disk", json!({"name": "d1"})).unwrap();
    assert_eq!(notification(&mut guest), Some(Operation::REMOVE_DEVICE));
    guest
        .command(1, &[0; 6], Data::None)
        .is(0x20, ScsiStatus::GOOD);
    assert_eq!(notification(&mut guest), None);
    for bad in [
        json!({"lun": 1}),
        json!({"name": "d1"}),
        json!({"lun": 999}),
        json!({"lun": "x"}),
    ] {
        assert!(guest.control("remove_disk", bad).is_err());
    }
    assert!(guest
        .control("add_disk", json!({"ram": "1M", "lun": 5}))
        .is_err());
    assert!(guest.control("colour", json!({})).is_err());
}

#[test]
fn a_guest_that_is_not_ready_is_not_told() {
    let mut guest = Guest::unready(crate::guest::scsi(&["ram=1M"]));
    guest.control("add_disk", json!({"ram": "1M"})).unwrap();
    assert_eq!(notification(&mut guest), None);
}

#[test]
fn a_new_size_is_told_with_the_next_command() {
    let mut guest = Guest::new(&["ram=1M"]);
    guest.write(0, 2040, &pattern(1, 4096)).good();
    guest
        .control("resize_disk", json!({"lun": 0, "size": "2M"}))
        .unwrap();
    guest
        .command(0, &cdb10(0x28, 0, 1), Data::In(512))
        .check(6, 0x2a, 9);
    let capacity = guest.command(0, &cdb10(0x25, 0, 0), Data::In(8)).good();
    assert_eq!(capacity[..4], [0, 0, 15, 255]);
    assert_eq!(guest.read(0, 4095, 1, 512), [0; 512]);
    assert!(guest.read(0, 2040, 8, 512) == pattern(1, 4096));
    // Smaller and larger again: what was behind the end is gone.
    guest
        .control("resize_disk", json!({"size": "1044480"}))
        .unwrap();
    guest.control("resize_disk", json!({"size": "1M"})).unwrap();
    guest.command(0, &[0; 6], Data::None).check(6, 0x2a, 9);
    guest.command(0, &[0; 6], Data::None).good();
    assert_eq!(guest.read(0, 2040, 8, 512), [0; 4096]);
    for bad in [
        json!({"size": 0}),
        json!({"size": 513}),
        json!({}),
        json!({"size": "x"}),
    ] {
        assert!(guest.control("resize_disk", bad).is_err());
    }
}

#[test]
fn attentions_come_in_order_and_do_not_stop_an_inquiry() {
    let mut guest = Guest::new(&["ram=1M"]);
    for sense in ["29/0", "2a/1", "29/0", "3f/2"] {
        guest.control("attention", json!({"sense": sense})).unwrap();
    }
    guest
        .command(0, &[0x12, 0, 0, 0, 36, 0], Data::In(36))
        .good();
    let luns = guest.command(0, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0], Data::In(64));
    assert_eq!(luns.good().len(), 16);
    guest
        .command(0, &cdb10(0x2a, 0, 1), Data::Out(&[1; 512]))
        .check(6, 0x29, 0);
    assert_eq!(guest.count(0, "writes"), 0);
    // REQUEST SENSE takes one as data.
    let sense = guest.command(0, &[3, 0, 0, 0, 18, 0], Data::In(18)).good();
    assert_eq!((sense[2], sense[12], sense[13]), (6, 0x2a, 1));
    guest.command(0, &[0; 6], Data::None).check(6, 0x3f, 2);
    guest.command(0, &[0; 6], Data::None).good();
    let sense = guest.command(0, &[3, 0, 0, 0, 18, 0], Data::In(18)).good();
    assert_eq!((sense[2], sense[12], sense[13]), (0, 0, 0));
    guest
        .command(0, &[3, 1, 0, 0, 18, 0], Data::In(18))
        .check(5, 0x24, 0);
    // What waits is bounded.
    for code in 0..40 {
        guest
            .control("attention", json!({"sense": format!("2a/{code:x}")}))
            .unwrap();
    }
    for code in 0..8 {
        guest.command(0, &[0; 6], Data::None).check(6, 0x2a, code);
    }
    guest.command(0, &[0; 6], Data::None).good();
}

#[test]
fn a_reset_is_told_afterwards() {
    let mut guest = Guest::new(&["ram=1M", "ram=1M"]);
    for (operation, lun, attentions) in [
        (Operation::RESET_LUN, 1, [None, Some(3)]),
        (Operation::RESET_BUS, 0, [Some(2), Some(2)]),
        (Operation::RESET_ADAPTER, 0, [Some(2), Some(2)]),
    ] {
        let srb = Srb {
            lun,
            ..Srb::new_zeroed()
        };
        assert!(guest
            .ask(&Packet::request(operation).with(&srb))
            .is_success());
        for (lun, attention) in (0..).zip(attentions) {
            let done = guest.command(lun, &[0; 6], Data::None);
            match attention {
                Some(qualifier) => done.check(6, 0x29, qualifier),
                None => assert!(done.good().is_empty()),
            }
        }
    }
    let srb = Srb {
        lun: 7,
        ..Srb::new_zeroed()
    };
    let answer = guest.ask(&Packet::request(Operation::RESET_LUN).with(&srb));
    assert!(!answer.is_success());
}

#[test]
fn forced_statuses_are_answered_without_work() {
    let mut guest = Guest::new(&["ram=1M"]);
    guest.sim.fault(json!({
        "channel": "scsi0", "direction": "from-guest", "type": "GPA_DIRECT", "nth": 1, "action": {"error-status": 0x20},
    }));
    let done = guest.write(0, 0, &[1; 512]);
    done.is(0x20, ScsiStatus::GOOD);
    assert_eq!(guest.count(0, "writes"), 0);
    guest.write(0, 0, &[1; 512]).good();
}

#[test]
fn sense_is_cut_to_what_the_guest_takes() {
    let mut guest = Guest::new(&["ram=1M"]);
    for (room, length) in [(0, 0), (13, 13), (18, 18), (20, 18), (255, 18)] {
        let mut srb = Guest::srb(0, &[0xff; 6], Data::None);
        srb.sense_info_length = room;
        let done = guest.raw(&srb, 0, &[]);
        assert_eq!(done.srb.sense().map(<[u8]>::len), Some(length));
        assert_eq!(done.srb.cdb_or_sense[length..], [0; 20][length..]);
    }
    let mut srb = Guest::srb(0, &[0xff; 6], Data::None);
    srb.srb_flags = 0x20.into();
    let done = guest.raw(&srb, 0, &[]);
    assert_eq!((done.srb.sense(), done.srb.srb_status), (None, 0x06));
}
