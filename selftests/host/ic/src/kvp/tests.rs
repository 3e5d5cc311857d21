// SPDX-License-Identifier: GPL-2.0

//! Tests of the KVP service, against a guest that keeps pools as Linux' daemon does.

use super::*;
use crate::guest::{Asked, Guest, Request};
use hv_utils_proto::kvp::{AddressFamily, Enumerate, IpMessage, Key, Pair, ValueType};
use hv_utils_proto::{utf16, MessageType, Version};
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

const V1_0: Version = Version::new(1, 0);
const V3_0: Version = Version::new(3, 0);
const V4_0: Version = Version::new(4, 0);

fn service() -> Ic {
    Ic::kvp(KvpOptions::default())
}

fn guest() -> Guest {
    Guest::ready(service(), V3_0, V4_0)
}

/// What the guest keeps: Linux' daemon makes texts of all values.
#[derive(Default)]
struct Pools(BTreeMap<u8, Vec<(String, String)>>);

impl Pools {
    /// Answers everything that is outstanding.
    fn serve(&mut self, guest: &mut Guest) {
        while let Some(request) = guest.take() {
            assert_eq!(request.prefix.message_type(), MessageType::KVP_EXCHANGE);
            assert_eq!(request.body.len(), kvp::body_size(request.prefix.message));
            let (status, body) = self.answer(&request);
            guest.answer(&request, status, &body);
        }
    }

    /// The answer to a request.
    fn answer(&mut self, request: &Request) -> (Status, Vec<u8>) {
        let mut body = request.body.clone();
        let (pool, parsed) = Body::parse(&request.body).unwrap();
        let pairs = self.0.entry(pool.0).or_default();
        let position = |key: &str| pairs.iter().position(|(other, _)| other == key);
        match parsed {
            Body::Set(pair) => {
                let key: String = pair.key().unwrap().collect();
                let value = match pair.value().unwrap() {
                    kvp::Value::String(text) => text.collect(),
                    kvp::Value::U32(number) => number.to_string(),
                    kvp::Value::U64(number) => number.to_string(),
                    kvp::Value::Other(..) => panic!("no value"),
                };
                match position(&key) {
                    Some(at) => pairs[at].1 = value,
                    None => pairs.push((key, value)),
                }
            }
            Body::Get(pair) => {
                let key: String = pair.key().unwrap().collect();
                let Some(at) = position(&key) else {
                    return (Status::NO_MORE_ITEMS, body);
                };
                let to = kvp::read_mut::<Pair>(&mut body[4..]).unwrap();
                fill(to, &pairs[at]);
            }
            Body::Delete(key) => {
                let key: String = key.key().unwrap().collect();
                let Some(at) = position(&key) else {
                    return (Status::NO_MORE_ITEMS, body);
                };
                pairs.remove(at);
            }
            Body::Enumerate(enumerate) => {
                let index = usize::try_from(enumerate.index.get()).unwrap();
                let Some(pair) = pairs.get(index) else {
                    return (Status::NO_MORE_ITEMS, body);
                };
                let to = kvp::read_mut::<Enumerate>(&mut body[4..]).unwrap();
                fill(&mut to.pair, pair);
            }
            _ => panic!("not about pairs"),
        }
        (Status::OK, body)
    }
}

/// Fills in an answer.
fn fill(to: &mut Pair, (key, value): &(String, String)) {
    let units = |text: &str, field: &mut [u8]| {
        let units = utf16::encode(text, utf16::units_mut(field).unwrap()).unwrap();
        U32::new(u32::try_from(units.saturating_mul(2)).unwrap())
    };
    to.key_size = units(key, &mut to.key);
    to.value_size = units(value, &mut to.value);
    to.value_type = U32::new(ValueType::STRING.0);
}

#[test]
fn pairs_go_both_ways_in_every_version() {
    for version in [V1_0, V3_0, V4_0] {
        let (mut guest, mut pools) = (Guest::ready(service(), V3_0, version), Pools::default());
        let mut ask = |command: &str, arguments: Value| {
            let asked = guest.control(command, arguments);
            pools.serve(&mut guest);
            asked.only()
        };
        for (key, value, text) in [
            ("name", json!("wert"), "wert"),
            ("", json!(""), ""),
            ("größe", json!(u32::MAX), "4294967295"),
            ("🙂", json!(u64::MAX), "18446744073709551615"),
        ] {
            let set = json!({"pool": "guest", "key": key, "value": value});
            assert_eq!(ask("set", set), Ok(Value::Null));
            assert_eq!(ask("get", json!({"pool": 1, "key": key})), Ok(json!(text)));
        }
        let list = ask("enumerate", json!({"pool": 1})).unwrap();
        assert_eq!(list.as_array().unwrap().len(), 4);
        assert_eq!(list[2], json!({"key": "größe", "value": "4294967295"}));
        assert_eq!(
            ask("delete", json!({"pool": 1, "key": ""})),
            Ok(Value::Null)
        );
        let missing = Err("the guest has no such key".to_owned());
        assert_eq!(ask("delete", json!({"pool": 1, "key": ""})), missing);
        assert_eq!(ask("get", json!({"pool": 0, "key": "name"})), missing);
        assert_eq!(ask("enumerate", json!({"pool": "auto"})), Ok(json!([])));
    }
}

