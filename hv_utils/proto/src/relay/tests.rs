// SPDX-License-Identifier: GPL-2.0

//! Tests of the state between a host and a daemon, with the VSS service as the example.

use super::*;
use crate::vss::{Message, Operation, Timeouts, Vss};
use proptest::prelude::*;
use std::vec::Vec;
use zerocopy::little_endian::U32;
use zerocopy::IntoBytes as _;

/// A request with a number.
#[derive(Debug, PartialEq, Eq)]
struct Request(Message, u8);

impl AsMut<[u8]> for Request {
    fn as_mut(&mut self) -> &mut [u8] {
        self.0.as_mut_bytes()
    }
}

type Machine<P = Vss> = Relay<P, Vec<u8>, Request, u8>;

const TIMEOUTS: Timeouts = Timeouts {
    freeze: 900,
    request: 30,
    frozen: 10_000,
};

fn machine() -> Machine {
    Relay::new(Vss::new(TIMEOUTS), std::vec![0; Vss::MESSAGE_SIZE])
}

fn request(operation: Operation, id: u8) -> Request {
    let message = Message {
        operation,
        reserved: [0; 7],
        flags: U32::new(0),
    };
    Request(message, id)
}

/// What the daemon writes to register, or with this status to answer.
fn written(first: u32) -> Vec<u8> {
    [U32::new(first).as_bytes(), &[0; 8]].concat()
}

/// A machine that has agreed with the host, and a daemon that was greeted.
fn ready() -> Machine {
    let mut relay = machine();
    start_daemon(&mut relay);
    relay
}

fn start_daemon(relay: &mut Machine) {
    assert!(relay.daemon_opens());
    relay.daemon_writes(&written(129), 0).unwrap();
    assert_eq!(relay.daemon_reads(&mut [0; 12]), Some(4));
}

/// What the host is sent: the number of a request and how it ended.
fn answer(relay: &mut Machine) -> Option<(u8, Status)> {
    match relay.next_answer()? {
        Answer::Offer(number) => Some((number, Status(0x0ffe))),
        Answer::Request(Request(_, number), status) => Some((number, status)),
    }
}

/// What the daemon reads.
fn read(relay: &mut Machine) -> Option<Operation> {
    let mut buffer = [0; 12];
    let readable = relay.readable();
    let length = relay.daemon_reads(&mut buffer);
    assert_eq!((readable, length), (length, length.map(|_| 12)));
    length.map(|_| Message::parse(&buffer).unwrap().operation)
}

#[test]
fn the_daemon_needs_room_for_what_there_is_and_not_for_more() {
    let mut relay = machine();
    assert!(relay.daemon_opens());
    assert_eq!(relay.readable(), None);
    relay.daemon_writes(&written(129), 0).unwrap();
    assert_eq!(relay.readable(), Some(4));
    let mut buffer = [0xaa; 12];
    assert_eq!(relay.daemon_reads(&mut buffer), Some(4));
    assert_eq!(buffer[..5], [129, 0, 0, 0, 0xaa]);
    assert_eq!(relay.readable(), None);
    relay.requested(request(Operation::HOT_BACKUP, 1), 0);
    assert_eq!(relay.readable(), Some(12));
}

#[test]
fn a_write_is_a_message_and_for_kvp_at_least_one() {
    use crate::kvp::{Kvp, MESSAGE_SIZE};
    for (bytes, vss, kvp) in [
        (0, false, false),
        (11, false, false),
        (12, true, false),
        (13, false, false),
        (MESSAGE_SIZE - 1, false, false),
        (MESSAGE_SIZE, false, true),
        (MESSAGE_SIZE + 1, false, true),
        (usize::MAX, false, true),
    ] {
        let may = |may| match may {
            true => Ok(()),
            false => Err(Nonsense::Size(bytes)),
        };
        assert_eq!(
            (Vss::may_write(bytes), Kvp::may_write(bytes)),
            (may(vss), may(kvp))
        );
    }
}

#[test]
fn a_request_goes_to_the_daemon_and_its_answer_to_the_host() {
    let mut relay = ready();
    for (status, id) in [(Status::OK, 1), (Status::FAIL, 2), (Status(7), 3)] {
        assert!(relay.readable().is_none());
        relay.requested(request(Operation::HOT_BACKUP, id), 10);
        assert_eq!((relay.deadline(), answer(&mut relay)), (Some(40), None));
        assert_eq!(read(&mut relay), Some(Operation::HOT_BACKUP));
        assert_eq!(read(&mut relay), None);
        assert_eq!(relay.daemon_writes(&written(status.0), 20), Ok(()));
        assert_eq!(answer(&mut relay), Some((id, status)));
        assert_eq!((relay.deadline(), answer(&mut relay)), (None, None));
    }
}

