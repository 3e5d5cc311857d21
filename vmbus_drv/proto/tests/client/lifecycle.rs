// SPDX-License-Identifier: GPL-2.0

//! Everything that works, in each version.

use crate::guest::{contact, params, relid, Guest};
use crate::host::{Host, MESSAGE_CONNECTION};
use vmbus_proto::message::wire::{self, ConnectionState, Status};
use vmbus_proto::message::MessageType;
use vmbus_proto::*;
use zerocopy::FromZeros;

#[test]
fn the_best_common_version_is_agreed_on() {
    for host_version in Version::SUPPORTED {
        for max_version in Version::SUPPORTED {
            let mut guest = Guest::new(Host::new(host_version));
            guest.contact(max_version).unwrap();
            guest.deliver_all();
            let best = host_version.min(max_version);
            let connection = if best >= Version::V5_0 {
                MESSAGE_CONNECTION
            } else {
                1
            };
            let Event::VersionAccepted {
                version,
                connection_id,
            } = *guest.last()
            else {
                panic!()
            };
            assert_eq!((version, connection_id), (best, connection));
            assert_eq!(guest.client.version(), Some(best));
            assert_eq!(guest.outstanding, []);
        }
    }
}

#[test]
fn contact_says_where_messages_go() {
    let mut guest = Guest::new(Host::new(Version::V6_0));
    guest.contact(Version::V6_0).unwrap();
    let sent = guest.host.contacted.unwrap();
    assert_eq!((sent.version.get(), sent.target_vp.get()), (0x6_0000, 3));
    // SINT 2, VTL 0, no features.
    assert_eq!(sent.interrupt_page_or_target, [2, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(sent.parent_to_child_monitor_page.get(), 0x2222_3000);
    assert_eq!(sent.child_to_parent_monitor_page.get(), 0x3333_4000);

    let mut guest = Guest::new(Host::new(Version::V4_1));
    guest.contact(Version::V4_1).unwrap();
    let sent = guest.host.contacted.unwrap();
    assert_eq!(sent.interrupt_page_or_target, 0x1111_2000u64.to_le_bytes());
}

#[test]
fn an_older_host_is_refused() {
    let mut guest = Guest::new(Host::new(Version(0x3_0000)));
    guest.contact(Version::V6_0).unwrap();
    guest.deliver_all();
    let Event::Refused { version, state } = *guest.last() else {
        panic!()
    };
    assert_eq!((version, state), (Version::MINIMUM, None));
    assert_eq!(guest.host.received.len(), Version::SUPPORTED.len());
    assert!(guest.contact(Version::V6_0).is_ok());
}

#[test]
fn a_maximum_below_the_minimum_is_an_error() {
    let mut guest = Guest::new(Host::new(Version::V6_0));
    assert_eq!(
        guest.contact(Version(0x3_0000)),
        Err(RequestError::Unsupported)
    );
    assert!(guest.contact(Version::V4_0).is_ok());
}

#[test]
fn a_host_without_resources_refuses() {
    let mut guest = Guest::new(Host::new(Version::V6_0));
    guest.contact(Version::V6_0).unwrap();
    guest.host.to_guest.clear();
    guest.host.send(&wire::VersionResponse {
        version_supported: 1,
        connection_state: 1,
        ..wire::VersionResponse::new_zeroed()
    });
    guest.deliver_all();
    let Event::Refused { version, state } = *guest.last() else {
        panic!()
    };
    assert_eq!(
        (version, state),
        (Version::V6_0, Some(ConnectionState::LOW_RESOURCES))
    );
    assert_eq!(guest.client.version(), None);
}

#[test]
fn a_host_without_connection_4_is_asked_for_older_versions() {
    let mut client = Guest::new(Host::new(Version::V4_1)).client;
    let mut message = client.initiate_contact(contact(Version::V5_1)).unwrap();
    let mut posted = Vec::new();
    while message.connection_id() == 4 {
        posted.push(message);
        let Ok(Event::ContactRetry { message: next, .. }) = client.contact_unreachable() else {
            panic!()
        };
        message = next;
    }
    assert_eq!(posted.len(), 2);
    assert_eq!(message.connection_id(), 1);
    assert!(client.contact_unreachable().is_ok());
    assert!(matches!(
        client.contact_unreachable(),
        Ok(Event::Refused { .. })
    ));
    assert!(matches!(
        client.contact_unreachable(),
        Err(RequestError::WrongState)
    ));
}

#[test]
fn nothing_goes_without_a_connection() {
    let mut guest = Guest::new(Host::new(Version::V6_0));
    let ring = GpadlId(1);
    for step in 0..2 {
        assert_eq!(
            guest.request_offers(),
            Err(RequestError::NotConnected),
            "{step}"
        );
        assert_eq!(
            guest.create_gpadl(relid(1)),
            Err(RequestError::NotConnected)
        );
        assert_eq!(guest.open(relid(1), ring), Err(RequestError::NotConnected));
        assert_eq!(guest.close(relid(1)), Err(RequestError::NotConnected));
        assert_eq!(
            guest.teardown_gpadl(relid(1), ring),
            Err(RequestError::NotConnected)
        );
        assert_eq!(guest.modify(relid(1), 0), Err(RequestError::NotConnected));
        assert_eq!(guest.release(relid(1)), Err(RequestError::NotConnected));
        assert_eq!(guest.unload(), Err(RequestError::NotConnected));
        assert!(!guest.client.can_retarget());
        let _ = guest.contact(Version::V6_0);
    }
}

#[test]
fn a_channel_lives_in_every_version() {
    for version in Version::SUPPORTED {
        let mut guest = Guest::connected(version, &[(1, 1, 0), (2047, 2, 0)]);
        let relid = relid(2047);
        assert_eq!(
            guest.client.channel(relid).unwrap().state(),
            ChannelState::Closed
        );

        let ring = guest.opened(relid);
        assert_eq!(
            guest.client.channel(relid).unwrap().state(),
            ChannelState::Open { ring }
        );
        assert_eq!(guest.host.pfns(ring.0), [0x1000, 0x1001]);
        let sent = guest.host.opened.unwrap();
        assert_eq!(
            (sent.ring_gpadl.get(), sent.downstream_page_offset.get()),
            (ring.0, 1)
        );
        assert_eq!((sent.target_vp.get(), sent.user_data), (5, [0xab; 120]));

        assert_eq!(guest.client.can_retarget(), version >= Version::V4_1);
        assert_eq!(guest.client.answers_retarget(), version >= Version::V5_3);
        if guest.client.can_retarget() {
            for vp in [9, 1] {
                guest.modify(relid, vp).unwrap();
                guest.deliver_all();
                assert_eq!(guest.host.target_vp(relid.get()), Some(vp));
            }
        } else {
            assert_eq!(guest.modify(relid, 9), Err(RequestError::Unsupported));
        }

        guest.close(relid).unwrap();
        assert_eq!(guest.release(relid), Err(RequestError::WrongState));
        guest.teardown_gpadl(relid, ring).unwrap();
        guest.deliver_all();
        assert!(matches!(guest.last(), Event::GpadlTorndown { gpadl, .. } if *gpadl == ring));
        guest.release(relid).unwrap();
        guest.release(self::relid(1)).unwrap();
        assert_eq!(guest.errors, []);
        guest.assert_empty();
    }
}

#[test]
fn a_channel_can_be_opened_again() {
    let mut guest = Guest::connected(Version::V6_0, &[(1, 1, 0)]);
    let ring = guest.opened(relid(1));
    for _ in 0..3 {
        guest.close(relid(1)).unwrap();
        guest.open(relid(1), ring).unwrap();
        guest.deliver_all();
        assert!(matches!(
            guest.last(),
            Event::OpenResult {
                status: Status::SUCCESS,
                ..
            }
        ));
    }
    assert_eq!(guest.errors, []);
}

#[test]
fn a_close_that_was_not_posted_can_be_tried_again() {
    let mut guest = Guest::connected(Version::V6_0, &[(1, 1, 0), (2, 2, 0)]);
    let (ring, other) = (guest.opened(relid(1)), guest.opened(relid(2)));
    let wrong = Err(RequestError::WrongState);
    assert_eq!(guest.client.close_not_posted(relid(1), ring), wrong);
    let _unposted = guest.client.close(relid(1)).unwrap();
    assert_eq!(
        guest.client.close_not_posted(relid(1), other),
        Err(RequestError::UnknownGpadl)
    );
    guest.client.close_not_posted(relid(1), ring).unwrap();
    // The host has the channel open, so the memory is in its hands.
    assert_eq!(guest.teardown_gpadl(relid(1), ring), wrong);
    guest.close(relid(1)).unwrap();
    guest.teardown_gpadl(relid(1), ring).unwrap();
    assert_eq!(guest.client.close_not_posted(relid(1), ring), wrong);
    guest.deliver_all();
    assert!(matches!(guest.last(), Event::GpadlTorndown { gpadl, .. } if *gpadl == ring));
    assert_eq!(guest.errors, []);
}

#[test]
fn what_the_host_fails_leaves_nothing() {
    let mut guest = Guest::connected(Version::V6_0, &[(1, 1, 0)]);
    guest.host.status = Status::INSUFFICIENT_RESOURCES;
    let gpadl = guest.create_gpadl(relid(1)).unwrap();
    guest.deliver_all();
    assert!(matches!(
        guest.last(),
        Event::GpadlCreated {
            status: Status::INSUFFICIENT_RESOURCES,
            ..
        }
    ));
    assert_eq!(guest.open(relid(1), gpadl), Err(RequestError::UnknownGpadl));

    guest.host.status = Status::SUCCESS;
    let ring = guest.create_gpadl(relid(1)).unwrap();
    guest.deliver_all();
    guest.host.status = Status::UNSUCCESSFUL;
    guest.open(relid(1), ring).unwrap();
    guest.deliver_all();
    assert!(matches!(
        guest.last(),
        Event::OpenResult {
            status: Status::UNSUCCESSFUL,
            ..
        }
    ));
    assert_eq!(
        guest.client.channel(relid(1)).unwrap().state(),
        ChannelState::Closed
    );

    guest.host.status = Status::SUCCESS;
    guest.open(relid(1), ring).unwrap();
    guest.deliver_all();
    guest.host.status = Status::UNSUCCESSFUL;
    guest.modify(relid(1), 9).unwrap();
    guest.deliver_all();
    assert!(matches!(
        guest.last(),
        Event::ModifyResponse {
            status: Status::UNSUCCESSFUL,
            ..
        }
    ));
    assert_eq!(guest.host.target_vp(1), Some(5));
    assert_eq!(guest.errors, []);
}

#[test]
fn the_wrong_request_at_the_wrong_time_is_an_error() {
    let mut guest = Guest::connected(Version::V6_0, &[(1, 1, 0), (2, 2, 0)]);
    let wrong = Err(RequestError::WrongState);
    assert_eq!(guest.contact(Version::V6_0), wrong);
    assert_eq!(guest.request_offers(), wrong);
    assert_eq!(guest.close(relid(1)), wrong);
    assert_eq!(guest.modify(relid(1), 0), wrong);
    assert_eq!(guest.close(relid(3)), Err(RequestError::UnknownRelid));
    assert_eq!(guest.release(relid(3)), Err(RequestError::UnknownRelid));
    assert_eq!(
        guest.open(relid(1), GpadlId(1)),
        Err(RequestError::UnknownGpadl)
    );

    let ring = guest.create_gpadl(relid(1)).unwrap();
    assert_eq!(guest.open(relid(1), ring), wrong);
    assert_eq!(guest.teardown_gpadl(relid(1), ring), wrong);
    guest.deliver_all();
    assert_eq!(guest.open(relid(2), ring), Err(RequestError::UnknownGpadl));
    assert_eq!(
        guest.teardown_gpadl(relid(2), ring),
        Err(RequestError::UnknownGpadl)
    );

    guest.open(relid(1), ring).unwrap();
    assert_eq!(guest.open(relid(1), ring), wrong);
    assert_eq!(guest.close(relid(1)), wrong);
    assert_eq!(guest.modify(relid(1), 0), wrong);
    assert_eq!(guest.teardown_gpadl(relid(1), ring), wrong);
    assert_eq!(guest.release(relid(1)), wrong);
    guest.deliver_all();
    assert_eq!(guest.open(relid(1), ring), wrong);
    assert_eq!(guest.teardown_gpadl(relid(1), ring), wrong);
    guest.modify(relid(1), 0).unwrap();
    assert_eq!(guest.modify(relid(1), 1), wrong);
    guest.deliver_all();
    guest.close(relid(1)).unwrap();
    assert_eq!(guest.close(relid(1)), wrong);
    guest.teardown_gpadl(relid(1), ring).unwrap();
    assert_eq!(guest.teardown_gpadl(relid(1), ring), wrong);
    assert_eq!(guest.open(relid(1), ring), wrong);
    guest.deliver_all();
    assert_eq!(
        guest.teardown_gpadl(relid(1), ring),
        Err(RequestError::UnknownGpadl)
    );
    assert_eq!(guest.errors, []);
}

#[test]
fn the_downstream_ring_lies_in_the_memory() {
    let mut guest = Guest::connected(Version::V6_0, &[(1, 1, 0)]);
    let ring = guest.create_gpadl(relid(1)).unwrap();
    guest.deliver_all();
    for (offset, good) in [
        (0, false),
        (2, false),
        (3, false),
        (u32::MAX, false),
        (1, true),
    ] {
        let params = OpenParams {
            downstream_page_offset: offset,
            ..params(ring)
        };
        let result = guest.client.open(relid(1), &params);
        assert_eq!(result.is_ok(), good, "{offset}");
        assert!(good || matches!(result, Err(RequestError::BadParameter)));
    }
}

#[test]
fn a_channel_has_at_most_eight_gpadls() {
    let mut guest = Guest::connected(Version::V6_0, &[(1, 1, 0)]);
    let gpadls: Vec<GpadlId> = (0..8)
        .map(|_| guest.create_gpadl(relid(1)).unwrap())
        .collect();
    assert_eq!(
        guest.create_gpadl(relid(1)),
        Err(RequestError::TooManyGpadls)
    );
    guest.deliver_all();
    assert_eq!(guest.host.gpadls(), 8);
    guest.teardown_gpadl(relid(1), gpadls[3]).unwrap();
    guest.deliver_all();
    let ninth = guest.create_gpadl(relid(1)).unwrap();
    assert!(!gpadls.contains(&ninth));
}

#[test]
fn subchannels_belong_to_their_device() {
    let mut guest = Guest::connected(Version::V5_0, &[(1, 1, 0), (2, 2, 0)]);
    guest.host.offer(7, 2, 1);
    guest.host.offer(8, 1, 1);
    guest.host.offer(9, 2, 2);
    guest.deliver_all();
    let offered: Vec<(u32, u32)> = guest
        .events
        .iter()
        .map(|event| match event {
            Event::SubchannelOffered { primary, relid } => (primary.get(), relid.get()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(offered, [(2, 7), (1, 8), (2, 9)]);
    for number in [7, 8, 9] {
        guest.opened(relid(number));
    }
    // The same index again, and a device that is not there.
    guest.host.offer(10, 2, 2);
    guest.host.offer(11, 3, 1);
    guest.deliver_all();
    assert_eq!(
        guest.refusals,
        [Refusal::DuplicateSubchannel(relid(9)), Refusal::NoPrimary]
    );
    assert_eq!(guest.host.released, [10, 11]);
}

#[test]
fn a_relid_may_be_offered_again_after_its_release() {
    let mut guest = Guest::connected(Version::V6_0, &[(1, 1, 0)]);
    for _ in 0..3 {
        guest.host.rescind(1);
        guest.deliver_all();
        assert!(matches!(guest.last(), Event::Rescinded { .. }));
        guest.release(relid(1)).unwrap();
        assert_eq!(guest.release(relid(1)), Err(RequestError::UnknownRelid));
        guest.host.offer(1, 1, 0);
        guest.deliver_all();
        assert!(matches!(guest.last(), Event::Offered { .. }));
    }
    assert_eq!(guest.errors, []);
    assert_eq!(guest.host.released, [1, 1, 1]);
}

#[test]
fn a_device_may_come_back_before_its_old_relid_is_released() {
    let mut guest = Guest::connected(Version::V6_0, &[(1, 1, 0)]);
    guest.host.rescind(1);
    guest.host.offer(2, 1, 0);
    guest.host.offer(3, 1, 1);
    guest.deliver_all();
    assert_eq!(guest.refusals, []);
    let Event::SubchannelOffered { primary, .. } = *guest.last() else {
        panic!()
    };
    assert_eq!(primary, relid(2));
    guest.release(relid(1)).unwrap();
}

#[test]
fn offers_come_at_any_time_after_the_request_and_not_before() {
    let mut guest = Guest::new(Host::new(Version::V6_0));
    guest.contact(Version::V6_0).unwrap();
    guest.deliver_all();
    guest.handle(&crate::host::message(&crate::host::offer(1, 1, 0)));
    assert_eq!(
        guest.errors,
        [ProtocolError::Unexpected(MessageType::OFFER_CHANNEL)]
    );
    guest.request_offers().unwrap();
    guest.deliver_all();
    assert!(matches!(guest.last(), Event::AllOffersDelivered));
    guest.host.offer(1, 1, 0);
    guest.deliver_all();
    assert!(matches!(guest.last(), Event::Offered { .. }));
    guest.handle(&crate::host::message(&wire::AllOffersDelivered {}));
    assert_eq!(
        guest.errors[1..],
        [ProtocolError::Unexpected(MessageType::ALL_OFFERS_DELIVERED)]
    );
}

#[test]
fn unloading_ends_everything_and_contact_can_be_made_again() {
    let mut guest = Guest::connected(Version::V6_0, &[(1, 1, 0), (2, 2, 0)]);
    guest.opened(relid(1));
    guest.create_gpadl(relid(2)).unwrap();
    guest.unload().unwrap();
    // The answer of before the request does no harm.
    guest.deliver_all();
    assert!(matches!(guest.last(), Event::Unloaded));
    guest.assert_empty();
    assert_eq!(guest.errors, []);

    guest.host.devices = vec![(1, 1, 0)];
    guest.contact(Version::V6_0).unwrap();
    guest.deliver_all();
    guest.request_offers().unwrap();
    guest.deliver_all();
    guest.opened(relid(1));
}

#[test]
fn while_unloading_nothing_else_goes() {
    let mut guest = Guest::connected(Version::V6_0, &[(1, 1, 0)]);
    guest.unload().unwrap();
    assert_eq!(guest.release(relid(1)), Err(RequestError::NotConnected));
    assert_eq!(guest.contact(Version::V6_0), Err(RequestError::WrongState));
    assert_eq!(guest.unload(), Err(RequestError::NotConnected));
    guest.handle(&crate::host::message(&crate::host::offer(5, 5, 0)));
    assert!(matches!(
        guest.last(),
        Event::Ignored(MessageType::OFFER_CHANNEL)
    ));
}

#[test]
fn what_was_not_posted_did_not_happen() {
    let mut client = Guest::new(Host::new(Version::V6_0)).client;
    let before = format!("{client:?}");
    let _ = client.initiate_contact(contact(Version::V6_0)).unwrap();
    client.not_posted(Request::Contact).unwrap();
    assert_eq!(format!("{client:?}"), before);
    assert_eq!(
        client.not_posted(Request::Contact),
        Err(RequestError::WrongState)
    );

    let mut guest = Guest::connected(Version::V6_0, &[(1, 1, 0)]);
    let ring = guest.opened(relid(1));
    let client = &mut guest.client;
    let state = |client: &Client<_>| client.channel(relid(1)).unwrap().state();

    let _ = client.modify_channel(relid(1), 0).unwrap();
    client.not_posted(Request::ModifyChannel(relid(1))).unwrap();
    let again = Request::ModifyChannel(relid(1));
    assert_eq!(client.not_posted(again), Err(RequestError::WrongState));

    let _ = client.unload().unwrap();
    client.not_posted(Request::Unload).unwrap();
    guest.close(relid(1)).unwrap();

    let client = &mut guest.client;
    let _ = client.open(relid(1), &params(ring)).unwrap();
    client.not_posted(Request::Open(relid(1))).unwrap();
    assert_eq!(state(client), ChannelState::Closed);

    let _ = client.teardown_gpadl(relid(1), ring).unwrap();
    client
        .not_posted(Request::TeardownGpadl(relid(1), ring))
        .unwrap();
    guest.open(relid(1), ring).unwrap();
    guest.deliver_all();

    let client = &mut guest.client;
    let (gpadl, _) = client
        .create_gpadl(relid(1), Range::pages(1).unwrap(), 0..)
        .unwrap();
    client
        .not_posted(Request::CreateGpadl(relid(1), gpadl))
        .unwrap();
    let teardown = client.teardown_gpadl(relid(1), gpadl);
    assert!(matches!(teardown, Err(RequestError::UnknownGpadl)));

    let mut guest = Guest::new(Host::new(Version::V6_0));
    guest.contact(Version::V6_0).unwrap();
    guest.deliver_all();
    let _ = guest.client.request_offers().unwrap();
    guest.client.not_posted(Request::Offers).unwrap();
    assert!(guest.request_offers().is_ok());
}

#[test]
fn a_withdrawal_that_crosses_the_release_is_not_of_the_next_channel() {
    for withdrawn_again in [false, true] {
        let mut guest = Guest::connected(Version::V6_0, &[]);
        guest.host.offer(4, 4, 0);
        assert!(guest.deliver());
        guest.host.rescind(4);
        guest.release(relid(4)).unwrap();
        guest.host.offer(4, 4, 0);
        if withdrawn_again {
            guest.host.rescind(4);
        }

        assert!(guest.deliver());
        assert_eq!(guest.errors, [ProtocolError::UnknownRelid(relid(4))]);
        assert!(guest.deliver());
        assert!(matches!(guest.last(), Event::Offered { .. }));
        // The host lets this pass: the guest does not know of the second withdrawal.
        guest.create_gpadl(relid(4)).unwrap();
        guest.deliver_all();
        if withdrawn_again {
            assert!(matches!(guest.last(), Event::Rescinded { .. }));
        } else {
            guest.opened(relid(4));
        }
    }
}
