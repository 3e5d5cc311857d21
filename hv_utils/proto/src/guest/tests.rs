// SPDX-License-Identifier: GPL-2.0

//! Tests of the guest's end.

use super::*;
use crate::heartbeat::{self, ApplicationState, Beat};
use crate::shutdown::{Action, Flags as ShutdownFlags};
use crate::Flags;
use proptest::prelude::*;
use std::vec::Vec;
use zerocopy::IntoBytes;

const V1_0: Version = Version::new(1, 0);
const V3_0: Version = Version::new(3, 0);

/// A message of the host.
fn message(message_type: MessageType, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap();
    let prefix = Prefix::request(message_type, Version::NONE, Version::NONE, length, 77);
    let mut payload = prefix.as_bytes().to_vec();
    payload.extend_from_slice(body);
    payload
}

/// An offer of one framework and two message versions.
fn offer(framework: Version, messages: [Version; 2]) -> Vec<u8> {
    let mut body = std::vec![1, 0, 2, 0, 0, 0, 0, 0];
    body.extend_from_slice(framework.as_bytes());
    body.extend_from_slice(messages.as_bytes());
    message(MessageType::NEGOTIATE, &body)
}

/// An end that has chosen.
fn ready(service: Service) -> Endpoint {
    let mut endpoint = Endpoint::new(service);
    let best = service.message_versions()[0];
    let mut payload = offer(V3_0, [best, V1_0]);
    let incoming = endpoint.handle(&mut payload);
    assert_eq!(incoming, Ok(Incoming::Negotiated(Some((V3_0, best)))));
    endpoint
}

#[test]
fn the_answer_to_an_offer_is_what_linux_sends() {
    let mut endpoint = Endpoint::new(Service::Heartbeat);
    let mut payload = offer(V1_0, [V1_0, V3_0]);
    let incoming = endpoint.handle(&mut payload);
    assert_eq!(incoming, Ok(Incoming::Negotiated(Some((V1_0, V3_0)))));
    assert_eq!(endpoint.versions(), Some((V1_0, V3_0)));
    let (prefix, body) = Prefix::parse(&payload).unwrap();
    assert_eq!(prefix.flags(), Flags::TRANSACTION | Flags::RESPONSE);
    assert_eq!((prefix.status(), prefix.transaction_id), (Status::OK, 77));
    assert_eq!(prefix.body_length.get(), 16);
    // The length of the packet stays.
    assert_eq!(
        body,
        [1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0]
    );
}

#[test]
fn an_offer_without_a_common_version_is_refused() {
    for (service, payload) in [
        (Service::Heartbeat, offer(V3_0, [Version::new(9, 0); 2])),
        (Service::Heartbeat, offer(Version::new(2, 0), [V1_0, V3_0])),
        // Linux' daemons speak only the newer framework.
        (Service::Vss, offer(V1_0, [Version::new(5, 0); 2])),
        // It claims more versions than it has.
        (
            Service::Heartbeat,
            message(
                MessageType::NEGOTIATE,
                &[1, 0, 9, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0],
            ),
        ),
    ] {
        let mut payload = payload;
        let mut endpoint = ready(service);
        assert_eq!(
            endpoint.handle(&mut payload),
            Ok(Incoming::Negotiated(None))
        );
        assert_eq!(endpoint.versions(), None);
        let (prefix, body) = Prefix::parse(&payload).unwrap();
        assert_eq!((prefix.status(), &body[..16]), (Status::FAIL, &[0; 16][..]));
    }
}

#[test]
fn what_has_no_room_for_an_answer_has_none() {
    let mut endpoint = Endpoint::new(Service::Shutdown);
    for length in 0..44 {
        let mut payload = message(MessageType::NEGOTIATE, &[0; 15]);
        payload.truncate(length);
        let short = if length < 28 {
            length
        } else {
            length.min(43) - 28
        };
        assert_eq!(endpoint.handle(&mut payload), Err(Malformed::Short(short)));
    }
}

