// SPDX-License-Identifier: GPL-2.0

//! Tests of what the KVP daemon is asked, and of what becomes of its answers.

use super::*;
use crate::kvp::IpMessage;
use proptest::prelude::*;
use std::string::String;
use std::vec::Vec;
use zerocopy::{FromZeros as _, TryFromBytes as _};

fn kvp() -> Kvp {
    Kvp::new(55, 30)
}

/// The body of a request: the header and what follows it.
fn body(operation: Operation, rest: &[u8]) -> Vec<u8> {
    let header = Header {
        operation,
        pool: Pool::GUEST,
        reserved: U16::new(0),
    };
    [header.as_bytes(), rest].concat()
}

/// A pair as the host sends it.
fn pair(key: &str, value_type: ValueType, value: &[u8]) -> Pair {
    let mut pair = Pair::new_zeroed();
    let units = utf16::encode(key, utf16::units_mut(&mut pair.key).unwrap()).unwrap();
    pair.key_size = size(units * 2);
    pair.value_type = U32::new(value_type.0);
    pair.value[..value.len()].copy_from_slice(value);
    pair.value_size = size(value.len());
    pair
}

/// A text as the host sends it.
fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect()
}

/// What the daemon is asked.
fn asked(body: &mut [u8]) -> Result<Vec<u8>, Status> {
    let mut message = std::vec![7; MESSAGE_SIZE];
    match kvp().consider(body, &mut message) {
        Verdict::Ask(time) => {
            assert_eq!(time, 30);
            Ok(message)
        }
        Verdict::Answer(status) => Err(status),
    }
}

fn set(key: &str, value_type: ValueType, value: &[u8]) -> Result<Pair, Status> {
    let message = asked(&mut body(
        Operation::SET,
        pair(key, value_type, value).as_bytes(),
    ))?;
    assert_eq!(message[..4], [1, 1, 0, 0]);
    let (pair, rest) = read::<Pair>(&message[4..]).unwrap();
    assert!(rest.iter().all(|byte| *byte == 0));
    Ok(*pair)
}

#[test]
fn a_message_has_the_size_of_that_of_hyperv_h() {
    assert_eq!(MESSAGE_SIZE, 7432);
}

#[test]
fn a_pair_to_set_is_utf8_with_an_end() {
    for (key, value) in [("", ""), ("colour", "blue"), ("Größe", "🙂€")] {
        let pair = set(key, ValueType::STRING, &wide(value)).unwrap();
        let (key_size, value_size) = (key.len() + 1, value.len() + 1);
        assert_eq!(
            (pair.key_size, pair.value_size),
            (size(key_size), size(value_size))
        );
        assert_eq!(pair.key[..key_size], [key.as_bytes(), &[0]].concat());
        assert_eq!(pair.value[..value_size], [value.as_bytes(), &[0]].concat());
        assert_eq!(pair.value_type.get(), 1);
    }
}

#[test]
fn numbers_are_texts_to_the_daemon() {
    for (value_type, bytes, text) in [
        (ValueType::U32, &u32::MAX.to_le_bytes()[..], "4294967295\0"),
        (
            ValueType::U64,
            &u64::MAX.to_le_bytes(),
            "18446744073709551615\0",
        ),
        (ValueType::U32, &[], "0\0"),
    ] {
        let pair = set("n", value_type, bytes).unwrap();
        assert_eq!(pair.value_size, size(text.len()));
        assert_eq!(pair.value[..text.len()], *text.as_bytes());
    }
    assert_eq!(set("n", ValueType(3), &[]), Err(Status::NOT_SUPPORTED));
}

#[test]
fn a_text_fits_to_the_last_byte_and_not_beyond() {
    let euros = |count| "€".repeat(count);
    // 511 bytes and an end.
    let key = euros(170) + "a";
    assert_eq!(
        set(&key, ValueType::STRING, &[]).unwrap().key_size.get(),
        512
    );
    assert_eq!(
        set(&(key + "a"), ValueType::STRING, &[]),
        Err(Status::INVALID_ARGUMENT)
    );
    // 2047 bytes.
    let value = euros(682) + "a";
    assert_eq!(
        set("k", ValueType::STRING, &wide(&value))
            .unwrap()
            .value_size
            .get(),
        2048
    );
    assert_eq!(
        set("k", ValueType::STRING, &wide(&euros(683))),
        Err(Status::INVALID_ARGUMENT)
    );
}

#[test]
fn what_makes_no_sense_never_gets_to_the_daemon() {
    let good = body(Operation::GET, pair("k", ValueType::STRING, &[]).as_bytes());
    assert!(asked(&mut good.clone()).is_ok());
    for (at, byte) in [(1, 5), (8, 7), (10, 1), (0, 6), (0, 200), (17, 0xd8)] {
        let mut bad = good.clone();
        bad[at] = byte;
        let status = asked(&mut bad.clone()).unwrap_err();
        assert!(
            [Status::INVALID_ARGUMENT, Status::NOT_SUPPORTED].contains(&status),
            "{at}: {byte}"
        );
    }
    for length in 0..good.len() {
        assert_eq!(
            asked(&mut good[..length].to_vec()),
            Err(Status::INVALID_ARGUMENT)
        );
    }
}