#[test]
fn types_follow_from_the_value_or_are_given() {
    for (value, kind, expected) in [
        (json!("1"), None, Some((1, 4))),
        (json!(1), None, Some((4, 4))),
        (json!(1u64 << 32), None, Some((8, 8))),
        (json!(1), Some("u64"), Some((8, 8))),
        (json!(1), Some("string"), Some((1, 4))),
        (json!(1u64 << 32), Some("u32"), None),
        (json!(-1), None, None),
        (json!("1"), Some("u32"), None),
        (json!("1"), Some("text"), None),
        (json!(null), None, None),
        (json!([1]), None, None),
    ] {
        let mut guest = guest();
        let mut arguments = json!({"pool": 0, "key": "k", "value": value});
        if let Some(kind) = kind {
            arguments["type"] = json!(kind);
        }
        let asked = guest.control("set", arguments);
        let sent = guest.take().map(|request| {
            let pair = Pair::read_from_prefix(&request.body[4..]).unwrap().0;
            (pair.value_type.get(), pair.value_size.get())
        });
        assert_eq!(sent, expected);
        assert_eq!(asked.answer().is_some(), expected.is_none());
    }
}

#[test]
fn keys_and_values_fill_their_fields_and_no_more() {
    let mut guest = guest();
    for (key, value, good) in [(255, 1023, true), (256, 1, false), (1, 1024, false)] {
        let (key, value) = ("k".repeat(key), "v".repeat(value));
        let asked = guest.control("set", json!({"pool": 0, "key": key, "value": value}));
        assert_eq!(asked.answer().is_none(), good);
        if let Some(request) = guest.take() {
            let pair = Pair::read_from_prefix(&request.body[4..]).unwrap().0;
            assert_eq!((pair.key_size.get(), pair.value_size.get()), (512, 2048));
            guest.answer(&request, Status::OK, &[]);
        }
    }
}

#[test]
fn requests_wait_for_each_other_in_order() {
    let mut guest = guest();
    let get = |guest: &mut Guest, key: &str| guest.control("get", json!({"pool": 0, "key": key}));
    let asked: Vec<Asked> = ["a", "b", "c"].map(|key| get(&mut guest, key)).into();
    for (index, key) in ["a", "b", "c"].iter().enumerate() {
        let request = guest.expect();
        assert!(guest.take().is_none());
        let Ok((_, Body::Get(pair))) = Body::parse(&request.body) else {
            panic!("no get");
        };
        assert_eq!(pair.key().unwrap().collect::<String>(), *key);
        assert_eq!(asked[index].answer(), None);
        guest.answer(&request, Status::NO_MORE_ITEMS, &[]);
        assert!(asked[index].only().is_err());
    }
}

#[test]
fn a_list_is_read_to_its_end_before_others_have_their_turn() {
    let (mut guest, mut pools) = (guest(), Pools::default());
    pools
        .0
        .insert(1, vec![("a".into(), "1".into()), ("b".into(), "2".into())]);
    let list = guest.control("enumerate", json!({"pool": 1}));
    let _delete = guest.control("delete", json!({"pool": 1, "key": "b"}));
    pools.serve(&mut guest);
    assert_eq!(list.only().unwrap().as_array().unwrap().len(), 2);
    assert_eq!(pools.0[&1].len(), 1);
}

#[test]
fn a_silent_guest_fails_each_request_in_its_own_time() {
    let mut guest = guest();
    let get = |guest: &mut Guest, time: u64| {
        guest.control("get", json!({"pool": 0, "key": "k", "timeout_ms": time}))
    };
    let (first, second, third) = (
        get(&mut guest, 3000),
        get(&mut guest, 1000),
        get(&mut guest, 5000),
    );
    guest.pass(Duration::from_millis(1000));
    assert_eq!(second.only(), Err("other requests took too long".into()));
    assert_eq!(first.answer(), None);
    guest.pass(Duration::from_millis(2000));
    assert_eq!(first.only(), Err("the guest did not answer in time".into()));
    assert_eq!(third.answer(), None);
    guest.pass(Duration::from_millis(2000));
    assert_eq!(third.only(), Err("the guest did not answer in time".into()));
    assert_eq!(
        (guest.status("failed"), guest.status("waiting")),
        (json!(3), json!(0))
    );
}

