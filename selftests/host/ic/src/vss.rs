// SPDX-License-Identifier: GPL-2.0

//! VSS: has the guest's file systems frozen and thawed.
//!
//! | request | what it does |
//! |---|---|
//! | `check` | asks whether the guest can be backed up while it runs; the answer has `hot_backup` and `dm_info`, flags |
//! | `freeze` | freezes; the answer comes when all is frozen |
//! | `thaw` | thaws |
//! | `backup` | all of these in turn, with `hold_ms` between freeze and thaw |
//!
//! All take `timeout_ms`, which is for each step. What may be frozen is thawed: a freeze that was not answered in time is
//! followed by a thaw, and so is one that nobody undoes in [`VssOptions::max_frozen`].

use crate::device::{arguments, duration, Ic, Service};
use crate::link::{Answer, Negotiation, Outcome, Turn};
use crate::refusal;
use core::time::Duration;
use hv_utils_proto as proto;
use proto::vss::{Message, Operation, FREEZE_SIZE};
use proto::{Prefix, Status, Version};
use serde::Deserialize;
use serde_json::{json, Map, Value};
use std::collections::VecDeque;
use vmbus_host::{Control, Reply};
use zerocopy::little_endian::U32;
use zerocopy::IntoBytes;

/// The list of LUNs at the end of a freeze request: none, in the room of the longest list.
static NO_LUNS: [u8; FREEZE_SIZE - Prefix::SIZE - size_of::<Message>()] =
    [0; FREEZE_SIZE - Prefix::SIZE - size_of::<Message>()];

/// How the VSS service behaves.
#[derive(Clone, Debug)]
pub struct VssOptions {
    /// How it negotiates.
    pub negotiation: Negotiation,
    /// How long a step may take.
    pub timeout: Duration,
    /// How long the file systems stay frozen at most.
    pub max_frozen: Duration,
}

impl Default for VssOptions {
    fn default() -> Self {
        let mut negotiation = Negotiation::of(proto::Service::Vss);
        // Hyper-V speaks these too, and a guest must not choose them if its daemon does not.
        negotiation
            .message
            .extend([6, 7].map(|major| Version::new(major, 0)));
        Self {
            negotiation,
            timeout: Duration::from_secs(60),
            max_frozen: Duration::from_secs(600),
        }
    }
}

impl Ic {
    /// The VSS service.
    #[must_use]
    pub fn vss(options: VssOptions) -> Self {
        let service = Vss {
            timeout: options.timeout,
            max_frozen: options.max_frozen,
            run: None,
            frozen_until: None,
            freezes: 0,
            thaws: 0,
            failed: 0,
        };
        Self::new(proto::Service::Vss, options.negotiation, service)
    }
}

/// A step of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Ask the guest.
    Ask(Operation),
    /// Leave the guest frozen.
    Hold(Duration),
}

/// A request of the control socket under way.
struct Run {
    /// What is being done, and then what is left.
    steps: VecDeque<Step>,
    /// When a [`Step::Hold`] ends.
    hold_until: Option<Duration>,
    /// How long each question may take.
    timeout: Duration,
    /// What the guest said so far.
    found: Map<String, Value>,
    /// The first thing that went wrong.
    error: Option<String>,
    /// Who waits for it.
    reply: Option<Reply>,
}

/// The service.
struct Vss {
    /// How long a step may take.
    timeout: Duration,
    /// See [`VssOptions::max_frozen`].
    max_frozen: Duration,
    /// What is under way.
    run: Option<Run>,
    /// When the file systems are thawed by themselves, if they are or may be frozen.
    frozen_until: Option<Duration>,
    /// Freezes that succeeded.
    freezes: u64,
    /// Thaws that succeeded.
    thaws: u64,
    /// Steps that failed.
    failed: u64,
}

/// The members of requests.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Arguments {
    /// How long a backup takes.
    hold_ms: u64,
    /// How long a step may take.
    timeout_ms: Option<u64>,
}

impl Vss {
    /// The steps that a request takes.
    fn steps(command: &str, arguments: &Arguments) -> Result<VecDeque<Step>, String> {
        let check = [
            Step::Ask(Operation::HOT_BACKUP),
            Step::Ask(Operation::GET_DM_INFO),
        ];
        let (freeze, thaw) = (Step::Ask(Operation::FREEZE), Step::Ask(Operation::THAW));
        Ok(match command {
            "check" => check.into(),
            "freeze" => [freeze].into(),
            "thaw" => [thaw].into(),
            "backup" => {
                let hold = Step::Hold(Duration::from_millis(arguments.hold_ms));
                check.into_iter().chain([freeze, hold, thaw]).collect()
            }
            other => {
                return Err(crate::unknown(
                    other,
                    &["check", "freeze", "thaw", "backup"],
                ))
            }
        })
    }

    /// Starts steps.
    fn start(
        &mut self,
        steps: VecDeque<Step>,
        timeout: Duration,
        reply: Option<Reply>,
        turn: &mut Turn<'_>,
    ) {
        self.run = Some(Run {
            steps,
            hold_until: None,
            timeout,
            found: Map::new(),
            error: None,
            reply,
        });
        self.advance(turn);
    }

