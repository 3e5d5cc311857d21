// SPDX-License-Identifier: GPL-2.0

//! Heartbeat: asks the guest in regular intervals whether it lives.
//!
//! There are no requests; the list of devices shows `beats` (answers), `missed` (intervals without one), `lost` (too many
//! of those in a row), `wrong` (answers with another number than the next), `application_state`, and how long ago the last
//! answer was.

use crate::device::{Ic, Service};
use crate::link::{Negotiation, Outcome, Turn};
use core::time::Duration;
use hv_utils_proto as proto;
use proto::heartbeat::{ApplicationState, Beat, APPLICATION_STATE_VERSION};
use proto::Status;
use serde_json::{json, Value};
use vmbus_host::Control;
use zerocopy::little_endian::{U32, U64};
use zerocopy::IntoBytes;

/// How the heartbeat service behaves.
#[derive(Clone, Debug)]
pub struct HeartbeatOptions {
    /// How it negotiates.
    pub negotiation: Negotiation,
    /// How often the guest is asked. Not zero.
    pub period: Duration,
    /// After how many intervals without an answer the guest counts as lost.
    pub lost_after: u32,
    /// The first number.
    pub first_sequence: u64,
}

impl Default for HeartbeatOptions {
    fn default() -> Self {
        Self {
            negotiation: Negotiation::of(proto::Service::Heartbeat),
            period: Duration::from_secs(2),
            lost_after: 5,
            first_sequence: 0,
        }
    }
}

impl Ic {
    /// The heartbeat service.
    #[must_use]
    pub fn heartbeat(options: HeartbeatOptions) -> Self {
        let service = Heartbeat {
            period: options.period.max(Duration::from_millis(1)),
            lost_after: options.lost_after.max(1),
            sequence: options.first_sequence,
            next: None,
            beats: 0,
            missed: 0,
            missed_in_a_row: 0,
            wrong: 0,
            last_seen: None,
            application_state: ApplicationState::UNKNOWN,
        };
        Self::new(proto::Service::Heartbeat, options.negotiation, service)
    }
}

/// The service.
struct Heartbeat {
    /// How often the guest is asked.
    period: Duration,
    /// See [`HeartbeatOptions::lost_after`].
    lost_after: u32,
    /// The number of the next request; while one is outstanding, of that.
    sequence: u64,
    /// When to ask next; never while the channel is not ready.
    next: Option<Duration>,
    /// Answers.
    beats: u64,
    /// Intervals without an answer.
    missed: u64,
    /// Those since the last answer.
    missed_in_a_row: u32,
    /// Answers with a wrong number.
    wrong: u64,
    /// When the last answer came.
    last_seen: Option<Duration>,
    /// What the last answer said.
    application_state: ApplicationState,
}

impl Heartbeat {
    /// Asks, or notes that the guest has not answered yet.
    fn beat(&mut self, turn: &mut Turn<'_>) {
        self.next = Some(turn.now().saturating_add(self.period));
        let beat = Beat {
            sequence: U64::new(self.sequence),
            application_state: U32::new(0),
            reserved: [U32::new(0); 7],
        };
        let timeout = self.period.saturating_mul(self.lost_after);
        if turn.request(&[beat.as_bytes()], timeout).is_err() {
            self.miss();
        }
    }

    /// Notes an interval without an answer.
    fn miss(&mut self) {
        self.missed = self.missed.saturating_add(1);
        self.missed_in_a_row = self.missed_in_a_row.saturating_add(1);
    }
}

impl Service for Heartbeat {
    fn ready(&mut self, turn: &mut Turn<'_>) {
        self.missed_in_a_row = 0;
        self.beat(turn);
    }

    fn ended(&mut self, outcome: Outcome<'_>, turn: &mut Turn<'_>) {
        let Ok(answer) = outcome else {
            return self.miss();
        };
        let expected = self.sequence.wrapping_add(1);
        self.sequence = expected;
        match Beat::parse(answer.body) {
            Ok((sequence, state)) if sequence == expected && answer.status == Status::OK => {
                self.beats = self.beats.saturating_add(1);
                self.missed_in_a_row = 0;
                self.last_seen = Some(turn.now());
                if turn.version() >= APPLICATION_STATE_VERSION {
                    self.application_state = state;
                }
            }
            Ok(_) => self.wrong = self.wrong.saturating_add(1),
            Err(error) => turn.malformed(&error),
        }
    }

    fn closed(&mut self) {
        self.next = None;
    }

    fn deadline(&self) -> Option<Duration> {
        self.next
    }

    fn timer(&mut self, turn: &mut Turn<'_>) {
        self.beat(turn);
    }

    fn control(&mut self, control: Control, _turn: &mut Turn<'_>) {
        let error = crate::unknown(&control.command, &[]);
        control.reply.error(error);
    }

    fn status(&self) -> Value {
        json!({
            "beats": self.beats,
            "missed": self.missed,
            "lost": self.missed_in_a_row >= self.lost_after,
            "wrong": self.wrong,
            "last_seen_ms": self.last_seen.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            "application_state": format!("{:?}", self.application_state).to_lowercase(),
        })
    }
}

#[cfg(test)]
mod tests;