#[test]
fn a_late_answer_is_not_taken_for_the_next_one() {
    let mut guest = guest();
    let first = guest.control("get", json!({"pool": 0, "key": "a", "timeout_ms": 10}));
    guest.pass(Duration::from_millis(10));
    assert!(first.only().is_err());
    let second = guest.control("get", json!({"pool": 0, "key": "b"}));
    let (old, new) = (guest.expect(), guest.expect());
    guest.answer(&old, Status::NO_MORE_ITEMS, &[]);
    assert_eq!(second.answer(), None);
    let mut pair = Pair::new_zeroed();
    fill(&mut pair, &("b".into(), "2".into()));
    let body = request::body(Operation::GET, Pool(0), &pair);
    guest.answer(&new, Status::OK, &body);
    assert_eq!(second.only(), Ok(json!("2")));
    assert_eq!(guest.status("unexpected"), 1);
}

#[test]
fn the_hosts_own_pairs_are_sent_whenever_the_guest_connects() {
    let options = KvpOptions {
        external: vec![
            ("b".into(), KvpValue::U32(7)),
            ("too long".repeat(99), KvpValue::U32(1)),
        ],
        ..KvpOptions::default()
    };
    let (mut guest, mut pools) = (Guest::ready(Ic::kvp(options), V3_0, V4_0), Pools::default());
    pools.serve(&mut guest);
    assert_eq!(pools.0[&0], [("b".into(), "7".into())]);
    for (command, arguments) in [
        ("set", json!({"pool": 0, "key": "a", "value": "1"})),
        ("set", json!({"pool": 1, "key": "guest's", "value": "1"})),
        ("set", json!({"pool": 0, "key": "c", "value": "1"})),
        ("delete", json!({"pool": 0, "key": "c"})),
    ] {
        let asked = guest.control(command, arguments);
        pools.serve(&mut guest);
        assert!(asked.only().is_ok());
    }
    // The guest loses its memory.
    guest.close();
    guest.open();
    guest.negotiate(V3_0, V4_0);
    let mut pools = Pools::default();
    pools.serve(&mut guest);
    assert_eq!(
        pools.0[&0],
        [("a".into(), "1".into()), ("b".into(), "7".into())]
    );
    assert_eq!(pools.0.len(), 1);
}

#[test]
fn addresses_take_version_4() {
    let mut old = Guest::ready(service(), V3_0, V3_0);
    let asked = old.control("get_ip", json!({"adapter_id": "x"}));
    assert!(asked.only().unwrap_err().contains("4.0"));

    let mut guest = guest();
    let asked = guest.control(
        "set_ip",
        json!({"adapter_id": "{A}", "family": "both", "dhcp": true, "addresses": ["10.0.0.1", "fd00::1"],
            "subnets": ["255.0.0.0", "/64"], "gateways": ["10.0.0.2"], "dns_servers": []}),
    );
    let set = guest.expect();
    let message = IpMessage::read_from_bytes(&set.body).unwrap();
    let text = |field: &[_]| utf16::decode(field).unwrap().collect::<String>();
    assert_eq!(message.operation, Operation::SET_IP_INFO);
    assert_eq!(message.addresses.family, AddressFamily::BOTH);
    assert_eq!(message.addresses.dhcp_enabled, 1);
    assert_eq!(text(&message.addresses.adapter_id), "{A}");
    assert_eq!(text(&message.addresses.addresses), "10.0.0.1;fd00::1");
    assert_eq!(text(&message.addresses.gateways), "10.0.0.2");
    guest.answer(&set, Status::OK, &[]);
    assert_eq!(asked.only(), Ok(Value::Null));

    let asked = guest.control("get_ip", json!({"adapter_id": "{A}"}));
    let get = guest.expect();
    let mut answer = message;
    answer.operation = Operation::GET_IP_INFO;
    guest.answer(&get, Status::OK, answer.as_bytes());
    assert_eq!(
        asked.only().unwrap(),
        json!({"adapter_id": "{A}", "family": "both", "dhcp": true, "addresses": ["10.0.0.1", "fd00::1"],
            "subnets": ["255.0.0.0", "/64"], "gateways": ["10.0.0.2"], "dns_servers": []})
    );

    let asked = guest.control("get_ip", json!({"adapter_id": "{B}", "family": "ipv6"}));
    let get = guest.expect();
    guest.answer(&get, Status::NOT_FOUND, &[]);
    assert_eq!(asked.only(), Err("the guest has no such adapter".into()));
    let asked = guest.control("get_ip", json!({"adapter_id": "x".repeat(128)}));
    assert!(asked.only().unwrap_err().contains("adapter_id"));
}

