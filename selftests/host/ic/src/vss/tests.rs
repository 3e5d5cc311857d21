// SPDX-License-Identifier: GPL-2.0

//! Tests of the VSS service.

use super::*;
use crate::guest::{Guest, Request};
use hv_utils_proto::vss::NO_AUTO_RECOVERY;
use hv_utils_proto::MessageType;

const V3_0: Version = Version::new(3, 0);
const V5_0: Version = Version::new(5, 0);

fn guest() -> Guest {
    Guest::ready(Ic::vss(VssOptions::default()), V3_0, V5_0)
}

fn operation(request: &Request) -> Operation {
    assert_eq!(request.prefix.message_type(), MessageType::VSS);
    Message::parse(&request.body).unwrap().operation
}

/// Takes a request for this operation.
fn expect(guest: &mut Guest, expected: Operation) -> Request {
    let request = guest.expect();
    assert_eq!(operation(&request), expected);
    request
}

/// Answers a request for this operation with a status.
fn answer(guest: &mut Guest, expected: Operation, status: Status) {
    let request = expect(guest, expected);
    guest.answer(&request, status, &[]);
}

#[test]
fn the_offer_has_versions_that_linux_does_not_know() {
    let mut guest = Guest::new(Ic::vss(VssOptions::default()));
    guest.open();
    let offer = guest.expect();
    assert_eq!(
        offer.body[8..],
        [3, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0, 7, 0, 0, 0]
    );
}

#[test]
fn freeze_and_thaw() {
    let mut guest = guest();
    let asked = guest.control("freeze", json!({}));
    let request = expect(&mut guest, Operation::FREEZE);
    assert_eq!(request.body.len() + Prefix::SIZE, 6260);
    assert_eq!(
        (asked.answer(), guest.status("frozen")),
        (None, json!(false))
    );
    guest.answer(&request, Status::OK, &[]);
    assert_eq!(
        (asked.only(), guest.status("frozen")),
        (Ok(Value::Null), json!(true))
    );
    let asked = guest.control("thaw", json!({}));
    let request = expect(&mut guest, Operation::THAW);
    assert_eq!(request.body.len(), 12);
    guest.answer(&request, Status::OK, &[]);
    assert_eq!(
        (asked.only(), guest.status("frozen")),
        (Ok(Value::Null), json!(false))
    );
    guest.pass(Duration::from_secs(10_000));
    assert!(guest.take().is_none());
}

#[test]
fn a_backup_checks_freezes_holds_and_thaws() {
    let mut guest = guest();
    let asked = guest.control("backup", json!({"hold_ms": 1500}));
    let check = expect(&mut guest, Operation::HOT_BACKUP);
    let mut message = *Message::parse(&check.body).unwrap();
    message.flags = U32::new(NO_AUTO_RECOVERY);
    guest.answer(&check, Status::OK, message.as_bytes());
    answer(&mut guest, Operation::GET_DM_INFO, Status::OK);
    answer(&mut guest, Operation::FREEZE, Status::OK);
    guest.pass(Duration::from_millis(1499));
    assert!(guest.take().is_none());
    let busy = guest.control("thaw", json!({}));
    assert!(busy.only().is_err());
    guest.pass(Duration::from_millis(1));
    assert_eq!(asked.answer(), None);
    answer(&mut guest, Operation::THAW, Status::OK);
    assert_eq!(asked.only(), Ok(json!({"hot_backup": 5, "dm_info": 0})));
    assert_eq!(
        (guest.status("freezes"), guest.status("thaws")),
        (json!(1), json!(1))
    );
}

#[test]
fn what_the_guest_refuses_ends_the_backup() {
    for steps in 0..4 {
        let operations = [
            Operation::HOT_BACKUP,
            Operation::GET_DM_INFO,
            Operation::FREEZE,
            Operation::THAW,
        ];
        let mut guest = guest();
        let asked = guest.control("backup", json!({}));
        for operation in &operations[..steps] {
            answer(&mut guest, *operation, Status::OK);
        }
        guest.pass(Duration::ZERO);
        answer(&mut guest, operations[steps], Status::FAIL);
        assert!(asked.only().unwrap_err().contains("FAIL"));
        assert!(guest.take().is_none());
        // A guest that does not thaw is asked again later.
        assert_eq!(guest.status("frozen"), steps == 3);
    }
}

