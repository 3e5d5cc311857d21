// SPDX-License-Identifier: GPL-2.0

//! Tests of the message table and of the layouts.

use super::*;
use memoffset::{offset_of, span_of};
use proptest::prelude::*;
use std::vec::Vec;
use wire::*;
use zerocopy::FromZeros;

/// Every type that the table has.
const TYPES: [(u32, Version); 23] = [
    (1, Version::V4_0),
    (2, Version::V4_0),
    (3, Version::V4_0),
    (4, Version::V4_0),
    (5, Version::V4_0),
    (6, Version::V4_0),
    (7, Version::V4_0),
    (8, Version::V4_0),
    (9, Version::V4_0),
    (10, Version::V4_0),
    (11, Version::V4_0),
    (12, Version::V4_0),
    (13, Version::V4_0),
    (14, Version::V4_0),
    (15, Version::V4_0),
    (16, Version::V4_0),
    (17, Version::V4_0),
    (21, Version::V4_0),
    (22, Version::V4_1),
    (23, Version::V4_0),
    (24, Version::V5_3),
    (25, Version::V6_0),
    (26, Version::V6_0),
];

/// Parses in the newest version with all features.
fn parse(bytes: &[u8]) -> Result<Message<'_>, ParseError> {
    Message::parse(bytes, Version::V6_0, FeatureFlags::all())
}

#[test]
fn sizes_are_those_of_hyperv_h() {
    assert_eq!(size_of::<Header>(), 8);
    assert_eq!(OfferChannel::MESSAGE_SIZE, 196);
    assert_eq!(RescindChannelOffer::MESSAGE_SIZE, 12);
    assert_eq!(RequestOffers::MESSAGE_SIZE, 8);
    assert_eq!(AllOffersDelivered::MESSAGE_SIZE, 8);
    assert_eq!(OpenChannel::MESSAGE_SIZE, 148);
    assert_eq!(OpenResult::MESSAGE_SIZE, 20);
    assert_eq!(CloseChannel::MESSAGE_SIZE, 12);
    assert_eq!(GpadlHeader::MESSAGE_SIZE, 20);
    assert_eq!(size_of::<GpaRange>(), 8);
    assert_eq!(GpadlBody::MESSAGE_SIZE, 16);
    assert_eq!(GpadlCreated::MESSAGE_SIZE, 20);
    assert_eq!(GpadlTeardown::MESSAGE_SIZE, 16);
    assert_eq!(GpadlTorndown::MESSAGE_SIZE, 12);
    assert_eq!(RelidReleased::MESSAGE_SIZE, 12);
    assert_eq!(InitiateContact::MESSAGE_SIZE, 40);
    assert_eq!(VersionResponse::MESSAGE_SIZE, 16);
    assert_eq!(Unload::MESSAGE_SIZE, 8);
    assert_eq!(UnloadResponse::MESSAGE_SIZE, 8);
    assert_eq!(TlConnectRequest::MESSAGE_SIZE, 40);
    assert_eq!(ModifyChannel::MESSAGE_SIZE, 16);
    assert_eq!(TlConnectResult::MESSAGE_SIZE, 44);
    assert_eq!(ModifyChannelResponse::MESSAGE_SIZE, 16);
    assert_eq!(ModifyConnection::MESSAGE_SIZE, 24);
    assert_eq!(ModifyConnectionResponse::MESSAGE_SIZE, 9);
}

#[test]
fn offsets_are_those_of_hyperv_h() {
    // Less than in hyperv.h by the 8 bytes of the header.
    assert_eq!(span_of!(OfferChannel, instance), 16..32);
    assert_eq!(offset_of!(OfferChannel, flags), 48);
    assert_eq!(offset_of!(OfferChannel, mmio_megabytes), 50);
    assert_eq!(span_of!(OfferChannel, user_data), 52..172);
    assert_eq!(offset_of!(OfferChannel, sub_channel_index), 172);
    assert_eq!(offset_of!(OfferChannel, relid), 176);
    assert_eq!(offset_of!(OfferChannel, monitor_id), 180);
    assert_eq!(offset_of!(OfferChannel, monitor_allocated), 181);
    assert_eq!(offset_of!(OfferChannel, dedicated_interrupt), 182);
    assert_eq!(offset_of!(OfferChannel, connection_id), 184);
    assert_eq!(offset_of!(OpenChannel, ring_gpadl), 8);
    assert_eq!(offset_of!(OpenChannel, target_vp), 12);
    assert_eq!(offset_of!(OpenChannel, downstream_page_offset), 16);
    assert_eq!(span_of!(OpenChannel, user_data), 20..140);
    assert_eq!(offset_of!(OpenResult, status), 8);
    assert_eq!(offset_of!(GpadlHeader, range_buffer_len), 8);
    assert_eq!(offset_of!(GpadlHeader, range_count), 10);
    assert_eq!(offset_of!(GpaRange, byte_offset), 4);
    assert_eq!(offset_of!(GpadlBody, gpadl), 4);
    assert_eq!(offset_of!(GpadlCreated, status), 8);
    assert_eq!(span_of!(InitiateContact, interrupt_page_or_target), 8..16);
    assert_eq!(
        span_of!(InitiateContact, child_to_parent_monitor_page),
        24..32
    );
    assert_eq!(offset_of!(VersionResponse, connection_state), 1);
    assert_eq!(offset_of!(VersionResponse, message_connection_id), 4);
    assert_eq!(offset_of!(TlConnectResult, status), 32);
}