/// Answers a request with success and this body; the request must fail, and the answer be counted.
fn refuses(command: &str, arguments: Value, body: &[u8]) {
    let mut guest = guest();
    let asked = guest.control(command, arguments);
    let request = guest.expect();
    guest.answer(&request, Status::OK, body);
    assert_eq!(
        asked.only(),
        Err("the guest's answer makes no sense".into())
    );
    assert_eq!(guest.status("malformed"), 1);
    // The service goes on.
    let asked = guest.control("delete", json!({"pool": 0, "key": "k"}));
    let request = guest.expect();
    guest.answer(&request, Status::OK, &[]);
    assert_eq!(asked.only(), Ok(Value::Null));
}

#[test]
fn nonsense_fails_the_request_and_not_the_host() {
    let get = || json!({"pool": 0, "key": "k"});
    // Sizes larger than their fields, odd ones, and a lone surrogate.
    let good = ("k".to_owned(), "v".to_owned());
    let bad = |change: fn(&mut Pair)| {
        let mut pair = Pair::new_zeroed();
        fill(&mut pair, &good);
        change(&mut pair);
        request::body(Operation::GET, Pool(0), &pair)
    };
    refuses("get", get(), &bad(|pair| pair.value_size = U32::new(2049)));
    refuses(
        "get",
        get(),
        &bad(|pair| pair.value_size = U32::new(u32::MAX)),
    );
    refuses("get", get(), &bad(|pair| pair.value_size = U32::new(3)));
    refuses("get", get(), &bad(|pair| pair.value[1] = 0xd8));
    let bytes = |pair: &mut Pair| {
        pair.value_type = U32::new(3);
        pair.value_size = U32::new(2049);
    };
    refuses("get", get(), &bad(bytes));
}

#[test]
fn an_answer_about_something_else_is_nonsense() {
    let pool = json!({"pool": 0});
    refuses("enumerate", pool.clone(), &request::enumerate(Pool(0), 1));
    refuses("enumerate", pool, &[0]);
    refuses("set", json!({"pool": 0, "key": "k", "value": 1}), &[9]);
    let key = Key::new_zeroed();
    refuses(
        "get",
        json!({"pool": 0, "key": "k"}),
        &request::body(Operation::DELETE, Pool(0), &key),
    );
}

#[test]
fn an_endless_list_ends() {
    let mut guest = guest();
    let asked = guest.control("enumerate", json!({"pool": 2}));
    while let Some(request) = guest.take() {
        let mut body = request.body.clone();
        let to = kvp::read_mut::<Enumerate>(&mut body[4..]).unwrap();
        fill(&mut to.pair, &("k".into(), "v".into()));
        guest.answer(&request, Status::OK, &body);
    }
    assert_eq!(asked.only().unwrap().as_array().unwrap().len(), MAX_PAIRS);
}

#[test]
fn closing_answers_everybody() {
    let mut guest = guest();
    let asked = ["a", "b", "c"].map(|key| guest.control("get", json!({"pool": 0, "key": key})));
    guest.close();
    for asked in asked {
        assert_eq!(asked.only(), Err(crate::CLOSED.into()));
    }
    assert_eq!(vmbus_host::Device::deadline(&guest.ic), None);
}

#[test]
fn no_more_than_so_many_wait() {
    let mut guest = guest();
    let asked: Vec<Asked> = (0..300)
        .map(|_| guest.control("get", json!({"pool": 0, "key": "k"})))
        .collect();
    let refused = asked
        .iter()
        .filter(|asked| asked.answer().is_some())
        .count();
    assert_eq!(refused, 300 - 1 - MAX_WAITING);
}

#[test]
fn requests_are_checked() {
    let mut guest = guest();
    for (command, arguments, error) in [
        ("set", json!({"pool": 0, "key": "k"}), "takes a value"),
        (
            "get",
            json!({"pool": 0, "key": "k", "value": 1}),
            "takes no value",
        ),
        ("get", json!({"pool": "outer", "key": "k"}), "outer"),
        ("get", json!({"pool": 256, "key": "k"}), "256"),
        ("get", json!({"key": "k"}), "pool"),
        ("fetch", json!({}), "enumerate"),
    ] {
        let answer = guest.control(command, arguments).only().unwrap_err();
        assert!(answer.contains(error), "{answer}");
    }
    assert!(guest.take().is_none());
}