#[test]
fn a_freeze_without_an_answer_is_followed_by_a_thaw() {
    let mut guest = guest();
    let asked = guest.control("freeze", json!({"timeout_ms": 700}));
    let freeze = expect(&mut guest, Operation::FREEZE);
    guest.pass(Duration::from_millis(700));
    let thaw = expect(&mut guest, Operation::THAW);
    assert_eq!(asked.answer(), None);
    // The guest was slow, and does one thing after the other.
    guest.answer(&freeze, Status::OK, &[]);
    assert_eq!(guest.status("unexpected"), 1);
    guest.answer(&thaw, Status::OK, &[]);
    assert_eq!(asked.only(), Err("the guest did not answer in time".into()));
    assert_eq!(
        (guest.status("frozen"), guest.status("thaws")),
        (json!(false), json!(1))
    );
}

#[test]
fn a_guest_that_answers_nothing_at_all_leaves_nobody_waiting() {
    let mut guest = guest();
    let asked = guest.control("backup", json!({"timeout_ms": 100}));
    guest.pass(Duration::from_millis(200));
    assert!(asked.only().is_err());
    let asked = guest.control("freeze", json!({"timeout_ms": 100}));
    guest.pass(Duration::from_millis(200));
    assert!(asked.only().is_err());
    // Whether it is frozen, nobody knows: it is asked to thaw again and again.
    assert_eq!(guest.status("frozen"), true);
    while guest.take().is_some() {}
    for _ in 0..3 {
        guest.pass(Duration::from_secs(600));
        expect(&mut guest, Operation::THAW);
    }
    guest.pass(Duration::from_secs(600));
    answer(&mut guest, Operation::THAW, Status::OK);
    assert_eq!(
        (guest.status("frozen"), guest.take().is_none()),
        (json!(false), true)
    );
}

#[test]
fn a_freeze_that_nobody_undoes_ends_by_itself() {
    let mut guest = guest();
    let _asked = guest.control("freeze", json!({}));
    answer(&mut guest, Operation::FREEZE, Status::OK);
    guest.pass(Duration::from_secs(599));
    assert!(guest.take().is_none());
    guest.pass(Duration::from_secs(1));
    answer(&mut guest, Operation::THAW, Status::OK);
    assert_eq!(
        (guest.status("frozen"), guest.status("thaws")),
        (json!(false), json!(1))
    );
}

#[test]
fn closing_answers_whoever_waits_and_forgets_the_freeze() {
    let mut guest = guest();
    let _asked = guest.control("freeze", json!({}));
    answer(&mut guest, Operation::FREEZE, Status::OK);
    let asked = guest.control("thaw", json!({}));
    guest.close();
    assert_eq!(asked.only(), Err(crate::CLOSED.into()));
    assert_eq!(guest.status("frozen"), false);
    assert_eq!(vmbus_host::Device::deadline(&guest.ic), None);
}

#[test]
fn an_answer_without_flags_is_nonsense() {
    let mut guest = guest();
    let asked = guest.control("check", json!({}));
    let mut request = guest.expect();
    request.body.truncate(11);
    request.prefix.body_length.set(11);
    guest.answer(&request, Status::OK, &[]);
    assert!(asked.only().unwrap_err().contains("makes no sense"));
    assert_eq!(guest.status("malformed"), 1);
}

#[test]
fn requests_are_checked() {
    let mut guest = guest();
    for (command, arguments, error) in [
        ("freez", json!({}), "check, freeze, thaw, backup"),
        ("freeze", json!({"hold": 1}), "hold"),
    ] {
        let answer = guest.control(command, arguments).only().unwrap_err();
        assert!(answer.contains(error), "{answer}");
    }
}
