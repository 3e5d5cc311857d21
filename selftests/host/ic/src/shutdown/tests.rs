// SPDX-License-Identifier: GPL-2.0

//! Tests of the shutdown service, and of what all services share.

use super::*;
use crate::guest::{Asked, Guest};
use hv_utils_proto::negotiation::Answer;
use hv_utils_proto::{MessageType, Version};

const V1_0: Version = Version::new(1, 0);
const V3_0: Version = Version::new(3, 0);
const V3_2: Version = Version::new(3, 2);

fn service() -> Ic {
    Ic::shutdown(ShutdownOptions::default())
}

/// A guest that speaks 3.2.
fn guest() -> Guest {
    Guest::ready(service(), V3_0, V3_2)
}

#[test]
fn each_way_of_going_down_has_its_flags() {
    for (arguments, flags) in [
        (json!({}), 0),
        (json!({"force": true}), 1),
        (json!({"reboot": true}), 2),
        (json!({"reboot": true, "force": true}), 3),
        (json!({"hibernate": true}), 4),
        (json!({"hibernate": true, "force": true}), 5),
    ] {
        let mut guest = guest();
        let asked = guest.control("shutdown", arguments);
        assert_eq!(asked.answer(), None);
        let request = guest.expect();
        assert_eq!(request.prefix.message_type(), MessageType::SHUTDOWN);
        assert_eq!(
            (request.prefix.framework, request.prefix.message),
            (V3_0, V3_2)
        );
        assert_eq!(request.body.len(), 2060);
        assert_eq!(Request::parse(&request.body).unwrap().flags().bits(), flags);
        guest.answer(&request, Status::OK, &[]);
        assert_eq!(asked.only(), Ok(Value::Null));
        assert_eq!(guest.status("accepted"), 1);
    }
}

#[test]
fn the_text_reaches_the_guest() {
    let mut guest = guest();
    guest.control(
        "shutdown",
        json!({"message": "grüße 🙂", "seconds": 7, "reason": 9}),
    );
    let body = guest.expect().body;
    let request = Request::parse(&body).unwrap();
    let text: String = utf16::decode(&request.display_message).unwrap().collect();
    assert_eq!(text, "grüße 🙂");
    assert_eq!((request.timeout.get(), request.reason.get()), (7, 9));
    let asked = guest.control("shutdown", json!({"message": "x".repeat(1024)}));
    assert!(asked.only().unwrap_err().contains("1023"));
}

#[test]
fn a_refusal_is_an_error_that_names_the_status() {
    let mut guest = guest();
    let asked = guest.control("shutdown", json!({"hibernate": true}));
    let request = guest.expect();
    guest.answer(&request, Status::FAIL, &[]);
    assert_eq!(
        asked.only(),
        Err("the guest refused: FAIL (0x80004005)".into())
    );
    assert_eq!(guest.status("refused"), 1);
}

#[test]
fn hibernation_takes_version_3_2() {
    for version in [V1_0, V3_0, Version::new(3, 1)] {
        let mut guest = Guest::ready(service(), V3_0, version);
        let asked = guest.control("shutdown", json!({"hibernate": true}));
        assert!(asked.only().unwrap_err().contains("3.2"));
        assert!(guest.take().is_none());
    }
}

#[test]
fn silence_times_out_and_the_late_answer_is_only_counted() {
    let mut guest = guest();
    let asked = guest.control("shutdown", json!({"timeout_ms": 500}));
    let request = guest.expect();
    guest.pass(Duration::from_millis(499));
    assert_eq!(asked.answer(), None);
    guest.pass(Duration::from_millis(1));
    assert_eq!(asked.only(), Err("the guest did not answer in time".into()));
    guest.answer(&request, Status::OK, &[]);
    assert_eq!(
        (guest.status("unexpected"), guest.status("accepted")),
        (json!(1), json!(0))
    );
    // The service goes on.
    let asked = guest.control("shutdown", json!({}));
    let request = guest.expect();
    guest.answer(&request, Status::OK, &[]);
    assert_eq!(asked.only(), Ok(Value::Null));
}

#[test]
fn a_second_answer_changes_nothing() {
    let mut guest = guest();
    let asked = guest.control("shutdown", json!({}));
    let request = guest.expect();
    guest.answer(&request, Status::OK, &[]);
    guest.answer(&request, Status::FAIL, &[]);
    assert_eq!(asked.only(), Ok(Value::Null));
    assert_eq!(
        (guest.status("accepted"), guest.status("unexpected")),
        (json!(1), json!(1))
    );
}

#[test]
fn closing_answers_whoever_waits() {
    let mut guest = guest();
    let asked = guest.control("shutdown", json!({}));
    guest.close();
    assert_eq!(asked.only(), Err(crate::CLOSED.into()));
    assert_eq!(guest.status("state"), "closed");
    // Nothing of the old conversation is left in the new one.
    guest.open();
    guest.negotiate(V3_0, V3_2);
    let asked = guest.control("shutdown", json!({}));
    let request = guest.expect();
    guest.answer(&request, Status::OK, &[]);
    assert_eq!(asked.only(), Ok(Value::Null));
}

