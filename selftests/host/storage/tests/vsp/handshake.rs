// SPDX-License-Identifier: GPL-2.0

//! Bringing up a controller.

use crate::guest::{controller, scsi, Data, Guest, SCSI};
use storage_vsp::ControllerConfig;
use storvsc_proto::handshake::HandshakeError;
use storvsc_proto::{
    create_sub_channels, ChannelProperties, NtStatus, Operation, Packet, ProtocolVersion, Version,
};
use vmbus_proto::class;
use vmbus_ring::{OutgoingPacket, PacketFlags};
use zerocopy::IntoBytes;

fn config() -> ControllerConfig {
    ControllerConfig {
        max_sub_channels: 3,
        ..ControllerConfig::scsi(SCSI)
    }
}

#[test]
fn both_versions_are_spoken() {
    for (versions, max, agreed) in [
        (
            vec![Version::V6_2, Version::V6_0],
            Version::V6_2,
            Ok(Version::V6_2),
        ),
        (
            vec![Version::V6_2, Version::V6_0],
            Version::V6_0,
            Ok(Version::V6_0),
        ),
        (vec![Version::V6_0], Version::V6_2, Ok(Version::V6_0)),
        (
            vec![Version::V5_1],
            Version::V6_2,
            Err(HandshakeError::NoCommonVersion),
        ),
    ] {
        let mut guest = Guest::unready(controller(
            ControllerConfig {
                versions,
                ..config()
            },
            &["ram=1M"],
        ));
        let result = guest.handshake(max);
        assert_eq!(result.map(|controller| controller.version), agreed);
        if let Ok(controller) = result {
            assert_eq!(controller.max_transfer_bytes, 8 << 20);
            assert_eq!(controller.max_sub_channels, 3);
            assert_eq!(guest.read(0, 0, 1, 512), [0; 512]);
        }
    }
}

#[test]
fn the_order_is_kept() {
    let mut guest = Guest::unready(scsi(&["ram=1M"]));
    let order = [7, 9, 10, 8, 13].map(Operation);
    for (step, next) in order.into_iter().enumerate() {
        for operation in (2..=14).map(Operation) {
            if operation == next || (step == 4 && (3..=6).contains(&operation.0)) {
                continue;
            }
            let answer = guest.ask(&Packet::request(operation));
            assert!(
                answer.status() != NtStatus::SUCCESS,
                "{operation:?} at {step}"
            );
        }
        let packet = Packet::request(next);
        let packet = match step {
            1 => packet.with(&ProtocolVersion::new(Version::V6_2)),
            4 => create_sub_channels(0),
            _ => packet,
        };
        assert!(guest.ask(&packet).is_success(), "{step}");
    }
}

#[test]
fn a_version_that_is_refused_is_repeated() {
    let mut guest = Guest::unready(scsi(&[]));
    assert!(guest
        .ask(&Packet::request(Operation::BEGIN_INITIALIZATION))
        .is_success());
    let proposal = ProtocolVersion::new(Version(0x0701));
    let packet = Packet::request(Operation::QUERY_PROTOCOL_VERSION).with(&proposal);
    let answer = guest.ask(&packet);
    assert_eq!(answer.status(), NtStatus::REVISION_MISMATCH);
    assert_eq!(answer.payload::<ProtocolVersion>(), proposal);
}

#[test]
fn an_opened_channel_begins_anew() {
    let mut guest = Guest::new(&["ram=1M"]);
    assert!(guest.sim.close(guest.relid));
    guest.sim.open(guest.relid, 9, 9, [0; 120]).unwrap();
    let answer = guest.ask(&Packet::request(Operation::EXECUTE_SRB));
    assert_eq!(answer.status(), NtStatus::INVALID_DEVICE_STATE);
    guest.handshake(Version::V6_2).unwrap();
    assert_eq!(guest.read(0, 0, 1, 512), [0; 512]);
}