#[test]
fn a_value_comes_back_from_where_the_daemon_puts_it() {
    let mut kvp = kvp();
    let mut body = body(Operation::GET, pair("k", ValueType(9), &[1; 9]).as_bytes());
    let mut message = asked(&mut body).unwrap();
    let asked = read_mut::<Pair>(&mut message[4..]).unwrap();
    assert_eq!((asked.key_size.get(), asked.value_size.get()), (2, 2048));
    asked.value[..6].copy_from_slice("Öl🙂".as_bytes().get(..6).unwrap());
    message[..4].fill(0);
    assert_eq!(kvp.answered(&mut body, &message, 0), Status::OK);
    let answer = read::<Pair>(&body[4..]).unwrap().0;
    assert_eq!(answer.value_type.get(), 1);
    // The smiley is cut.
    let Ok(Value::String(value)) = answer.value() else {
        panic!("no text");
    };
    assert_eq!(value.collect::<String>(), "Öl\u{fffd}");
    assert_eq!(answer.key().unwrap().collect::<String>(), "k");
    assert_eq!(answer.value_size.get(), 8);
}

#[test]
fn a_listed_pair_has_key_and_value_and_the_end_is_a_status() {
    let mut enumerate = Enumerate::new_zeroed();
    enumerate.index = U32::new(7);
    let mut body = body(Operation::ENUMERATE, enumerate.as_bytes());
    let mut message = asked(&mut body).unwrap();
    let asked = read_mut::<Enumerate>(&mut message[4..]).unwrap();
    assert_eq!(asked.index.get(), 7);
    // No end, as far as the field goes: 512 characters, of which 255 are told.
    asked.pair.key.fill(b'k');
    asked.pair.value.fill(b'v');
    message[..4].fill(0);
    assert_eq!(kvp().answered(&mut body, &message, 0), Status::OK);
    let answer = read::<Enumerate>(&body[4..]).unwrap().0;
    assert_eq!(answer.index.get(), 7);
    assert_eq!(
        (answer.pair.key_size.get(), answer.pair.value_size.get()),
        (512, 2048)
    );
    assert_eq!(answer.pair.key().unwrap().count(), 255);
    let before = body.clone();
    message[..4].copy_from_slice(&Status::NO_MORE_ITEMS.0.to_le_bytes());
    assert_eq!(
        kvp().answered(&mut body, &message, 0),
        Status::NO_MORE_ITEMS
    );
    assert_eq!(body, before);
}

#[test]
fn an_index_that_the_daemon_would_take_for_a_negative_one_is_behind_the_end() {
    let ask = |index| {
        let mut enumerate = Enumerate::new_zeroed();
        enumerate.index = U32::new(index);
        asked(&mut body(Operation::ENUMERATE, enumerate.as_bytes()))
    };
    let last = i32::MAX.unsigned_abs();
    let message = ask(last).unwrap();
    let to = read::<Enumerate>(&message[4..]).unwrap().0;
    assert_eq!(to.index.get(), last);
    for beyond in [last + 1, u32::MAX] {
        assert_eq!(ask(beyond), Err(Status::NO_MORE_ITEMS));
    }
}

#[test]
fn an_old_daemon_ends_a_list_without_a_key_and_knows_no_addresses() {
    let mut kvp = kvp();
    let mut message = std::vec![0; MESSAGE_SIZE];
    message[0] = 4;
    assert_eq!(kvp.register(&message), Ok(true));
    kvp.greet(&mut message);
    assert_eq!(message[..8], [4, 0, 0, 0, b'3', b'.', b'1', 0]);
    let mut body = body(Operation::ENUMERATE, Enumerate::new_zeroed().as_bytes());
    message[4] = 0;
    assert_eq!(kvp.answered(&mut body, &message, 0), Status::NO_MORE_ITEMS);
    // Its header is no status.
    message[20] = b'k';
    message[0] = 3;
    assert_eq!(kvp.answered(&mut body, &message, 0), Status::OK);
    let mut body = std::vec![0; size_of::<IpMessage>()];
    body[0] = 5;
    assert_eq!(
        kvp.consider(&mut body, &mut message),
        Verdict::Answer(Status::NOT_SUPPORTED)
    );
    message[0] = 100;
    assert_eq!(kvp.register(&message), Ok(true));
    message[0] = 101;
    assert_eq!(kvp.register(&message), Err(Nonsense::Registration));
}

