// SPDX-License-Identifier: GPL-2.0

//! Time synchronisation: tells the guest the time, as an order when it connects and as a hint from then on.
//!
//! `{"command": "timesync"}` sends the time at once, as an order or, with `"sample": true`, as a hint. `"offset_ms"` shifts
//! the host's clock for this and all later messages, `"unix_ms"` sets it; `"age_ms"` sends a time that was taken so long
//! ago; `"interval_ms"` changes how often hints are sent, 0 for never. The answer comes with the guest's, and says what
//! was sent.

use crate::device::{arguments, Ic, Service};
use crate::link::{Negotiation, Outcome, Turn};
use crate::refusal;
use core::time::Duration;
use hv_utils_proto as proto;
use proto::timesync::{
    Flags, ReferenceSample, Sample, NANOSECONDS_PER_UNIT, REFERENCE_TIME_VERSION, UNIX_EPOCH,
};
use proto::Status;
use serde::Deserialize;
use serde_json::{json, Value};
use vmbus_host::{Control, Reply};
use zerocopy::little_endian::U64;
use zerocopy::IntoBytes;

/// Units of 100 ns in a millisecond.
const UNITS_PER_MILLISECOND: i64 = 10_000;

/// How the time synchronisation service behaves.
#[derive(Clone, Debug)]
pub struct TimesyncOptions {
    /// How it negotiates.
    pub negotiation: Negotiation,
    /// How often the guest is told the time; never, apart from when it connects, if zero.
    pub interval: Duration,
    /// Whether the guest is ordered to set its clock when it connects.
    pub sync_at_start: bool,
    /// How long the guest may take to answer.
    pub timeout: Duration,
}

impl Default for TimesyncOptions {
    fn default() -> Self {
        Self {
            negotiation: Negotiation::of(proto::Service::Timesync),
            interval: Duration::from_secs(5),
            sync_at_start: true,
            timeout: Duration::from_secs(10),
        }
    }
}

impl Ic {
    /// The time synchronisation service.
    #[must_use]
    pub fn timesync(options: TimesyncOptions) -> Self {
        let service = Timesync {
            interval: options.interval,
            sync_at_start: options.sync_at_start,
            timeout: options.timeout,
            offset: 0,
            next: None,
            waiting: None,
            synced: 0,
            sampled: 0,
            unanswered: 0,
        };
        Self::new(proto::Service::Timesync, options.negotiation, service)
    }
}

/// The service.
struct Timesync {
    /// How often the guest is told the time, if not zero.
    interval: Duration,
    /// See [`TimesyncOptions::sync_at_start`].
    sync_at_start: bool,
    /// How long the guest may take to answer.
    timeout: Duration,
    /// What the host's clock is ahead by, in units of 100 ns.
    offset: i64,
    /// When to tell the time next.
    next: Option<Duration>,
    /// Who waits for the guest, and the answer.
    waiting: Option<(Reply, Value)>,
    /// Orders that were sent.
    synced: u64,
    /// Hints that were sent.
    sampled: u64,
    /// Intervals in which the guest still had to answer an earlier message.
    unanswered: u64,
}

/// The members of a request.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Arguments {
    /// A hint rather than an order.
    sample: bool,
    /// What the host's clock is ahead by from now on.
    offset_ms: Option<i64>,
    /// What the host's clock shows from now on.
    unix_ms: Option<i64>,
    /// How long ago the time was taken.
    age_ms: u32,
    /// How often hints are sent from now on.
    interval_ms: Option<u64>,
}

/// A time to tell.
#[derive(Clone, Copy)]
struct Told {
    /// The host's time.
    time: u64,
    /// The reference time when it was that.
    reference_time: u64,
}

impl Timesync {
    /// The time, as it was `age` units of 100 ns ago.
    fn told(&self, age: u64, turn: &Turn<'_>) -> Told {
        let clocks = turn.time();
        Told {
            time: clocks
                .wall_clock
                .saturating_add_signed(self.offset)
                .saturating_sub(age),
            reference_time: clocks.reference_time.saturating_sub(age),
        }
    }

