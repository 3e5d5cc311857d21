// SPDX-License-Identifier: GPL-2.0

//! What comes in: which request a packet answers, or what it tells.

use crate::packet::{Operation, Packet};
use crate::transaction::Transaction;

/// A packet from the host, sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// The answer to a command, if that is in its place.
    Command {
        /// The place.
        place: u32,
        /// The command's generation.
        generation: u32,
        /// The answer. `None`: it makes no sense, but the host has said that it is done with the command.
        answer: Option<&'a Packet>,
    },
    /// The answer to a request of the driver's own.
    Control {
        /// The request's generation.
        generation: u32,
        /// The answer.
        answer: &'a Packet,
    },
    /// LUNs have come or gone.
    LunsChanged,
    /// Nothing that makes sense.
    Nonsense,
}

impl<'a> Incoming<'a> {
    /// Sorts a packet.
    #[inline]
    #[must_use]
    pub fn sort(transaction_id: u64, payload: &'a [u8]) -> Self {
        let packet = Packet::view(payload);
        match (Transaction::from_id(transaction_id), packet) {
            (Transaction::Command { place, generation }, answer) => Self::Command {
                place,
                generation,
                answer: answer.filter(|answer| answer.operation() == Operation::COMPLETE_IO),
            },
            (Transaction::Control { generation }, Some(answer)) => {
                Self::Control { generation, answer }
            }
            (Transaction::Unsolicited, _) => match Operation::view(payload) {
                Some(Operation::ENUMERATE_BUS | Operation::REMOVE_DEVICE) => Self::LunsChanged,
                _ => Self::Nonsense,
            },
            (Transaction::Control { .. }, None) => Self::Nonsense,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{NtStatus, PACKET_SIZE};
    use proptest::prelude::*;
    use zerocopy::IntoBytes as _;

    const COMMAND: Transaction = Transaction::Command {
        place: 5,
        generation: 9,
    };
    const CONTROL: Transaction = Transaction::Control { generation: 9 };

    fn sort(transaction: Transaction, packet: &Packet) -> Incoming<'_> {
        Incoming::sort(transaction.id(), packet.as_bytes())
    }

    fn command(answer: Option<&Packet>) -> Incoming<'_> {
        Incoming::Command {
            place: 5,
            generation: 9,
            answer,
        }
    }

    #[test]
    fn answers() {
        let answer = Packet::answer(NtStatus::UNSUCCESSFUL);
        assert_eq!(sort(COMMAND, &answer), command(Some(&answer)));
        let generation = 9;
        assert_eq!(
            sort(CONTROL, &answer),
            Incoming::Control {
                generation,
                answer: &answer
            }
        );
        assert_eq!(sort(Transaction::Unsolicited, &answer), Incoming::Nonsense);
    }

    #[test]
    fn an_answer_without_sense_is_one_nevertheless() {
        let other = Packet::notification(Operation::REMOVE_DEVICE);
        assert_eq!(sort(COMMAND, &other), command(None));
        for (length, whole) in [(0, false), (63, false), (64, true), (65, true)] {
            let bytes = std::vec![1; length];
            let sorted = Incoming::sort(COMMAND.id(), &bytes);
            // 0x0101_0101 is no operation.
            assert_eq!(sorted, command(None));
            let sorted = Incoming::sort(CONTROL.id(), &bytes);
            assert_eq!(sorted != Incoming::Nonsense, whole, "{length}");
        }
    }

    #[test]
    fn what_nobody_asked_for() {
        for (operation, changed) in [
            (Operation::ENUMERATE_BUS, true),
            (Operation::REMOVE_DEVICE, true),
            (Operation::EXECUTE_SRB, false),
            (Operation(0), false),
        ] {
            let packet = Packet::notification(operation);
            let sorted = sort(Transaction::Unsolicited, &packet);
            assert_eq!(sorted == Incoming::LunsChanged, changed);
            assert_eq!(sorted == Incoming::Nonsense, !changed);
        }
    }

    #[test]
    fn what_nobody_asked_for_may_be_an_operation_alone() {
        let packet = Packet::notification(Operation::ENUMERATE_BUS);
        for (length, whole) in [(0, false), (3, false), (4, true), (5, true), (63, true)] {
            let bytes = packet.as_bytes().get(..length).unwrap();
            let sorted = Incoming::sort(Transaction::Unsolicited.id(), bytes);
            assert_eq!(sorted == Incoming::LunsChanged, whole, "{length}");
            assert_eq!(sorted == Incoming::Nonsense, !whole, "{length}");
        }
    }

    proptest! {
        #[test]
        fn anything_is_sorted(id: u64, bytes: [u8; PACKET_SIZE], length in 0..=PACKET_SIZE) {
            let _ = Incoming::sort(id, bytes.get(..length).unwrap());
        }
    }
}