#[test]
fn sub_channels_carry_requests() {
    let mut guest = Guest::with(controller(config(), &["ram=1M"]));
    let refused = guest.ask(&create_sub_channels(4));
    assert_eq!(refused.status(), NtStatus::INVALID_PARAMETER);
    assert_eq!(guest.relids().len(), 1);
    assert!(guest.ask(&create_sub_channels(3)).is_success());
    for index in 1..=3 {
        let relid = guest.sim.wait_channel(class::SCSI.id, index);
        guest.sim.open(relid, 5, 5, [0; 120]).unwrap();
        let begin = guest.ask_on(relid, &Packet::request(Operation::BEGIN_INITIALIZATION));
        assert_eq!(begin.status(), NtStatus::INVALID_DEVICE_STATE);
        let more = guest.ask_on(relid, &create_sub_channels(3));
        assert_eq!(more.status(), NtStatus::INVALID_DEVICE_STATE);
        let srb = Guest::srb(0, &[0x28, 0, 0, 0, 0, 1, 0, 0, 1, 0], Data::In(512));
        let sent = guest.submit(relid, &srb, 512, &[7; 512]);
        assert_eq!(guest.finish(relid, sent).good(), [0; 512]);
        assert!(guest.sim.close(relid));
    }
    assert_eq!(guest.count(0, "reads"), 3);
}

#[test]
fn a_controller_without_sub_channels_says_so() {
    let mut guest = Guest::with(scsi(&[]));
    assert_eq!(guest.agreed.unwrap().max_sub_channels, 0);
    assert_eq!(
        guest.ask(&create_sub_channels(1)).status(),
        NtStatus::INVALID_PARAMETER
    );
}

#[test]
fn fibre_channel_is_not_spoken() {
    let mut guest = Guest::new(&[]);
    let answer = guest.ask(&Packet::request(Operation::FCHBA_DATA));
    assert_eq!(answer.status(), NtStatus::INVALID_DEVICE_REQUEST);
}

#[test]
fn an_ide_disk_tells_its_target() {
    let ide = controller(ControllerConfig::ide(1, 1), &["ram=1M"]);
    let mut guest = Guest::with(ide);
    let offer = guest.sim.offer(guest.relid);
    assert_eq!(offer.class, class::IDE.id);
    assert_eq!(
        offer.instance.to_string(),
        "00000001-0001-8899-0000-000000000000"
    );
    let instance = offer.instance.to_bytes();
    assert_eq!(u16::from_le_bytes([instance[4], instance[5]]), 1);
    assert_eq!(offer.user_data[..12], [0, 0, 1, 1, 0, 0, 0, 0, 2, 0, 0, 0]);
    for (target, status) in [(1, 0x01), (0, 0x20), (2, 0x20)] {
        let mut srb = Guest::srb(0, &[0; 6], Data::None);
        srb.target_id = target;
        assert_eq!(guest.raw(&srb, 0, &[]).srb.srb_status, status);
    }
    assert_eq!(guest.agreed.unwrap().max_sub_channels, 0);
    let properties: ChannelProperties = Packet::request(Operation(0)).payload();
    assert_eq!(properties.flags().bits(), 0);
}

#[test]
fn what_asks_for_no_answer_gets_none() {
    let mut guest = Guest::new(&["ram=1M"]);
    let srb = Guest::srb(0, &[0; 6], Data::None);
    let packet = Packet::request(Operation::EXECUTE_SRB).with(&srb);
    let payload: &[&[u8]] = &[packet.as_bytes()];
    let quiet = OutgoingPacket {
        flags: PacketFlags::empty(),
        ..OutgoingPacket::request(77, payload)
    };
    guest.sim.send(guest.relid, &quiet);
    assert_eq!(guest.sim.receive(guest.relid), None);
    assert_eq!(guest.count(0, "commands"), 1);
}

#[test]
fn a_short_packet_is_refused() {
    let mut guest = Guest::new(&["ram=1M"]);
    let bytes = [3; 56];
    guest
        .sim
        .send(guest.relid, &OutgoingPacket::request(5, &[&bytes]));
    let answer = guest.sim.expect_packet(guest.relid);
    let answer = Packet::parse(&answer.payload).unwrap();
    assert_eq!(answer.status(), NtStatus::INVALID_PARAMETER);
}
