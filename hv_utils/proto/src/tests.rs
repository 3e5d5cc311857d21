// SPDX-License-Identifier: GPL-2.0

//! Tests of the layouts against `hyperv.h`, and of the parsers against bytes of a hostile peer.

use crate::*;
use memoffset::{offset_of, span_of};
use proptest::prelude::*;
use std::vec::Vec;
use zerocopy::IntoBytes;

#[test]
fn the_prefix_is_that_of_hyperv_h() {
    assert_eq!(size_of::<PipeHeader>(), 8);
    assert_eq!(Prefix::SIZE, 28);
    assert_eq!(span_of!(Prefix, framework), 8..12);
    assert_eq!(span_of!(Prefix, message_type), 12..14);
    assert_eq!(span_of!(Prefix, message), 14..18);
    assert_eq!(span_of!(Prefix, body_length), 18..20);
    assert_eq!(span_of!(Prefix, status), 20..24);
    assert_eq!(offset_of!(Prefix, transaction_id), 24);
    assert_eq!(offset_of!(Prefix, flags), 25);
    assert_eq!(span_of!(Prefix, reserved), 26..28);
}

#[test]
fn the_bodies_are_those_of_hyperv_h() {
    assert_eq!(size_of::<negotiation::Counts>(), 8);
    assert_eq!(size_of::<negotiation::Answer>(), 16);

    assert_eq!(size_of::<shutdown::Request>(), 2060);
    assert_eq!(span_of!(shutdown::Request, flags), 8..12);

    assert_eq!(size_of::<heartbeat::Beat>(), 40);
    assert_eq!(span_of!(heartbeat::Beat, application_state), 8..12);

    assert_eq!(size_of::<timesync::Sample>(), 25);
    assert_eq!(offset_of!(timesync::Sample, flags), 24);
    assert_eq!(size_of::<timesync::ReferenceSample>(), 22);
    assert_eq!(span_of!(timesync::ReferenceSample, reference_time), 8..16);
    assert_eq!(offset_of!(timesync::ReferenceSample, flags), 16);
    assert_eq!(offset_of!(timesync::ReferenceSample, stratum), 18);

    assert_eq!(size_of::<vss::Message>(), 12);
    assert_eq!(span_of!(vss::Message, flags), 8..12);
}

#[test]
fn kvp_is_that_of_hyperv_h() {
    use kvp::{Enumerate, Header, IpAddresses, IpMessage, Key, Pair};
    assert_eq!(size_of::<Header>(), 4);
    assert_eq!(size_of::<Pair>(), 2572);
    assert_eq!(span_of!(Pair, key), 12..524);
    assert_eq!(span_of!(Pair, value), 524..2572);
    assert_eq!(size_of::<Enumerate>(), 2576);
    assert_eq!(offset_of!(Enumerate, pair), 4);
    assert_eq!(size_of::<Key>(), 516);
    assert_eq!(size_of::<IpAddresses>(), 7426);
    assert_eq!(offset_of!(IpAddresses, family), 256);
    assert_eq!(offset_of!(IpAddresses, dhcp_enabled), 257);
    assert_eq!(span_of!(IpAddresses, addresses), 258..2306);
    assert_eq!(span_of!(IpAddresses, subnets), 2306..4354);
    assert_eq!(span_of!(IpAddresses, gateways), 4354..5378);
    assert_eq!(span_of!(IpAddresses, dns_servers), 5378..7426);
    assert_eq!(size_of::<IpMessage>(), 7428);
    assert_eq!(offset_of!(IpMessage, addresses), 2);
}

#[test]
fn fcopy_is_that_of_hyperv_h() {
    use fcopy::{Header, Start, Write};
    assert_eq!(size_of::<Header>(), 36);
    assert_eq!(size_of::<Start>(), 1088);
    assert_eq!(span_of!(Start, path_name), 556..1076);
    assert_eq!(span_of!(Start, flags), 1076..1080);
    assert_eq!(span_of!(Start, file_size), 1080..1088);
    assert_eq!(size_of::<Write>(), 6196);
    assert_eq!(span_of!(Write, offset), 40..48);
    assert_eq!(span_of!(Write, size), 48..52);
    assert_eq!(offset_of!(Write, data), 52);
}

#[test]
fn a_request_says_what_it_is_and_its_answer_keeps_the_transaction() {
    let (framework, message) = (Version::new(3, 0), Version::new(4, 1));
    let mut prefix = Prefix::request(MessageType::TIMESYNC, framework, message, 22, 200);
    let wire = [
        1, 0, 0, 0, 42, 0, 0, 0, 3, 0, 0, 0, 4, 0, 4, 0, 1, 0, 22, 0, 0, 0, 0, 0, 200, 3, 0, 0,
    ];
    assert_eq!(prefix.as_bytes(), wire);
    prefix.answer(Status::FAIL);
    assert_eq!(prefix.flags(), Flags::TRANSACTION | Flags::RESPONSE);
    assert_eq!(
        (prefix.status(), prefix.transaction_id),
        (Status(0x8000_4005), 200)
    );
    assert_eq!(prefix.message_type(), MessageType::TIMESYNC);
}

#[test]
fn versions_are_ordered_and_print_with_a_point() {
    assert!(Version::new(3, 2) > Version::new(3, 1));
    assert!(Version::new(10, 0) > Version::new(9, 0x100));
    assert_eq!(std::format!("{}", Version::new(3, 2)), "3.2");
}