#[test]
fn requests_out_of_turn_say_why() {
    let error = |asked: Asked| asked.only().unwrap_err();
    let mut guest = Guest::new(service());
    assert!(error(guest.control("shutdown", json!({}))).contains("not opened"));
    guest.open();
    assert!(error(guest.control("shutdown", json!({}))).contains("not agreed"));
    guest.negotiate(V3_0, V3_0);
    assert!(error(guest.control("shutdwon", json!({}))).contains("but shutdown"));
    assert!(error(guest.control("shutdown", json!({"reebot": true}))).contains("reebot"));
    let _waits = guest.control("shutdown", json!({}));
    assert!(error(guest.control("shutdown", json!({}))).contains("another request"));
}

#[test]
fn the_offer_lists_the_oldest_versions_first() {
    let mut guest = Guest::new(service());
    guest.open();
    let offer = guest.expect();
    let (framework, message) = (offer.prefix.framework, offer.prefix.message);
    assert_eq!((framework, message), (Version::NONE, Version::NONE));
    let counts_and_versions = [2, 0, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0];
    assert_eq!(offer.body[..16], counts_and_versions);
    assert_eq!(
        offer.body[16..],
        [1, 0, 0, 0, 3, 0, 0, 0, 3, 0, 1, 0, 3, 0, 2, 0]
    );
}

#[test]
fn an_unanswered_offer_is_repeated_and_a_late_answer_counts() {
    let mut negotiation = Negotiation::of(proto::Service::Shutdown);
    negotiation.attempts = 3;
    negotiation.timeout = Duration::from_secs(60);
    let mut guest = Guest::new(Ic::shutdown(ShutdownOptions {
        negotiation,
        ..ShutdownOptions::default()
    }));
    guest.open();
    guest.pass(Duration::from_secs(179));
    assert_eq!(
        (guest.status("sent"), guest.status("state")),
        (json!(3), json!("negotiating"))
    );
    guest.pass(Duration::from_secs(1));
    assert_eq!(
        (guest.status("sent"), guest.status("state")),
        (json!(3), json!("refused"))
    );
    guest.pass(Duration::from_secs(1000));
    guest.negotiate(V3_0, V3_2);
    // The answers to the other two offers.
    for _ in 0..2 {
        let offer = guest.expect();
        let answer = Answer::new(Some((V3_0, V1_0)));
        guest.answer(&offer, Status::OK, answer.as_bytes());
    }
    assert_eq!(
        (guest.status("unexpected"), guest.status("version")),
        (json!(2), json!("3.2"))
    );
}

#[test]
fn a_refused_offer_is_repeated_as_often_as_set() {
    let mut guest = Guest::new(service());
    guest.open();
    for round in 1..=5 {
        let offer = guest.expect();
        // The fcopy daemon refuses with a failure, the kernel without.
        let status = if round % 2 == 0 {
            Status::OK
        } else {
            Status::FAIL
        };
        guest.answer(&offer, status, Answer::new(None).as_bytes());
        guest.pass(Duration::from_secs(60));
    }
    assert!(guest.take().is_none());
    assert_eq!(
        (guest.status("state"), guest.status("malformed")),
        (json!("refused"), json!(0))
    );
}

#[test]
fn a_choice_that_was_not_offered_is_malformed() {
    let only = Negotiation::of(proto::Service::Shutdown).only(V1_0, V1_0);
    let mut guest = Guest::new(Ic::shutdown(ShutdownOptions {
        negotiation: only,
        ..ShutdownOptions::default()
    }));
    guest.open();
    let offer = guest.expect();
    for (framework, message) in [(V3_0, V1_0), (V1_0, V3_0), (Version::NONE, V1_0)] {
        guest.answer(
            &offer,
            Status::OK,
            Answer::new(Some((framework, message))).as_bytes(),
        );
    }
    // Success with a failure, and more versions than asked for.
    guest.answer(
        &offer,
        Status::FAIL,
        Answer::new(Some((V1_0, V1_0))).as_bytes(),
    );
    guest.answer(
        &offer,
        Status::OK,
        &[2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0],
    );
    guest.answer(&offer, Status::OK, &[101, 0]);
    guest.answer(&offer, Status::OK, &[100, 0]);
    assert_eq!(
        (guest.status("malformed"), guest.status("state")),
        (json!(7), json!("negotiating"))
    );
}

#[test]
fn nonsense_is_counted_and_leaves_the_request_waiting() {
    let mut guest = guest();
    let asked = guest.control("shutdown", json!({}));
    let request = guest.expect();
    let good = request.answer(Status::OK, &[]);
    let broken = |at: usize, value: u8| {
        let mut packet = good.clone();
        packet[at] = value;
        packet
    };
    guest.send(&[]);
    guest.send(&good[..27]);
    // Another type, not an answer, a body that is not there.
    guest.send(&broken(12, 1));
    guest.send(&broken(25, 3));
    guest.send(&broken(19, 0xff));
    assert_eq!(guest.status("malformed"), 5);
    // Another transaction.
    guest.send(&broken(24, good[24].wrapping_add(1)));
    assert_eq!(
        (guest.status("malformed"), guest.status("unexpected")),
        (json!(5), json!(1))
    );
    assert_eq!(asked.answer(), None);
    guest.send(&good);
    assert_eq!(asked.only(), Ok(Value::Null));
}

#[test]
fn a_guest_that_answers_nothing_is_not_asked_for_ever() {
    let mut guest = guest();
    let mut refused = 0;
    for _ in 0..300 {
        let asked = guest.control("shutdown", json!({"timeout_ms": 1}));
        guest.pass(Duration::from_millis(1));
        if asked.only().unwrap_err().contains("too many") {
            refused += 1;
        }
    }
    assert_eq!((refused, guest.status("sent")), (300 - 128, json!(129)));
}