#[test]
fn there_is_one_daemon_and_it_registers_first() {
    let mut relay = machine();
    assert!(relay.daemon_opens());
    assert!(!relay.daemon_opens());
    assert_eq!(
        relay.daemon_writes(&written(0), 0),
        Err(Nonsense::Registration)
    );
    assert_eq!(relay.daemon_writes(&[129; 11], 0), Err(Nonsense::Size(11)));
    assert_eq!(relay.daemon_reads(&mut [0; 12]), None);
    // An old one that takes no greeting.
    assert_eq!(relay.daemon_writes(&written(128), 0), Ok(()));
    assert!(relay.readable().is_none());
    relay.daemon_gone(0);
    start_daemon(&mut relay);
}

#[test]
fn without_a_daemon_requests_fail_at_once() {
    let mut relay = machine();
    for opened in [false, true] {
        if opened {
            assert!(relay.daemon_opens());
        }
        relay.requested(request(Operation::FREEZE, 1), 0);
        assert_eq!(answer(&mut relay), Some((1, Status::FAIL)));
        relay.requested(request(Operation::GET_DM_INFO, 2), 0);
        assert_eq!(answer(&mut relay), Some((2, Status::OK)));
    }
}

#[test]
fn a_daemon_that_dies_ends_the_request_whether_it_has_read_it_or_not() {
    for has_read in [false, true] {
        let mut relay = ready();
        relay.requested(request(Operation::HOT_BACKUP, 1), 0);
        relay.requested(request(Operation::HOT_BACKUP, 2), 0);
        if has_read {
            assert!(read(&mut relay).is_some());
        }
        relay.daemon_gone(0);
        assert_eq!(answer(&mut relay), Some((1, Status::FAIL)));
        assert_eq!(answer(&mut relay), Some((2, Status::FAIL)));
        start_daemon(&mut relay);
        assert_eq!(read(&mut relay), None);
        relay.requested(request(Operation::HOT_BACKUP, 3), 0);
        assert!(read(&mut relay).is_some());
        relay.daemon_writes(&written(0), 0).unwrap();
        assert_eq!(answer(&mut relay), Some((3, Status::OK)));
    }
}

#[test]
fn a_late_answer_is_nobodys() {
    let mut relay = ready();
    relay.requested(request(Operation::HOT_BACKUP, 1), 0);
    assert!(read(&mut relay).is_some());
    assert!(!relay.expire(29));
    assert!(relay.expire(30));
    assert_eq!(answer(&mut relay), Some((1, Status::FAIL)));
    // The next request has come, when the answer to the first does.
    relay.requested(request(Operation::HOT_BACKUP, 2), 31);
    assert_eq!(relay.daemon_writes(&written(77), 32), Ok(()));
    assert_eq!(answer(&mut relay), None);
    assert!(read(&mut relay).is_some());
    assert_eq!(relay.daemon_writes(&written(0), 33), Ok(()));
    assert_eq!(answer(&mut relay), Some((2, Status::OK)));
}

#[test]
fn what_nobody_asked_is_refused() {
    let mut relay = ready();
    assert_eq!(relay.daemon_writes(&written(0), 0), Err(Nonsense::Unasked));
    relay.requested(request(Operation::HOT_BACKUP, 1), 0);
    // It has not read it.
    assert_eq!(relay.daemon_writes(&written(0), 0), Err(Nonsense::Unasked));
    assert!(read(&mut relay).is_some());
    assert_eq!(relay.daemon_writes(&written(0), 0), Ok(()));
    assert_eq!(relay.daemon_writes(&written(0), 0), Err(Nonsense::Unasked));
}

#[test]
fn who_reads_on_does_not_answer_what_it_had_before() {
    let mut relay = ready();
    relay.requested(request(Operation::HOT_BACKUP, 1), 0);
    assert!(read(&mut relay).is_some());
    assert!(relay.expire(30));
    relay.requested(request(Operation::HOT_BACKUP, 2), 30);
    assert!(read(&mut relay).is_some());
    relay.daemon_writes(&written(0), 31).unwrap();
    assert_eq!(answer(&mut relay), Some((1, Status::FAIL)));
    assert_eq!(answer(&mut relay), Some((2, Status::OK)));
}

#[test]
fn requests_wait_for_each_other_and_too_many_are_refused() {
    let mut relay = ready();
    for id in 0..6 {
        relay.requested(request(Operation::HOT_BACKUP, id), 0);
    }
    assert_eq!(answer(&mut relay), Some((4, Status::FAIL)));
    assert_eq!(answer(&mut relay), Some((5, Status::FAIL)));
    for id in 0..4 {
        assert!(read(&mut relay).is_some());
        relay.daemon_writes(&written(0), 0).unwrap();
        assert_eq!(answer(&mut relay), Some((id, Status::OK)));
    }
    assert_eq!((answer(&mut relay), read(&mut relay)), (None, None));
}