#[test]
fn addresses_go_to_the_daemon_and_come_back() {
    let mut request = IpMessage::new_zeroed();
    request.operation = Operation::SET_IP_INFO;
    let from = &mut request.addresses;
    from.family = crate::kvp::AddressFamily::BOTH;
    from.dhcp_enabled = 1;
    for (text, field) in [
        ("{8e3b}", &mut from.adapter_id[..]),
        ("10.0.0.1;10.0.0.2", &mut from.addresses),
        ("255.0.0.0", &mut from.subnets),
        ("fe80::1", &mut from.gateways),
        ("1.1.1.1", &mut from.dns_servers),
    ] {
        utf16::encode(text, field).unwrap();
    }
    let mut body = request.as_bytes().to_vec();
    let mut message = asked(&mut body).unwrap();
    assert_eq!(message[0], 5);
    let to = read::<IpAddresses>(&message[4..]).unwrap().0;
    assert!(to.adapter_id.as_bytes().starts_with(b"{8e3b}\0"));
    assert!(to.addresses.as_bytes().starts_with(b"10.0.0.1;10.0.0.2\0"));
    assert!(to.subnets.as_bytes().starts_with(b"255.0.0.0\0"));
    assert!(to.gateways.as_bytes().starts_with(b"fe80::1\0"));
    assert!(to.dns_servers.as_bytes().starts_with(b"1.1.1.1\0"));
    assert_eq!((to.family.0, to.dhcp_enabled), (3, 1));
    // What is asked for is the adapter alone, and what the daemon wrote comes back.
    message[..4].fill(0);
    let mut get = request;
    get.operation = Operation::GET_IP_INFO;
    let mut get = get.as_bytes().to_vec();
    let asked = asked(&mut get).unwrap();
    let asked = read::<IpAddresses>(&asked[4..]).unwrap().0;
    assert!(asked.adapter_id.as_bytes().starts_with(b"{8e3b}\0"));
    assert_eq!((asked.addresses[0].get(), asked.dhcp_enabled), (0, 0));
    get[2 + 256 + 2..].fill(0);
    assert_eq!(kvp().answered(&mut get, &message, 0), Status::OK);
    let (answer, _) = IpMessage::try_ref_from_prefix(&get).unwrap();
    assert_eq!(answer.addresses, request.addresses);
    // 1023 characters of addresses are the most.
    request.addresses.addresses.fill(U16::new(0x3b));
    assert_eq!(
        self::asked(&mut request.as_bytes().to_vec()),
        Err(Status::INVALID_ARGUMENT)
    );
}

#[test]
fn an_address_that_is_longer_than_the_daemon_has_room_for_is_refused() {
    let (longest, beyond) = ("1".repeat(45), "1".repeat(46));
    for field in 0..4 {
        for (text, fits) in [
            (longest.clone(), true),
            (std::format!("{longest};{longest};"), true),
            (beyond.clone(), false),
            (std::format!("{longest};{beyond}"), false),
            (std::format!("{beyond};{longest}"), false),
        ] {
            let mut request = IpMessage::new_zeroed();
            request.operation = Operation::SET_IP_INFO;
            let to = &mut request.addresses;
            let list = match field {
                0 => &mut to.addresses[..],
                1 => &mut to.subnets,
                2 => &mut to.gateways,
                _ => &mut to.dns_servers,
            };
            utf16::encode(&text, list).unwrap();
            let asked = asked(&mut request.as_bytes().to_vec());
            match fits {
                true => assert!(asked.is_ok(), "{field}: {text}"),
                false => assert_eq!(asked, Err(Status::INVALID_ARGUMENT), "{field}: {text}"),
            }
        }
    }
}

proptest! {
    /// Whatever host and daemon say: nothing overruns, and what was set is what is read.
    #[test]
    fn any_pair_survives(key in "[^\0]{0,255}", value in "[^\0]{0,700}") {
        let wide = wide(&value);
        prop_assume!(key.encode_utf16().count() < 256 && wide.len() <= 2048);
        match set(&key, ValueType::STRING, &wide) {
            Ok(mut stored) => {
                let mut body = body(Operation::GET, pair(&key, ValueType::STRING, &[]).as_bytes());
                let mut message = asked(&mut body).unwrap();
                prop_assert_eq!(stored.key, read::<Pair>(&message[4..]).unwrap().0.key);
                stored.key_size = U32::new(99);
                message[4..4 + size_of::<Pair>()].copy_from_slice(stored.as_bytes());
                message[..4].fill(0);
                prop_assert_eq!(kvp().answered(&mut body, &message, 0), Status::OK);
                let Ok(Value::String(read)) = read::<Pair>(&body[4..]).unwrap().0.value() else {
                    panic!("no text");
                };
                prop_assert_eq!(read.collect::<String>(), value);
            }
            Err(status) => {
                prop_assert_eq!(status, Status::INVALID_ARGUMENT);
                prop_assert!(key.len() > 511 || value.len() > 2047);
            }
        }
    }

    #[test]
    fn any_bytes_are_considered_and_answered(
        operation in 0u8..8,
        rest in proptest::collection::vec(any::<u8>(), 0..64),
        length in 0usize..7500,
        answer in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut body = std::vec![operation];
        body.extend_from_slice(&rest);
        body.resize(length, rest.len().to_le_bytes()[0]);
        let mut message = std::vec![0; MESSAGE_SIZE];
        let _ = kvp().consider(&mut body, &mut message);
        for (to, from) in message.iter_mut().zip(&answer) {
            *to = *from;
        }
        let _ = kvp().answered(&mut body, &message, 0);
        prop_assert_eq!(body.len(), length);
    }
}
