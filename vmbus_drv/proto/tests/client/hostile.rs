// SPDX-License-Identifier: GPL-2.0

//! A host that sends anything. [`Guest::handle`] checks that an error changes nothing.

use crate::guest::{relid, Guest};
use crate::host::{forged, Host};
use proptest::prelude::*;
use vmbus_proto::message::MessageType;
use vmbus_proto::*;

/// Clients in all kinds of states.
fn states() -> Vec<Guest> {
    let mut states = vec![Guest::new(Host::new(Version::V6_0))];
    let mut contacting = Guest::new(Host::new(Version::V6_0));
    contacting.contact(Version::V6_0).unwrap();
    states.push(contacting);
    for version in [Version::V4_0, Version::V5_3, Version::V6_0] {
        // Channel 1 is closed, 2 opening, 3 open and 4 rescinded; 5 has memory in all states.
        let devices = [(1, 1, 0), (2, 2, 0), (3, 3, 0), (4, 4, 0), (5, 5, 0)];
        let mut guest = Guest::connected(version, &devices);
        guest.opened(relid(3));
        guest.host.rescind(4);
        let ring = guest.create_gpadl(relid(2)).unwrap();
        let old = guest.create_gpadl(relid(5)).unwrap();
        guest.deliver_all();
        guest.open(relid(2), ring).unwrap();
        guest.create_gpadl(relid(5)).unwrap();
        guest.teardown_gpadl(relid(5), old).unwrap();
        let gone = guest.create_gpadl(relid(5)).unwrap();
        guest.abandon(Request::CreateGpadl(relid(5), gone)).unwrap();
        guest.host.to_guest.clear();
        guest.events.clear();
        states.push(guest);
    }
    states
}

/// Takes bytes in without doing what they ask for.
fn feed(guest: &mut Guest, bytes: &[u8]) -> Result<(), ProtocolError> {
    let before = format!("{:?}", guest.client);
    let result = guest.client.handle_message(bytes);
    if result.is_err() {
        assert_eq!(format!("{:?}", guest.client), before);
    }
    result.map(|_| ())
}

#[test]
fn a_guest_s_message_is_an_error_in_every_state() {
    for mut guest in states() {
        for number in [3, 5, 7, 8, 9, 11, 13, 14, 16, 21, 22] {
            let result = feed(&mut guest, &forged(number, &[0; 200]));
            assert!(matches!(
                result,
                Err(ProtocolError::Unexpected(MessageType(found))
                    | ProtocolError::Malformed(ParseError::Unknown(MessageType(found))))
                    if found == number
            ));
        }
    }
}

#[test]
fn an_unknown_type_is_an_error_in_every_state() {
    for mut guest in states() {
        for number in [0, 18, 19, 20, 25, 26, 27, 28, 29, 0x8000_0001, u32::MAX] {
            let error = ParseError::Unknown(MessageType(number));
            let result = feed(&mut guest, &forged(number, &[0; 200]));
            assert_eq!(result, Err(ProtocolError::Malformed(error)));
        }
    }
}

#[test]
fn any_length_of_any_message_is_survived_in_every_state() {
    for number in 0..30 {
        for fill in [0, 1] {
            for mut guest in states() {
                let bytes = forged(number, &vec![fill; 232]);
                // No body ends between these.
                for len in (0..50).chain(147..150).chain(195..198).chain(239..=240) {
                    let _ = feed(&mut guest, &bytes[..len]);
                }
            }
        }
    }
}

#[test]
fn an_answer_for_another_channel_is_an_error() {
    let words = |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|w| w.to_le_bytes()).collect() };
    let mut guest = states().pop().unwrap();
    let ChannelState::Opening { ring, open_id } = guest.client.channel(relid(2)).unwrap().state()
    else {
        panic!()
    };
    // Open results: a closed channel, an open one, another identity, an unknown channel, none at all.
    for (number, id) in [
        (1, open_id),
        (3, open_id),
        (2, open_id + 1),
        (6, open_id),
        (0, open_id),
    ] {
        assert!(
            feed(&mut guest, &forged(6, &words(&[number, id, 0]))).is_err(),
            "{number}"
        );
    }
    // GPADLs: created already, of another channel, unknown.
    for (number, id) in [(2, ring.0), (5, ring.0), (1, ring.0), (2, 0), (2, u32::MAX)] {
        assert!(
            feed(&mut guest, &forged(10, &words(&[number, id, 0]))).is_err(),
            "{number}"
        );
        assert!(
            feed(&mut guest, &forged(12, &words(&[id]))).is_err(),
            "{number}"
        );
    }
    // Nobody asked to move an interrupt.
    for number in [1, 2, 3, 5, 6, 0, 2048] {
        assert!(
            feed(&mut guest, &forged(24, &words(&[number, 0]))).is_err(),
            "{number}"
        );
    }
    assert!(feed(&mut guest, &forged(6, &words(&[2, open_id, 0]))).is_ok());
}

#[test]
fn an_answer_of_another_version_is_an_error() {
    let mut guest = Guest::connected(Version::V5_2, &[(1, 1, 0)]);
    guest.opened(relid(1));
    guest.modify(relid(1), 2).unwrap();
    guest.handle(&forged(24, &[1, 0, 0, 0, 0, 0, 0, 0]));
    let unknown = ParseError::Unknown(MessageType::MODIFY_CHANNEL_RESPONSE);
    assert_eq!(guest.errors, [ProtocolError::Malformed(unknown)]);
}

/// A message that is likely to mean something: its words are small numbers, names in use, or anything.
fn likely_message() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![4 => 0..9u32, 2 => 0xe1e10..0xe1e18u32, 1 => any::<u32>()];
    let body = prop::collection::vec(word, 0..60);
    (1..26u32, body).prop_map(|(number, words)| {
        let body: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        forged(number, &body[..body.len().min(232)])
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_survived(messages in prop::collection::vec(any::<Vec<u8>>(), 1..20)) {
        for mut guest in states() {
            for bytes in &messages {
                let _ = feed(&mut guest, bytes);
            }
        }
    }

    #[test]
    fn likely_messages_are_survived(messages in prop::collection::vec(likely_message(), 1..60)) {
        for mut guest in states() {
            for bytes in &messages {
                let _ = feed(&mut guest, bytes);
                for channel in guest.client.table().iter() {
                    prop_assert!(channel.relid().index() < 2048);
                    prop_assert!(!(channel.is_rescinded() && channel.has_gpadls()));
                }
            }
        }
    }
}