#[test]
fn a_closed_channel_voids_what_was_asked() {
    let mut relay = ready();
    relay.requested(request(Operation::HOT_BACKUP, 1), 0);
    relay.requested(request(Operation::HOT_BACKUP, 2), 0);
    assert!(read(&mut relay).is_some());
    relay.host_gone(0);
    assert_eq!((relay.deadline(), answer(&mut relay)), (None, None));
    // The daemon knows nothing of it.
    assert_eq!(relay.daemon_writes(&written(0), 0), Ok(()));
    relay.requested(request(Operation::HOT_BACKUP, 3), 0);
    assert!(read(&mut relay).is_some());
    assert_eq!(relay.daemon_writes(&written(0), 0), Ok(()));
    assert_eq!(answer(&mut relay), Some((3, Status::OK)));
}

#[test]
fn a_caller_who_takes_no_answers_has_no_more_than_some() {
    let mut relay = machine();
    for _ in 0..100 {
        relay.requested(request(Operation::GET_DM_INFO, 0), 0);
    }
    assert_eq!(core::iter::from_fn(|| answer(&mut relay)).count(), UNSENT);
}

#[test]
fn an_offer_waits_for_a_daemon_as_long_as_the_service_has_patience() {
    use crate::kvp::{Kvp, MESSAGE_SIZE};
    let new = || -> Machine<Kvp> { Relay::new(Kvp::new(55, 30), std::vec![0; MESSAGE_SIZE]) };
    let register = || {
        let mut message = std::vec![0; MESSAGE_SIZE];
        message[0] = 100;
        message
    };
    let mut relay = new();
    relay.offered(1, 5);
    assert_eq!((relay.deadline(), relay.next_answer()), (Some(60), None));
    assert!(relay.daemon_opens());
    assert!(!relay.expire(59));
    assert_eq!(relay.next_answer(), None);
    assert_eq!(relay.daemon_writes(&register(), 59), Ok(()));
    assert_eq!(
        (relay.deadline(), relay.next_answer()),
        (None, Some(Answer::Offer(1)))
    );
    // With a daemon it never waits.
    relay.offered(2, 60);
    assert_eq!(relay.next_answer(), Some(Answer::Offer(2)));
    // Nor after the time is up, and only the newest is answered.
    let mut relay = new();
    relay.offered(3, 5);
    relay.offered(4, 50);
    assert!(!relay.expire(60));
    assert_eq!(
        (relay.deadline(), relay.next_answer()),
        (None, Some(Answer::Offer(4)))
    );
    // Nor if the host is gone.
    relay.offered(5, 70);
    relay.host_gone(0);
    relay.expire(200);
    assert_eq!((relay.deadline(), relay.next_answer()), (None, None));
    // The VSS service has none.
    let mut relay = machine();
    relay.offered(6, 0);
    assert_eq!(relay.next_answer(), Some(Answer::Offer(6)));
}

/// What may happen.
#[derive(Clone, Debug)]
enum Action {
    Request(u8),
    Offer,
    Open,
    Write(u32),
    Read,
    Close,
    HostGone,
    Pass(u64),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (0u8..9).prop_map(Action::Request),
        1 => Just(Action::Offer),
        2 => Just(Action::Open),
        4 => prop_oneof![Just(0), Just(129), any::<u32>()].prop_map(Action::Write),
        4 => Just(Action::Read),
        1 => Just(Action::Close),
        1 => Just(Action::HostGone),
        2 => (0u64..1000).prop_map(Action::Pass),
    ]
}

proptest! {
    /// Whatever happens, each request is answered once, in bounded time, unless the host goes away.
    #[test]
    fn each_request_is_answered_once(actions in proptest::collection::vec(action(), 0..60)) {
        let mut relay = machine();
        let (mut now, mut next_id, mut open) = (0, 1, Vec::new());
        for action in actions {
            match action {
                Action::Request(operation) => {
                    relay.requested(request(Operation(operation), next_id), now);
                    open.push(next_id);
                    next_id += 1;
                }
                Action::Offer => relay.offered(0, now),
                Action::Open => drop(relay.daemon_opens()),
                Action::Write(first) => drop(relay.daemon_writes(&written(first), now)),
                Action::Read => {
                    let readable = relay.readable();
                    prop_assert_eq!(relay.daemon_reads(&mut [0; 12]), readable);
                }
                Action::Close => relay.daemon_gone(now),
                Action::HostGone => {
                    relay.host_gone(now);
                    open.clear();
                }
                Action::Pass(time) => {
                    now += time;
                    relay.expire(now);
                    prop_assert!(relay.deadline().is_none_or(|due| due > now));
                }
            }
            while let Some((id, _)) = answer(&mut relay) {
                let at = open.iter().position(|open| *open == id);
                prop_assert!(id == 0 || at.is_some(), "answered twice: {}", id);
                at.map(|at| open.remove(at));
            }
        }
        // However long the daemon sleeps, or how often it is to thaw.
        for _ in 0..20 {
            now = relay.deadline().unwrap_or(now);
            relay.expire(now);
            while let Some((id, _)) = answer(&mut relay) {
                open.retain(|open| *open != id);
            }
        }
        prop_assert!(open.is_empty(), "{open:?}");
    }
}