#[test]
fn each_type_exists_since_its_version() {
    for number in 0..300 {
        let since = TYPES
            .iter()
            .find(|(known, _)| *known == number)
            .map(|(_, since)| *since);
        for version in Version::SUPPORTED {
            let exists = MessageType(number).exists_in(version, FeatureFlags::all());
            assert_eq!(
                exists,
                since.is_some_and(|since| version >= since),
                "{number} {version}"
            );
        }
    }
}

#[test]
fn what_takes_a_feature_does_not_exist_without() {
    for message_type in [
        MessageType::MODIFY_CONNECTION,
        MessageType::MODIFY_CONNECTION_RESPONSE,
    ] {
        assert!(message_type.exists_in(Version::V6_0, FeatureFlags::MODIFY_CONNECTION));
        let others = FeatureFlags::MODIFY_CONNECTION.complement();
        assert!(!message_type.exists_in(Version::V6_0, others));
    }
}

#[test]
fn each_type_takes_its_size_and_gives_the_rest_as_tail() {
    for (number, _) in TYPES {
        let mut bytes = std::vec![0; 240];
        bytes[0] = number.try_into().unwrap();
        let message = parse(&bytes).unwrap();
        assert_eq!(message.message_type(), MessageType(number));
        let smallest = (0..=240).find(|len| parse(&bytes[..*len]).is_ok()).unwrap();
        assert!((8..=196).contains(&smallest), "{number} {smallest}");
        let refused = parse(&bytes[..smallest - 1]).unwrap_err();
        match smallest {
            8 => assert_eq!(refused, ParseError::NoHeader),
            _ => assert_eq!(refused, ParseError::TooShort(MessageType(number))),
        }
        assert!((smallest..=240).all(|len| parse(&bytes[..len]).is_ok()));
    }
}

#[test]
fn a_tail_is_what_follows_the_body() {
    let mut bytes = std::vec![8, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend([1; 12]);
    bytes.extend([2; 5]);
    let Ok(Message::GpadlHeader(body, tail)) = parse(&bytes) else {
        panic!()
    };
    assert_eq!((body.range_count.get(), tail), (0x101, [2; 5].as_slice()));
}

#[test]
fn a_message_is_its_header_and_its_body_and_nothing_else() {
    let message = Outgoing::new(
        7,
        &ModifyChannel {
            relid: 0x201.into(),
            target_vp: 3.into(),
        },
    );
    assert_eq!(
        message.as_bytes(),
        [22, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 3, 0, 0, 0]
    );
    assert_eq!(message.connection_id(), 7);
    assert_eq!(
        Outgoing::new(1, &OfferChannel::new_zeroed())
            .as_bytes()
            .len(),
        196
    );
}

#[test]
fn a_tail_is_pushed_whole_or_not_at_all() {
    let mut message = unload_message(1);
    assert_eq!(message.room(), 232);
    assert!(message.push(&[1; 231]) && !message.push(&[2; 2]));
    assert_eq!((message.room(), message.as_bytes().len()), (1, 239));
    assert!(message.push(&[3]) && message.push(&[]) && !message.push(&[4]));
    assert_eq!(message.as_bytes()[238..], [1, 3]);
}

#[test]
fn unloading_needs_no_client() {
    assert_eq!(unload_message(9).as_bytes(), [16, 0, 0, 0, 0, 0, 0, 0]);
    assert!(is_unload_response(&[17, 0, 0, 0, 0, 0, 0, 0]));
    assert!(is_unload_response(&[17, 0, 0, 0, 9, 9, 9, 9, 9]));
    assert!(!is_unload_response(&[17, 0, 0, 0, 0, 0, 0]));
    assert!(!is_unload_response(&[16, 0, 0, 0, 0, 0, 0, 0]));
}

proptest! {
    #[test]
    fn any_bytes_parse_without_a_panic(mut bytes: Vec<u8>, number in 0..40u8, version: u32) {
        if let Some(first) = bytes.first_mut() {
            *first = number;
        }
        let message = Message::parse(&bytes, Version(version), FeatureFlags::all());
        if let Ok(message) = message {
            let read = bytes[..4].try_into().map(u32::from_le_bytes).unwrap();
            prop_assert_eq!(message.message_type().0, read);
        }
        let _ = is_unload_response(&bytes);
    }
}