    /// Tells the time.
    fn tell(&mut self, told: Told, flags: Flags, turn: &mut Turn<'_>) -> Result<(), String> {
        let request = if turn.version() >= REFERENCE_TIME_VERSION {
            let sample = ReferenceSample {
                parent_time: U64::new(told.time),
                reference_time: U64::new(told.reference_time),
                flags: flags.bits(),
                leap_flags: 0,
                stratum: 1,
                reserved: [0; 3],
            };
            turn.request(&[sample.as_bytes()], self.timeout)
        } else {
            let sample = Sample {
                parent_time: U64::new(told.time),
                child_time: U64::new(0),
                round_trip_time: U64::new(0),
                flags: flags.bits(),
            };
            turn.request(&[sample.as_bytes()], self.timeout)
        };
        request.map_err(|error| error.to_string())?;
        let count = if flags == Flags::SYNC {
            &mut self.synced
        } else {
            &mut self.sampled
        };
        *count = count.saturating_add(1);
        Ok(())
    }

    /// Sets when to tell the time next.
    fn schedule(&mut self, now: Duration) {
        self.next = (!self.interval.is_zero()).then(|| now.saturating_add(self.interval));
    }

    /// Carries out a request, and returns the answer.
    fn order(&mut self, arguments: &Arguments, turn: &mut Turn<'_>) -> Result<Value, String> {
        turn.may_request().map_err(|error| error.to_string())?;
        let units = |milliseconds: i64| {
            milliseconds
                .checked_mul(UNITS_PER_MILLISECOND)
                .ok_or("a time is out of range")
        };
        match (arguments.offset_ms, arguments.unix_ms) {
            (Some(_), Some(_)) => return Err("offset_ms and unix_ms exclude each other".into()),
            (Some(offset), None) => self.offset = units(offset)?,
            (None, Some(unix)) => {
                let time = UNIX_EPOCH
                    .checked_add_signed(units(unix)?)
                    .ok_or("a time is out of range")?;
                self.offset = i64::try_from(
                    i128::from(time).saturating_sub(i128::from(turn.time().wall_clock)),
                )
                .map_err(|_| "a time is out of range")?;
            }
            (None, None) => {}
        }
        if let Some(interval) = arguments.interval_ms {
            self.interval = Duration::from_millis(interval);
            self.schedule(turn.now());
        }
        let age = u64::try_from(units(i64::from(arguments.age_ms))?).unwrap_or(0);
        let told = self.told(age, turn);
        let flags = if arguments.sample {
            Flags::SAMPLE
        } else {
            Flags::SYNC
        };
        self.tell(told, flags, turn)?;
        Ok(json!({
            "unix_ns": i128::from(told.time)
                .saturating_sub(i128::from(UNIX_EPOCH))
                .saturating_mul(i128::from(NANOSECONDS_PER_UNIT))
                .to_string(),
            "reference_time": told.reference_time,
        }))
    }
}

impl Service for Timesync {
    fn ready(&mut self, turn: &mut Turn<'_>) {
        self.schedule(turn.now());
        let flags = if self.sync_at_start {
            Flags::SYNC
        } else {
            Flags::SAMPLE
        };
        let told = self.told(0, turn);
        // The channel is ready and idle, so this cannot fail but for a guest that answers nothing.
        let _ = self.tell(told, flags, turn);
    }

    fn ended(&mut self, outcome: Outcome<'_>, _turn: &mut Turn<'_>) {
        let Some((reply, value)) = self.waiting.take() else {
            return;
        };
        match outcome {
            Ok(answer) if answer.status == Status::OK => reply.ok(value),
            Ok(answer) => reply.error(refusal(answer.status)),
            Err(timed_out) => reply.error(timed_out.to_string()),
        }
    }

    fn closed(&mut self) {
        self.next = None;
        if let Some((reply, _)) = self.waiting.take() {
            reply.error(crate::CLOSED);
        }
    }

    fn deadline(&self) -> Option<Duration> {
        self.next
    }

    fn timer(&mut self, turn: &mut Turn<'_>) {
        self.schedule(turn.now());
        let told = self.told(0, turn);
        if self.tell(told, Flags::SAMPLE, turn).is_err() {
            self.unanswered = self.unanswered.saturating_add(1);
        }
    }

    fn control(&mut self, control: Control, turn: &mut Turn<'_>) {
        if control.command != "timesync" {
            return control
                .reply
                .error(crate::unknown(&control.command, &["timesync"]));
        }
        match arguments(control.arguments).and_then(|arguments| self.order(&arguments, turn)) {
            Ok(value) => self.waiting = Some((control.reply, value)),
            Err(error) => control.reply.error(error),
        }
    }

    fn status(&self) -> Value {
        json!({
            "offset_100ns": self.offset,
            "synced": self.synced,
            "sampled": self.sampled,
            "unanswered": self.unanswered,
        })
    }
}

#[cfg(test)]
mod tests;