#[test]
fn no_two_services_share_a_guid_or_a_type() {
    for (index, service) in Service::ALL.iter().enumerate() {
        for other in &Service::ALL[index + 1..] {
            assert_ne!(service.class(), other.class());
            assert_ne!(service.instance(), other.instance());
            assert_ne!(MessageType::from(*service), MessageType::from(*other));
            assert_ne!(service.name(), other.name());
        }
        assert!(service.message_versions().is_sorted_by(|a, b| a > b));
        assert!(service.framework_versions().is_sorted_by(|a, b| a > b));
    }
}

#[test]
fn short_messages_say_how_short() {
    assert_eq!(
        Prefix::parse(&[0; 27]).map(|_| ()),
        Err(Malformed::Short(27))
    );
    assert_eq!(Prefix::parse(&[0; 28]).unwrap().1, []);
    assert_eq!(
        shutdown::Request::parse(&[0; 2059]),
        Err(Malformed::Short(2059))
    );
    // A host may send a heartbeat without its end.
    assert_eq!(heartbeat::Beat::parse(&[0; 7]), Err(Malformed::Short(7)));
    let unknown = heartbeat::ApplicationState::UNKNOWN;
    assert_eq!(
        heartbeat::Beat::parse(&[1, 0, 0, 0, 0, 0, 0, 0, 9, 9, 9]),
        Ok((1, unknown))
    );
    assert_eq!(vss::Message::parse(&[5; 11]), Err(Malformed::Short(11)));
}

#[test]
fn a_time_has_a_reference_time_since_version_4() {
    use timesync::{Flags, HostTime};
    let mut body = [0; 25];
    body[0] = 7;
    body[8] = 9;
    body[16] = 1;
    body[24] = 2;
    for (version, reference_time, flags, length) in [
        (Version::new(3, 0), None, Flags::SAMPLE, 25),
        (Version::new(4, 0), Some(9), Flags::SYNC, 22),
        (Version::new(5, 0), Some(9), Flags::SYNC, 22),
    ] {
        let time = HostTime {
            time: 7,
            reference_time,
            flags,
        };
        assert_eq!(HostTime::parse(version, &body[..length]), Ok(time));
        let short = HostTime::parse(version, &body[..length - 1]);
        assert_eq!(short, Err(Malformed::Short(length - 1)));
    }
}

#[test]
fn a_fragment_is_no_longer_than_its_field() {
    let mut body = std::vec![0; 6196];
    body[0] = 1;
    for (size, good) in [(0u32, true), (6144, true), (6145, false), (u32::MAX, false)] {
        body[48..52].copy_from_slice(&size.to_le_bytes());
        let Ok(fcopy::Body::Write(write)) = fcopy::Body::parse(&body) else {
            panic!("not a write");
        };
        assert_eq!(
            write.data().map(<[u8]>::len).ok(),
            good.then(|| usize::try_from(size).unwrap())
        );
    }
    body.pop();
    assert!(fcopy::Body::parse(&body).is_err());
}

proptest! {
    #[test]
    fn any_bytes_parse_without_a_panic(bytes: Vec<u8>, long in 0usize..9000, major: u16) {
        let mut bytes = bytes;
        let filler: Vec<u8> = bytes.iter().copied().cycle().take(long).collect();
        bytes.extend_from_slice(&filler);
        let _ = Prefix::parse(&bytes);
        let _ = negotiation::Versions::parse(&bytes);
        let _ = shutdown::Request::parse(&bytes).map(|request| {
            utf16::decode(&request.display_message).map(Iterator::count)
        });
        let _ = heartbeat::Beat::parse(&bytes);
        let _ = timesync::HostTime::parse(Version::new(major, 0), &bytes);
        let _ = vss::Message::parse(&bytes);
        if let Ok(fcopy::Body::Write(write)) = fcopy::Body::parse(&bytes) {
            let _ = write.data();
        }
        match kvp::Body::parse(&bytes).map(|(_, body)| body) {
            Ok(kvp::Body::Get(pair) | kvp::Body::Set(pair)) => {
                let _ = (pair.key(), pair.value());
            }
            Ok(kvp::Body::Enumerate(enumerate)) => {
                let _ = (enumerate.pair.key(), enumerate.pair.value());
            }
            Ok(kvp::Body::Delete(key)) => {
                let _ = key.key();
            }
            _ => {}
        }
    }
}

#[test]
fn a_refusal_is_the_message_with_another_prefix() {
    let asked = Prefix::request(
        MessageType::VSS,
        Version::new(3, 0),
        Version::new(5, 0),
        12,
        7,
    );
    let mut payload = Vec::from(asked.as_bytes());
    assert_eq!(
        Prefix::refusal(&payload[..27]).map(|_| ()),
        Err(Malformed::Short(27))
    );
    payload.extend_from_slice(b"the body");
    let (prefix, body) = Prefix::refusal(&payload).unwrap();
    assert_eq!(
        (prefix.status(), prefix.flags(), body),
        (
            Status::FAIL,
            Flags::TRANSACTION | Flags::RESPONSE,
            &b"the body"[..]
        )
    );
    // The rest, by which the host knows what this answers, is the same.
    let (mut as_asked, flags, status) = (prefix, asked.flags, asked.status);
    (as_asked.flags, as_asked.status) = (flags, status);
    assert_eq!(as_asked, asked);
}
