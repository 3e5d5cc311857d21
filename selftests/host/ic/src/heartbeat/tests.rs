// SPDX-License-Identifier: GPL-2.0

//! Tests of the heartbeat service.

use super::*;
use crate::guest::{Guest, Request};
use hv_utils_proto::{MessageType, Version};

const V1_0: Version = Version::new(1, 0);
const V3_0: Version = Version::new(3, 0);

fn service() -> Ic {
    Ic::heartbeat(HeartbeatOptions {
        lost_after: 3,
        first_sequence: u64::MAX - 1,
        ..HeartbeatOptions::default()
    })
}

fn sequence(request: &Request) -> u64 {
    Beat::parse(&request.body).unwrap().0
}

/// The body of the right answer.
fn answer(request: &Request, state: ApplicationState) -> Vec<u8> {
    let beat = Beat {
        sequence: U64::new(sequence(request).wrapping_add(1)),
        application_state: U32::new(state.0),
        reserved: [U32::new(0); 7],
    };
    beat.as_bytes().to_vec()
}

#[test]
fn a_living_guest_is_asked_every_two_seconds() {
    let mut guest = Guest::ready(service(), V3_0, V3_0);
    let mut last = None;
    for round in 1..=10 {
        let request = guest.expect();
        assert_eq!(request.prefix.message_type(), MessageType::HEARTBEAT);
        assert_eq!(request.body.len(), 40);
        assert_ne!(Some(sequence(&request)), last);
        last = Some(sequence(&request));
        guest.answer(
            &request,
            Status::OK,
            &answer(&request, ApplicationState::HEALTHY),
        );
        assert!(guest.take().is_none());
        assert_eq!(
            (guest.status("beats"), guest.status("missed")),
            (json!(round), json!(0))
        );
        guest.pass(Duration::from_secs(2));
    }
    assert_eq!(
        (guest.status("lost"), guest.status("wrong")),
        (json!(false), json!(0))
    );
    assert_eq!(guest.status("application_state"), "healthy");
    assert_eq!(guest.status("last_seen_ms"), 19_000);
}

#[test]
fn the_state_of_applications_counts_from_version_3() {
    let mut guest = Guest::ready(service(), V3_0, V1_0);
    let request = guest.expect();
    guest.answer(
        &request,
        Status::OK,
        &answer(&request, ApplicationState::CRITICAL),
    );
    assert_eq!(guest.status("application_state"), "unknown");
    let mut guest = Guest::ready(service(), V3_0, V3_0);
    for (state, shown) in [(2, "critical"), (3, "stopped"), (0xabc, "0xabc")] {
        let request = guest.expect();
        guest.answer(
            &request,
            Status::OK,
            &answer(&request, ApplicationState(state)),
        );
        assert_eq!(guest.status("application_state"), shown);
        guest.pass(Duration::from_secs(2));
    }
}

#[test]
fn a_silent_guest_is_lost_after_three_intervals_and_found_again() {
    let mut guest = Guest::ready(service(), V3_0, V3_0);
    let request = guest.expect();
    guest.pass(Duration::from_millis(5999));
    assert_eq!(
        (guest.status("missed"), guest.status("lost")),
        (json!(2), json!(false))
    );
    guest.answer(
        &request,
        Status::OK,
        &answer(&request, ApplicationState::UNKNOWN),
    );
    guest.pass(Duration::from_millis(1));
    let _unanswered = guest.expect();
    guest.pass(Duration::from_secs(6));
    assert_eq!(
        (guest.status("lost"), guest.status("timed_out")),
        (json!(true), json!(1))
    );
    let request = guest.expect();
    guest.answer(
        &request,
        Status::OK,
        &answer(&request, ApplicationState::UNKNOWN),
    );
    assert_eq!(
        (guest.status("lost"), guest.status("beats")),
        (json!(false), json!(2))
    );
}

#[test]
fn a_wrong_number_is_no_beat() {
    let mut guest = Guest::ready(service(), V3_0, V3_0);
    let request = guest.expect();
    // As it was asked.
    guest.answer(&request, Status::OK, &[]);
    guest.pass(Duration::from_secs(2));
    let request = guest.expect();
    guest.answer(
        &request,
        Status::FAIL,
        &answer(&request, ApplicationState::HEALTHY),
    );
    assert_eq!(
        (guest.status("beats"), guest.status("wrong")),
        (json!(0), json!(2))
    );
}

#[test]
fn an_answer_without_a_number_is_malformed() {
    let mut guest = Guest::ready(service(), V3_0, V3_0);
    let mut request = guest.expect();
    request.body.truncate(7);
    request.prefix.body_length.set(7);
    guest.answer(&request, Status::OK, &[]);
    assert_eq!(
        (guest.status("malformed"), guest.status("beats")),
        (json!(1), json!(0))
    );
}

#[test]
fn a_closed_channel_is_not_asked() {
    let mut guest = Guest::ready(service(), V3_0, V3_0);
    guest.close();
    assert_eq!(vmbus_host::Device::deadline(&guest.ic), None);
    guest.open();
    guest.negotiate(V3_0, V1_0);
    assert!(guest.take().is_some());
}
