// SPDX-License-Identifier: GPL-2.0

//! The defects that were read in the C driver's channel management: none of them happens here.

use crate::guest::{relid, Guest};
use crate::host::{forged, message, offer};
use vmbus_proto::message::wire::{self, Status};
use vmbus_proto::message::MessageType;
use vmbus_proto::*;

#[test]
fn defect_4_a_refused_offer_does_not_hold_up_later_rescinds() {
    let mut guest = Guest::connected(Version::V6_0, &[(1, 1, 0)]);
    // External memory is confidential, but not the rings: the offer that leaves the C driver's count at one.
    guest.host.offer(2, 2, 0);
    guest.host.to_guest.clear();
    guest.host.scribble(&message(&wire::OfferChannel {
        flags: 4.into(),
        ..offer(2, 2, 0)
    }));
    guest.deliver_all();
    assert!(matches!(guest.refusals[..], [Refusal::Bad(_)]));
    assert_eq!(guest.host.released, [2]);

    guest
        .host
        .scribble(&message(&wire::RescindChannelOffer { relid: 2.into() }));
    guest.host.rescind(1);
    guest.deliver_all();
    assert_eq!(guest.errors, [ProtocolError::UnknownRelid(relid(2))]);
    assert!(matches!(guest.last(), Event::Rescinded { .. }));
}

#[test]
fn defect_4_a_rescind_of_nothing_is_an_error_and_no_wait() {
    let mut guest = Guest::connected(Version::V6_0, &[]);
    for number in [0, 1, 2047, 2048, u32::MAX] {
        guest.handle(&message(&wire::RescindChannelOffer {
            relid: number.into(),
        }));
    }
    assert_eq!(
        guest.errors,
        [
            ProtocolError::BadRelid(0),
            ProtocolError::UnknownRelid(relid(1)),
            ProtocolError::UnknownRelid(relid(2047)),
            ProtocolError::BadRelid(2048),
            ProtocolError::BadRelid(u32::MAX),
        ]
    );
}

#[test]
fn defect_6_contact_without_an_answer_is_given_up() {
    let mut guest = Guest::new(crate::host::Host::new(Version::V6_0));
    guest.contact(Version::V6_0).unwrap();
    guest.abandon(Request::Contact).unwrap();
    guest.deliver_all();
    assert_eq!(
        guest.errors,
        [ProtocolError::Unexpected(MessageType::VERSION_RESPONSE)]
    );
    assert_eq!(guest.contact(Version::V6_0), Err(RequestError::WrongState));
}

#[test]
fn defect_6_a_late_open_is_closed() {
    let mut guest = Guest::connected(Version::V6_0, &[(1, 1, 0)]);
    let ring = guest.create_gpadl(relid(1)).unwrap();
    guest.deliver_all();
    guest.open(relid(1), ring).unwrap();
    guest.abandon(Request::Open(relid(1))).unwrap();
    // The host may open the channel at any time, so that the rings stay where they are.
    let wrong = Err(RequestError::WrongState);
    assert_eq!(guest.teardown_gpadl(relid(1), ring), wrong);
    assert_eq!(guest.open(relid(1), ring), wrong);
    assert_eq!(guest.close(relid(1)), wrong);
    assert_eq!(guest.release(relid(1)), wrong);

    assert!(guest.host.target_vp(1).is_some());
    guest.deliver_all();
    assert!(matches!(
        guest.last(),
        Event::LateOpen { close: Some(_), .. }
    ));
    assert_eq!(guest.host.target_vp(1), None);
    guest.teardown_gpadl(relid(1), ring).unwrap();
    guest.deliver_all();
    guest.release(relid(1)).unwrap();
    guest.assert_empty();
}

#[test]
fn defect_6_a_late_failure_to_open_needs_no_close() {
    let mut guest = Guest::connected(Version::V6_0, &[(1, 1, 0)]);
    let ring = guest.create_gpadl(relid(1)).unwrap();
    guest.deliver_all();
    guest.host.status = Status::UNSUCCESSFUL;
    guest.open(relid(1), ring).unwrap();
    guest.abandon(Request::Open(relid(1))).unwrap();
    guest.deliver_all();
    assert!(matches!(guest.last(), Event::LateOpen { close: None, .. }));
    assert!(guest.teardown_gpadl(relid(1), ring).is_ok());
}

#[test]
fn defect_6_late_memory_is_torn_down() {
    let mut guest = Guest::connected(Version::V6_0, &[(1, 1, 0)]);
    let gpadl = guest.create_gpadl(relid(1)).unwrap();
    guest
        .abandon(Request::CreateGpadl(relid(1), gpadl))
        .unwrap();
    assert_eq!(
        guest.teardown_gpadl(relid(1), gpadl),
        Err(RequestError::WrongState)
    );
    assert_eq!(guest.open(relid(1), gpadl), Err(RequestError::WrongState));
    assert_eq!(guest.release(relid(1)), Err(RequestError::WrongState));
    assert!(guest.deliver());
    assert!(matches!(guest.last(), Event::LateGpadl { .. }));
    assert!(guest.deliver());
    assert!(matches!(guest.last(), Event::GpadlTorndown { .. }));
    guest.release(relid(1)).unwrap();
    guest.assert_empty();
}

