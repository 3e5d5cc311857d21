// SPDX-License-Identifier: GPL-2.0

//! What is done when the host takes long: it is waited for, then LUN and controller are reset, then it is given up.
//!
//! The memory of a command is the host's until it has answered the command, or until the channel is closed. So a reset is
//! over only when the host has given back all that it had of the LUN, and if it never does, the controller is closed.

use crate::lun::Address;
use crate::packet::{Operation, Packet};
use crate::srb::{Srb, SRB_SIZE};
use zerocopy::FromZeros as _;

/// Between two looks whether the host has given commands back, in milliseconds.
pub const LOOK_MS: u32 = 10;

/// By how much a command may seem younger than the kernel's timer, which is set just before it is sent, in milliseconds: a
/// tick of the slowest clock.
const TICK_MS: u64 = 10;

/// What to do about a command that has taken longer than the kernel waits without asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// Wait for it: a slow host is not a broken one.
    Wait,
    /// Reset its LUN, then all.
    Reset,
    /// Close the controller, which is being removed anyway, so that nobody waits for ever for a host that is silent.
    Close,
}

impl Late {
    /// What to do about a command that the host has had for so long, where the user wants to wait for `limit_ms`, or for ever.
    #[must_use]
    pub fn of(age_ms: u64, limit_ms: Option<u32>, leaving: bool) -> Self {
        match limit_ms {
            _ if leaving => Self::Close,
            Some(limit) if age_ms.saturating_add(TICK_MS) >= limit.into() => Self::Reset,
            _ => Self::Wait,
        }
    }
}

/// Whether the host says anything, while the controller is being removed.
#[derive(Clone, Copy, Debug)]
pub struct Silence {
    /// How many commands it had answered at the last look.
    answers: u64,
}

impl Silence {
    /// So far the host has answered so many commands.
    #[must_use]
    pub const fn after(answers: u64) -> Self {
        Self { answers }
    }

    /// By now it has answered so many, and still has some if `busy`: whether it has said nothing since the last look,
    /// although it was to.
    pub fn lasts(&mut self, answers: u64, busy: bool) -> bool {
        let before = core::mem::replace(&mut self.answers, answers);
        busy && before == answers
    }
}

/// How a reset goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Look again after [`LOOK_MS`].
    Look,
    /// It is over.
    Done,
    /// The host has not done it.
    Failed,
}

/// A reset of a LUN, or of all, that the host has answered.
#[derive(Clone, Copy, Debug)]
pub struct Reset {
    /// How long the host has to give the commands back, in milliseconds.
    left_ms: u32,
}

impl Reset {
    /// The request for it.
    #[must_use]
    pub fn request(lun: Option<Address>) -> Packet {
        match lun {
            Some(Address { path, target, lun }) => {
                Packet::request(Operation::RESET_LUN).with(&Srb {
                    length: SRB_SIZE.into(),
                    path_id: path,
                    target_id: target,
                    lun,
                    ..Srb::new_zeroed()
                })
            }
            None => Packet::request(Operation::RESET_BUS),
        }
    }

    /// The host has answered; `None` if it refuses. It ends the commands by answering them, within this time.
    #[must_use]
    pub fn answered(answer: &Packet, timeout_ms: u32) -> Option<Self> {
        answer.is_success().then_some(Self {
            left_ms: timeout_ms,
        })
    }

    /// How it goes: whether the host still has commands that were to end, and whether the controller is closed.
    pub fn progress(&mut self, busy: bool, closed: bool) -> Progress {
        if !busy {
            return Progress::Done;
        }
        if closed || self.left_ms == 0 {
            return Progress::Failed;
        }
        self.left_ms = self.left_ms.saturating_sub(LOOK_MS);
        Progress::Look
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::NtStatus;

    #[test]
    fn a_slow_host_is_waited_for() {
        assert_eq!(Late::of(u64::MAX, None, false), Late::Wait);
        assert_eq!(Late::of(1989, Some(2000), false), Late::Wait);
        assert_eq!(Late::of(1990, Some(2000), false), Late::Reset);
        assert_eq!(Late::of(u64::MAX, Some(2000), false), Late::Reset);
        assert_eq!(Late::of(0, None, true), Late::Close);
        assert_eq!(Late::of(0, Some(2000), true), Late::Close);
    }

    #[test]
    fn a_host_that_answers_something_is_not_silent() {
        let mut silence = Silence::after(7);
        assert!(!silence.lasts(8, true));
        assert!(!silence.lasts(8, false), "it was asked nothing");
        assert!(silence.lasts(8, true) && silence.lasts(8, true));
        assert!(!silence.lasts(9, true));
    }

    #[test]
    fn requests() {
        let lun = Address {
            path: 1,
            target: 2,
            lun: 3,
        };
        let packet = Reset::request(Some(lun));
        assert_eq!(packet.operation(), Operation::RESET_LUN);
        let srb: Srb = packet.payload();
        assert_eq!((srb.path_id, srb.target_id, srb.lun), (1, 2, 3));
        let packet = Reset::request(None);
        assert_eq!(packet, Packet::request(Operation::RESET_BUS));
    }

    #[test]
    fn a_reset_is_over_when_the_host_has_nothing_left() {
        let refused = Packet::answer(NtStatus::UNSUCCESSFUL);
        assert!(Reset::answered(&refused, 30).is_none());
        let success = Packet::answer(NtStatus::SUCCESS);
        let mut reset = Reset::answered(&success, 25).unwrap();
        for _ in 0..3 {
            assert_eq!(reset.progress(true, false), Progress::Look);
        }
        assert_eq!(reset.progress(true, false), Progress::Failed);
        assert_eq!(reset.progress(false, false), Progress::Done);
        assert_eq!(reset.progress(false, true), Progress::Done);
        let mut reset = Reset::answered(&success, 25).unwrap();
        assert_eq!(reset.progress(true, true), Progress::Failed);
        let mut reset = Reset::answered(&success, 0).unwrap();
        assert_eq!(reset.progress(true, false), Progress::Failed);
    }
}
