// SPDX-License-Identifier: GPL-2.0

//! Tests of the hypercall words.

use super::*;
use crate::synic::MessageType;
use proptest::prelude::*;
use std::vec::Vec;
use std::{format, vec};
use zerocopy::IntoBytes;

/// A result word with this status and this number of repetitions.
fn result(status: Status, reps: u16) -> ResultWord {
    ResultWord(u64::from(status.0) | u64::from(reps) << 32)
}

#[test]
fn layout() {
    assert_eq!(size_of::<PostMessage>(), 256);
    assert_eq!(memoffset::span_of!(PostMessage, connection_id), 0..4);
    assert_eq!(memoffset::span_of!(PostMessage, message_type), 8..12);
    assert_eq!(memoffset::span_of!(PostMessage, payload_size), 12..16);
    assert_eq!(memoffset::span_of!(PostMessage, payload), 16..256);
}

#[test]
fn control_words() {
    assert_eq!(Control::new(Code::SIGNAL_EVENT).fast().bits(), 0x1_005d);
    assert_eq!(Control::new(Code::POST_MESSAGE).bits(), 0x5c);
    assert_eq!(
        Control::new(Code(1))
            .variable_header(0x3ff)
            .map(Control::bits),
        Some(0x7fe_0001)
    );
    assert_eq!(Control::new(Code(1)).variable_header(0x400), None);
    assert_eq!(
        SignalEvent::new(0xffff_ffff, 0xffff).bits(),
        0xffff_ffff_ffff
    );
}

#[test]
fn statuses_have_names_and_unknown_ones_have_numbers() {
    assert_eq!(
        format!("{:?}", Status::INSUFFICIENT_BUFFERS),
        "INSUFFICIENT_BUFFERS"
    );
    assert_eq!(format!("{:?}", Status(0xabcd)), "0xabcd");
    assert_eq!(result(Status(0xabcd), 7).ok(), Err(Status(0xabcd)));
    assert!(Status::INSUFFICIENT_BUFFERS.is_transient_for_post());
    assert!(!Status::ACCESS_DENIED.is_transient_for_post());
}

#[test]
fn a_message_is_at_most_240_bytes() {
    for len in [0, 1, 239, 240] {
        let message = PostMessage::new(4, MessageType::CHANNEL, &vec![0xa5; len]).unwrap();
        let bytes = message.as_bytes();
        assert_eq!(bytes[12..16], u32::try_from(len).unwrap().to_le_bytes());
        assert!(bytes[16..16 + len].iter().all(|byte| *byte == 0xa5));
        assert!(bytes[16 + len..].iter().all(|byte| *byte == 0));
    }
    assert!(PostMessage::new(4, MessageType::CHANNEL, &[0; 241]).is_none());
}

#[test]
fn a_repeat_count_is_1_to_4095() {
    let call = Control::new(Code(1));
    assert_eq!(Rep::new(call, 0), None);
    assert!(Rep::new(call, 1).is_some());
    assert!(Rep::new(call, MAX_REPS).is_some());
    assert_eq!(Rep::new(call, MAX_REPS + 1), None);
}

#[test]
fn a_repeated_call_goes_on_where_it_stopped() {
    let rep = Rep::new(Control::new(Code(2)), 10).unwrap();
    assert_eq!(rep.control().bits(), 0x0000_000a_0000_0002);
    let RepStep::Again(rep) = rep.step(result(Status::SUCCESS, 4)) else {
        panic!()
    };
    assert_eq!(rep.control().bits(), 0x0004_000a_0000_0002);
    assert_eq!(rep.step(result(Status::SUCCESS, 10)), RepStep::Done);
    assert_eq!(
        rep.step(result(Status::SUCCESS, 3)),
        RepStep::Stuck { done: 4 }
    );
    assert_eq!(
        rep.step(result(Status::SUCCESS, 11)),
        RepStep::Stuck { done: 4 }
    );
    let failed = |done| RepStep::Failed {
        status: Status::ACCESS_DENIED,
        done,
    };
    assert_eq!(rep.step(result(Status::ACCESS_DENIED, 6)), failed(6));
    assert_eq!(rep.step(result(Status::ACCESS_DENIED, 0)), failed(4));
}

#[test]
fn a_hypervisor_without_progress_is_given_up() {
    let mut rep = Rep::new(Control::new(Code(2)), 2).unwrap();
    // Progress renews the patience.
    for done in [0, 1] {
        for _ in 0..Rep::PATIENCE {
            let RepStep::Again(next) = rep.step(result(Status::SUCCESS, done)) else {
                panic!()
            };
            rep = next;
        }
    }
    let RepStep::Again(rep) = rep.step(result(Status::SUCCESS, 1)) else {
        panic!()
    };
    assert_eq!(
        rep.step(result(Status::SUCCESS, 1)),
        RepStep::Stuck { done: 1 }
    );
}

proptest! {
    #[test]
    fn driving_is_bounded(count in 1..=MAX_REPS, words: Vec<u64>) {
        let mut rep = Rep::new(Control::new(Code(2)), count).unwrap();
        let mut done = 0;
        for word in words {
            match rep.step(ResultWord(word)) {
                RepStep::Again(next) => rep = next,
                RepStep::Done => break,
                RepStep::Failed { done, .. } | RepStep::Stuck { done } => {
                    prop_assert!(done <= count);
                    break;
                }
            }
            prop_assert!(rep.done >= done && rep.done < count);
            done = rep.done;
        }
    }
}
