// SPDX-License-Identifier: GPL-2.0

//! Tests of pairs.

use super::*;
use std::format;
use std::string::String;
use zerocopy::{FromZeros, IntoBytes};

/// A pair with a key and a value of these types and sizes.
fn pair(value_type: ValueType, key_size: u32, value_size: u32) -> Pair {
    let mut pair = Pair::new_zeroed();
    pair.value_type = U32::new(value_type.0);
    pair.key_size = U32::new(key_size);
    pair.value_size = U32::new(value_size);
    utf16::encode("key", utf16::units_mut(&mut pair.key).unwrap()).unwrap();
    utf16::encode("value", utf16::units_mut(&mut pair.value).unwrap()).unwrap();
    pair
}

#[test]
fn sizes_are_checked_against_their_fields() {
    for (key_size, value_size, key_good, value_good) in [
        (8, 12, true, true),
        (512, 2048, true, true),
        (514, 2050, false, false),
        (7, 11, false, false),
        (u32::MAX, u32::MAX, false, false),
    ] {
        let pair = pair(ValueType::STRING, key_size, value_size);
        assert_eq!(pair.key().is_ok(), key_good, "{key_size}");
        assert_eq!(pair.value().is_ok(), value_good, "{value_size}");
    }
    let key = pair(ValueType::STRING, 514, 0).key().map(|_| ());
    assert_eq!(key, Err(Malformed::FieldSize(514)));
}

#[test]
fn a_size_cuts_a_text() {
    let pair = pair(ValueType::STRING, 4, 0);
    assert_eq!(pair.key().unwrap().collect::<String>(), "ke");
    let Ok(Value::String(value)) = pair.value() else {
        panic!("no text");
    };
    assert_eq!(value.count(), 0);
}

#[test]
fn integers_are_read_whatever_their_size_field_says() {
    for (value_type, shown) in [
        (ValueType::U32, "U32(6357110)"),
        (ValueType::U64, "U64(32933036137971830)"),
        (ValueType(3), "Other(0x3, [118, 0])"),
    ] {
        let size = if value_type == ValueType(3) { 2 } else { 0 };
        assert_eq!(
            format!("{:?}", pair(value_type, 8, size).value().unwrap()),
            shown
        );
    }
}

#[test]
fn each_operation_has_its_body() {
    let mut message = [0; size_of::<IpMessage>()];
    for (operation, shortest) in [
        (0, 2576),
        (1, 2576),
        (2, 520),
        (3, 2580),
        (4, 7428),
        (5, 7428),
        (6, 4),
    ] {
        message[..2].copy_from_slice(&[operation, 3]);
        let (pool, body) = Body::parse(&message[..shortest]).unwrap();
        assert_eq!(pool, Pool::AUTO_EXTERNAL);
        let fits = matches!(
            (operation, body),
            (0, Body::Get(_))
                | (1, Body::Set(_))
                | (2, Body::Delete(_))
                | (3, Body::Enumerate(_))
                | (4, Body::GetIp(_))
                | (5, Body::SetIp(_))
                | (6, Body::Other(Operation(6)))
        );
        assert!(fits, "{operation}");
        assert!(Body::parse(&message[..shortest - 1]).is_err());
    }
}

#[test]
fn a_request_has_room_for_any_answer() {
    assert_eq!(body_size(Version::new(4, 0)), 7428);
    assert_eq!(body_size(Version::new(3, 0)), 2580);
}

#[test]
fn answers_are_filled_in_in_place() {
    let mut body = [0; 20];
    read_mut::<Header>(&mut body).unwrap().pool = Pool::GUEST;
    assert_eq!(
        body[..4],
        Header {
            operation: Operation::GET,
            pool: Pool::GUEST,
            reserved: U16::new(0)
        }
        .as_bytes()[..]
    );
    assert_eq!(
        read_mut::<Pair>(&mut body).map(|_| ()),
        Err(Malformed::Short(20))
    );
}