    /// Does the next step, or ends the run.
    fn advance(&mut self, turn: &mut Turn<'_>) {
        let Some(run) = &mut self.run else {
            return;
        };
        let error = match run.steps.front() {
            Some(Step::Hold(time)) => {
                run.hold_until = Some(turn.now().saturating_add(*time));
                return;
            }
            Some(Step::Ask(operation)) => {
                let message = Message {
                    operation: *operation,
                    reserved: [0; 7],
                    flags: U32::new(0),
                };
                let luns: &[u8] = match *operation {
                    Operation::FREEZE => &NO_LUNS,
                    _ => &[],
                };
                match turn.request(&[message.as_bytes(), luns], run.timeout) {
                    Ok(()) => return,
                    Err(error) => Some(error.to_string()),
                }
            }
            None => None,
        };
        self.finish(error);
    }

    /// Ends the run, with its own error or this one.
    fn finish(&mut self, error: Option<String>) {
        let Some(run) = self.run.take() else {
            return;
        };
        match (run.error.or(error), run.reply) {
            (Some(error), Some(reply)) => reply.error(error),
            (None, Some(reply)) if run.found.is_empty() => reply.ok(Value::Null),
            (None, Some(reply)) => reply.ok(Value::Object(run.found)),
            (_, None) => {}
        }
    }

    /// Notes what became of a step; says what went wrong.
    fn note(
        &mut self,
        operation: Operation,
        outcome: Outcome<'_>,
        turn: &mut Turn<'_>,
    ) -> Option<String> {
        let answer = match outcome {
            Ok(answer) => answer,
            Err(timed_out) => return Some(timed_out.to_string()),
        };
        if answer.status != Status::OK {
            return Some(refusal(answer.status));
        }
        match operation {
            Operation::FREEZE => {
                self.freezes = self.freezes.saturating_add(1);
                self.freeze_may_last(turn);
            }
            Operation::THAW => {
                self.thaws = self.thaws.saturating_add(1);
                self.frozen_until = None;
            }
            _ => return self.note_flags(operation, answer, turn),
        }
        None
    }

    /// Sets when a guest that is or may be frozen is thawed at the latest.
    fn freeze_may_last(&mut self, turn: &Turn<'_>) {
        self.frozen_until = Some(turn.now().saturating_add(self.max_frozen));
    }

    /// Notes the flags in an answer.
    fn note_flags(
        &mut self,
        operation: Operation,
        answer: Answer<'_>,
        turn: &mut Turn<'_>,
    ) -> Option<String> {
        let message = match Message::parse(answer.body) {
            Ok(message) => message,
            Err(error) => {
                turn.malformed(&error);
                return Some("the guest's answer makes no sense".into());
            }
        };
        let name = match operation {
            Operation::HOT_BACKUP => "hot_backup",
            _ => "dm_info",
        };
        if let Some(run) = &mut self.run {
            run.found.insert(name.into(), json!(message.flags.get()));
        }
        None
    }
}

impl Service for Vss {
    fn ended(&mut self, outcome: Outcome<'_>, turn: &mut Turn<'_>) {
        let step = self.run.as_mut().and_then(|run| run.steps.pop_front());
        let Some(Step::Ask(operation)) = step else {
            return;
        };
        let timed_out = outcome.is_err();
        if let Some(error) = self.note(operation, outcome, turn) {
            self.failed = self.failed.saturating_add(1);
            if let Some(run) = &mut self.run {
                run.error.get_or_insert(error);
                run.steps.clear();
                // Nobody knows whether the guest is frozen, or will be.
                if timed_out && operation == Operation::FREEZE {
                    run.steps.push_back(Step::Ask(Operation::THAW));
                    self.freeze_may_last(turn);
                }
            }
        }
        self.advance(turn);
    }

    fn closed(&mut self) {
        // The guest thaws when it loses the channel.
        self.frozen_until = None;
        self.finish(Some(crate::CLOSED.into()));
    }

    fn deadline(&self) -> Option<Duration> {
        match &self.run {
            Some(run) => run.hold_until,
            None => self.frozen_until,
        }
    }

    fn timer(&mut self, turn: &mut Turn<'_>) {
        if let Some(run) = &mut self.run {
            run.hold_until = None;
            run.steps.pop_front();
            self.advance(turn);
        } else {
            // Again later, if this does not help.
            self.freeze_may_last(turn);
            let thaw = [Step::Ask(Operation::THAW)].into();
            self.start(thaw, self.timeout, None, turn);
        }
    }

    fn control(&mut self, control: Control, turn: &mut Turn<'_>) {
        let Control {
            command,
            arguments: members,
            reply,
        } = control;
        let checked = arguments::<Arguments>(members).and_then(|arguments| {
            let steps = Self::steps(&command, &arguments)?;
            turn.may_request().map_err(|error| error.to_string())?;
            if self.run.is_some() {
                return Err(crate::link::NotNow::Busy.to_string());
            }
            Ok((steps, duration(arguments.timeout_ms, self.timeout)))
        });
        match checked {
            Ok((steps, timeout)) => self.start(steps, timeout, Some(reply), turn),
            Err(error) => reply.error(error),
        }
    }

    fn status(&self) -> Value {
        json!({
            "frozen": self.frozen_until.is_some(),
            "freezes": self.freezes,
            "thaws": self.thaws,
            "failed": self.failed,
        })
    }
}

#[cfg(test)]
mod tests;