#[test]
fn requests_before_a_choice_and_of_other_services_fail() {
    let mut payload = message(MessageType::HEARTBEAT, &[0; 40]);
    let incoming = Endpoint::new(Service::Heartbeat).handle(&mut payload);
    assert_eq!(incoming, Ok(Incoming::Refused(MessageType::HEARTBEAT)));
    for other in [MessageType::SHUTDOWN, MessageType(99)] {
        let mut payload = message(other, &[0; 40]);
        let mut endpoint = ready(Service::Heartbeat);
        assert_eq!(endpoint.handle(&mut payload), Ok(Incoming::Refused(other)));
        assert_eq!(Prefix::parse(&payload).unwrap().0.status(), Status::FAIL);
    }
}

#[test]
fn a_request_is_answered_in_place() {
    let mut endpoint = ready(Service::Heartbeat);
    for (sequence, next) in [(0, 1), (u64::MAX, 0)] {
        let mut body = [0; 40];
        body[..8].copy_from_slice(&u64::to_le_bytes(sequence));
        let mut payload = message(MessageType::HEARTBEAT, &body);
        let Ok(Incoming::Request(request)) = endpoint.handle(&mut payload) else {
            panic!("no request");
        };
        heartbeat::respond(request.version, ApplicationState::HEALTHY, request.body).unwrap();
        request.answer(Status::OK);
        let (prefix, body) = Prefix::parse(&payload).unwrap();
        assert_eq!((prefix.status(), prefix.flags), (Status::OK, 5));
        assert_eq!(Beat::parse(body), Ok((next, ApplicationState::HEALTHY)));
    }
}

#[test]
fn a_beat_says_how_the_applications_are_where_it_may() {
    let respond = |version, length: usize| {
        let mut body = [0; 40];
        let result = heartbeat::respond(version, ApplicationState::CRITICAL, &mut body[..length]);
        result.map(|()| Beat::parse(&body).unwrap())
    };
    assert_eq!(respond(V3_0, 12), Ok((1, ApplicationState::CRITICAL)));
    assert_eq!(respond(V3_0, 11), Ok((1, ApplicationState::UNKNOWN)));
    assert_eq!(respond(V1_0, 40), Ok((1, ApplicationState::UNKNOWN)));
    assert_eq!(respond(V3_0, 7), Err(Malformed::Short(7)));
}

#[test]
fn the_flags_of_a_shutdown_say_what_to_do() {
    for (flags, action) in [
        (0, Some(Action::PowerOff)),
        (1, Some(Action::PowerOff)),
        (2, Some(Action::Restart)),
        (3, Some(Action::Restart)),
        (4, Some(Action::Hibernate)),
        (5, Some(Action::Hibernate)),
        (6, None),
        (7, None),
        (8, None),
        (0x8000_0000, None),
    ] {
        assert_eq!(
            ShutdownFlags::from_bits_retain(flags).action(),
            action,
            "{flags:#x}"
        );
    }
}

proptest! {
    #[test]
    fn no_message_breaks_the_end(messages in proptest::collection::vec((0u16..9, any::<Vec<u8>>(), any::<bool>()), 0..8)) {
        for service in Service::ALL {
            let mut endpoint = Endpoint::new(service);
            for (message_type, bytes, framed) in &messages {
                let mut payload = if *framed {
                    message(MessageType(*message_type), bytes)
                } else {
                    bytes.clone()
                };
                let length = payload.len();
                let incoming = endpoint.handle(&mut payload);
                if let Ok(Incoming::Request(request)) = incoming {
                    let _ = heartbeat::respond(request.version, ApplicationState::UNKNOWN, request.body);
                    request.answer(Status::OK);
                }
                prop_assert_eq!(payload.len(), length);
                if let Some((framework, message)) = endpoint.versions() {
                    prop_assert!(service.framework_versions().contains(&framework));
                    prop_assert!(service.message_versions().contains(&message));
                }
            }
        }
    }
}
