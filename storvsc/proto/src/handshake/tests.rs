// SPDX-License-Identifier: GPL-2.0

//! The handshake against answers of every kind.

use super::*;
use proptest::prelude::*;
use std::vec::Vec;
use zerocopy::IntoBytes as _;

const WISHES: Wishes = Wishes {
    max_version: Version::V6_2,
    fibre_channel: false,
};

fn properties(flags: u32, count: u16, max_transfer: u32) -> ChannelProperties {
    ChannelProperties {
        reserved: 0.into(),
        max_channel_count: count.into(),
        reserved1: 0.into(),
        flags: flags.into(),
        max_transfer_bytes: max_transfer.into(),
        reserved2: 0.into(),
    }
}

/// A host that speaks up to `version`, tells `properties`, and refuses `refused`.
struct Host {
    version: Version,
    properties: ChannelProperties,
    refused: Option<Operation>,
    seen: Vec<Operation>,
}

impl Host {
    fn new(version: Version) -> Self {
        Self {
            version,
            properties: properties(1, 8, 0x80_0000),
            refused: None,
            seen: Vec::new(),
        }
    }

    fn answer(&mut self, request: &Packet) -> Packet {
        assert_eq!(request.flags().bits(), 1);
        self.seen.push(request.operation());
        if self.refused == Some(request.operation()) {
            return Packet::answer(NtStatus::UNSUCCESSFUL);
        }
        let good = Packet::answer(NtStatus::SUCCESS);
        match request.operation() {
            Operation::QUERY_PROTOCOL_VERSION => {
                let proposal: ProtocolVersion = request.payload();
                match proposal.version() <= self.version {
                    true => good,
                    false => Packet::answer(NtStatus::REVISION_MISMATCH),
                }
            }
            Operation::QUERY_PROPERTIES => good.with(&self.properties),
            _ => good,
        }
    }

    fn run(&mut self, wishes: Wishes) -> Result<Controller, HandshakeError> {
        let (mut handshake, mut packet) = Handshake::new(wishes).unwrap();
        for _ in 0..10 {
            let answer = self.answer(&packet);
            match handshake.answered(answer.as_bytes())? {
                Step::Send(next) => packet = next,
                Step::Ready(controller) => {
                    let more = handshake.answered(answer.as_bytes());
                    assert_eq!(more, Err(HandshakeError::NotExpected));
                    return Ok(controller);
                }
            }
        }
        panic!("the handshake does not end");
    }
}

#[test]
fn everything_in_order() {
    let mut host = Host::new(Version::V6_2);
    let controller = host.run(WISHES).unwrap();
    assert_eq!(
        controller,
        Controller {
            version: Version::V6_2,
            max_transfer_bytes: 0x80_0000,
            max_sub_channels: 8,
            wwn: None
        }
    );
    let order = [7, 9, 10, 8].map(Operation);
    assert_eq!(host.seen, order);
}

#[test]
fn older_versions_are_tried() {
    let mut host = Host::new(Version::V6_0);
    assert_eq!(host.run(WISHES).unwrap().version, Version::V6_0);
    let mut host = Host::new(Version::V5_1);
    assert_eq!(host.run(WISHES), Err(HandshakeError::NoCommonVersion));
    assert_eq!(host.seen, [7, 9, 9].map(Operation));
    let old = Wishes {
        max_version: Version::V6_0,
        ..WISHES
    };
    let mut host = Host::new(Version::V6_2);
    assert_eq!(host.run(old).unwrap().version, Version::V6_0);
    let none = Wishes {
        max_version: Version::V5_1,
        ..WISHES
    };
    assert!(Handshake::new(none).is_none());
}

#[test]
fn a_fibre_channel_adapter_names_its_ports() {
    let mut host = Host::new(Version::V6_2);
    let wishes = Wishes {
        fibre_channel: true,
        ..WISHES
    };
    assert!(host.run(wishes).unwrap().wwn.is_some());
    assert_eq!(host.seen, [7, 9, 10, 12, 8].map(Operation));
}

#[test]
fn sub_channels_take_a_host_that_supports_them() {
    for (flags, count, expected) in [
        (1, 8, 8),
        (3, u16::MAX, u16::MAX),
        (0, 8, 0),
        (2, 8, 0),
        (1, 0, 0),
    ] {
        let mut host = Host::new(Version::V6_2);
        host.properties = properties(flags, count, 4096);
        assert_eq!(host.run(WISHES).unwrap().max_sub_channels, expected);
    }
    let request = create_sub_channels(0x0102);
    assert_eq!(
        request.as_bytes()[..14],
        [13, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 1]
    );
}

#[test]
fn any_other_refusal_ends_it() {
    for operation in [7, 8, 10, 12].map(Operation) {
        let mut host = Host::new(Version::V6_2);
        host.refused = Some(operation);
        let status = NtStatus::UNSUCCESSFUL;
        let wishes = Wishes {
            fibre_channel: true,
            ..WISHES
        };
        assert_eq!(
            host.run(wishes),
            Err(HandshakeError::Refused { operation, status })
        );
    }
}

#[test]
fn transfers_are_whole_pages_and_at_least_one() {
    for (told, usable) in [
        (0, None),
        (4095, None),
        (4096, Some(4096)),
        (4097, Some(4096)),
        (u32::MAX, Some(0xffff_f000)),
    ] {
        let mut host = Host::new(Version::V6_2);
        host.properties = properties(0, 0, told);
        let result = host.run(WISHES).map(|c| c.max_transfer_bytes);
        assert_eq!(result, usable.ok_or(HandshakeError::MaxTransfer(told)));
    }
}

#[test]
fn what_is_no_answer_ends_it() {
    let enumerate = Packet::notification(Operation::ENUMERATE_BUS);
    let cases = [
        (&[][..], HandshakeError::Short),
        (&[1; 63], HandshakeError::Short),
        (
            enumerate.as_bytes(),
            HandshakeError::NotAnAnswer(Operation::ENUMERATE_BUS),
        ),
    ];
    for (bytes, error) in cases {
        let (mut handshake, _) = Handshake::new(WISHES).unwrap();
        assert_eq!(handshake.answered(bytes), Err(error));
        assert_eq!(
            handshake.answered(Packet::answer(NtStatus::SUCCESS).as_bytes()),
            Err(HandshakeError::NotExpected)
        );
    }
}

proptest! {
    #[test]
    fn any_answers_end_within_seven(answers: [[u8; 52]; 8], good: [bool; 8]) {
        let (mut handshake, _) = Handshake::new(WISHES).unwrap();
        let mut sent = 0;
        for (payload, good) in answers.iter().zip(good) {
            let status = if good { [0; 4] } else { [1; 4] };
            let bytes = [&[1, 0, 0, 0, 0, 0, 0, 0][..], &status, payload].concat();
            match handshake.answered(&bytes) {
                Ok(Step::Send(_)) => sent = usize::saturating_add(sent, 1),
                Ok(Step::Ready(controller)) => {
                    prop_assert!(controller.max_transfer_bytes >= 4096);
                    break;
                }
                Err(_) => break,
            }
        }
        prop_assert!(sent <= 4);
    }
}