#[test]
fn defect_6_late_failure_to_create_memory_frees_it() {
    let mut guest = Guest::connected(Version::V6_0, &[(1, 1, 0)]);
    guest.host.status = Status::UNSUCCESSFUL;
    let gpadl = guest.create_gpadl(relid(1)).unwrap();
    guest
        .abandon(Request::CreateGpadl(relid(1), gpadl))
        .unwrap();
    guest.deliver_all();
    assert!(matches!(guest.last(), Event::GpadlTorndown { gpadl: gone, .. } if *gone == gpadl));
    guest.release(relid(1)).unwrap();
    guest.assert_empty();
}

#[test]
fn defect_6_a_late_move_of_an_interrupt_is_no_answer_to_the_next() {
    let mut guest = Guest::connected(Version::V6_0, &[(1, 1, 0)]);
    guest.opened(relid(1));
    guest.modify(relid(1), 7).unwrap();
    guest.abandon(Request::ModifyChannel(relid(1))).unwrap();
    assert_eq!(guest.modify(relid(1), 8), Err(RequestError::WrongState));
    guest.deliver_all();
    assert!(matches!(
        guest.last(),
        Event::Ignored(MessageType::MODIFY_CHANNEL_RESPONSE)
    ));
    guest.modify(relid(1), 8).unwrap();
    guest.deliver_all();
    assert!(matches!(guest.last(), Event::ModifyResponse { .. }));
}

#[test]
fn defect_6_an_unload_without_an_answer_is_given_up() {
    let mut guest = Guest::connected(Version::V6_0, &[(1, 1, 0)]);
    guest.unload().unwrap();
    guest.abandon(Request::Unload).unwrap();
    guest.deliver_all();
    assert!(matches!(guest.last(), Event::Unloaded));
}

#[test]
fn defect_11_the_relid_of_a_duplicate_device_is_given_back() {
    let mut guest = Guest::connected(Version::V6_0, &[(1, 1, 0)]);
    guest.host.offer(2, 1, 0);
    guest.deliver_all();
    assert_eq!(guest.refusals, [Refusal::DuplicatePrimary(relid(1))]);
    assert_eq!(guest.host.released, [2]);
    assert!(guest.client.channel(relid(2)).is_none());
    guest.opened(relid(1));
}

#[test]
fn defect_11_the_relid_of_an_offer_without_room_is_given_back() {
    let mut client = Guest::connected(Version::V6_0, &[]).client;
    for number in 1..=2047 {
        let instance = hvdef::Guid::from_bytes(u128::from(number).to_le_bytes());
        let wire = wire::OfferChannel {
            instance,
            ..offer(number, 0, 0)
        };
        let event = client.handle_message(&message(&wire));
        assert!(matches!(event, Ok(Event::Offered { .. })));
    }
    assert_eq!(client.table().iter().count(), 2047);

    let mut guest = Guest::new(crate::host::Host::new(Version::V6_0));
    guest.client = Client::new(crate::guest::Table::with_capacity(2));
    guest.contact(Version::V6_0).unwrap();
    guest.deliver_all();
    guest.host.devices = vec![(1, 1, 0), (2, 2, 0), (3, 3, 0)];
    guest.request_offers().unwrap();
    guest.deliver_all();
    assert_eq!(guest.refusals, [Refusal::NoRoom]);
    assert_eq!(guest.host.released, [3]);
}

#[test]
fn defect_11_a_relid_in_use_stays_with_its_channel() {
    let mut guest = Guest::connected(Version::V6_0, &[(1, 1, 0)]);
    guest.opened(relid(1));
    guest.handle(&message(&offer(1, 1, 0)));
    guest.handle(&message(&offer(1, 2, 0)));
    guest.handle(&message(&offer(1, 1, 1)));
    assert_eq!(guest.errors, [ProtocolError::RelidInUse(relid(1)); 3]);
    assert_eq!(guest.host.released, []);
    guest.close(relid(1)).unwrap();
    // A rescinded channel has its relid until that is given back.
    guest.host.rescind(1);
    guest.deliver_all();
    guest.handle(&message(&offer(1, 1, 0)));
    assert_eq!(
        guest.errors.last(),
        Some(&ProtocolError::RelidInUse(relid(1)))
    );
}

#[test]
fn a_socket_result_is_none_of_our_business() {
    let mut guest = Guest::connected(Version::V6_0, &[]);
    guest.handle(&forged(23, &[0; 36]));
    assert!(matches!(
        guest.last(),
        Event::Ignored(MessageType::TL_CONNECT_RESULT)
    ));
}
