// SPDX-License-Identifier: GPL-2.0

//! Shutdown: power-off, restart and hibernation by request of the host.
//!
//! `{"command": "shutdown"}` powers the guest off; `"reboot": true` or `"hibernate": true` ask for that instead, and
//! `"force": true` for not waiting. The answer comes when the guest has agreed, before it acts; it is an error when the
//! guest refuses or says nothing within `"timeout_ms"`.

use crate::device::{arguments, duration, Ic, Service};
use crate::link::{Negotiation, Outcome, Turn};
use crate::refusal;
use core::time::Duration;
use hv_utils_proto as proto;
use proto::shutdown::{Flags, Request, HIBERNATE_VERSION, MESSAGE_UNITS, REASON_PLANNED};
use proto::utf16;
use proto::Status;
use serde::Deserialize;
use serde_json::{json, Value};
use vmbus_host::{Control, Reply};
use zerocopy::little_endian::{U16, U32};
use zerocopy::IntoBytes;

/// How the shutdown service behaves.
#[derive(Clone, Debug)]
pub struct ShutdownOptions {
    /// How it negotiates.
    pub negotiation: Negotiation,
    /// How long the guest may take to agree.
    pub timeout: Duration,
}

impl Default for ShutdownOptions {
    fn default() -> Self {
        Self {
            negotiation: Negotiation::of(proto::Service::Shutdown),
            timeout: Duration::from_secs(30),
        }
    }
}

impl Ic {
    /// The shutdown service.
    #[must_use]
    pub fn shutdown(options: ShutdownOptions) -> Self {
        let service = Shutdown {
            timeout: options.timeout,
            waiting: None,
            accepted: 0,
            refused: 0,
        };
        Self::new(proto::Service::Shutdown, options.negotiation, service)
    }
}

/// The service.
struct Shutdown {
    /// How long the guest may take to agree.
    timeout: Duration,
    /// Who waits for the guest.
    waiting: Option<Reply>,
    /// Requests that the guest agreed to.
    accepted: u64,
    /// Requests that it refused.
    refused: u64,
}

/// The members of a request.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Arguments {
    /// Do not wait for programs that object.
    force: bool,
    /// Restart.
    reboot: bool,
    /// Hibernate.
    hibernate: bool,
    /// Why, in Windows' numbers.
    reason: u32,
    /// What the guest is told that it may take to shut down.
    seconds: u32,
    /// A text for those logged in.
    message: String,
    /// How long the guest may take to agree.
    timeout_ms: Option<u64>,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            force: false,
            reboot: false,
            hibernate: false,
            reason: REASON_PLANNED,
            seconds: 0,
            message: String::new(),
            timeout_ms: None,
        }
    }
}

impl Arguments {
    /// The body that says so.
    fn request(&self) -> Result<Request, String> {
        let mut flags = Flags::empty();
        flags.set(Flags::FORCE, self.force);
        flags.set(Flags::RESTART, self.reboot);
        flags.set(Flags::HIBERNATE, self.hibernate);
        let mut request = Request {
            reason: U32::new(self.reason),
            timeout: U32::new(self.seconds),
            flags: U32::new(flags.bits()),
            display_message: [U16::new(0); MESSAGE_UNITS],
        };
        utf16::encode(&self.message, &mut request.display_message)
            .map_err(|utf16::TooLong| "the message is longer than 1023 UTF-16 units")?;
        Ok(request)
    }
}

impl Shutdown {
    /// Asks the guest.
    fn ask(&self, arguments: &Arguments, turn: &mut Turn<'_>) -> Result<(), String> {
        let request = arguments.request()?;
        turn.may_request().map_err(|error| error.to_string())?;
        if arguments.hibernate && turn.version() < HIBERNATE_VERSION {
            return Err(format!(
                "hibernation takes version {HIBERNATE_VERSION}, and the guest speaks {}",
                turn.version()
            ));
        }
        let timeout = duration(arguments.timeout_ms, self.timeout);
        turn.request(&[request.as_bytes()], timeout)
            .map_err(|error| error.to_string())
    }
}

impl Service for Shutdown {
    fn ended(&mut self, outcome: Outcome<'_>, _turn: &mut Turn<'_>) {
        let Some(reply) = self.waiting.take() else {
            return;
        };
        match outcome {
            Ok(answer) if answer.status == Status::OK => {
                self.accepted = self.accepted.saturating_add(1);
                reply.ok(Value::Null);
            }
            Ok(answer) => {
                self.refused = self.refused.saturating_add(1);
                reply.error(refusal(answer.status));
            }
            Err(timed_out) => reply.error(timed_out.to_string()),
        }
    }

    fn closed(&mut self) {
        if let Some(reply) = self.waiting.take() {
            reply.error(crate::CLOSED);
        }
    }

    fn control(&mut self, control: Control, turn: &mut Turn<'_>) {
        if control.command != "shutdown" {
            return control
                .reply
                .error(crate::unknown(&control.command, &["shutdown"]));
        }
        match arguments(control.arguments).and_then(|arguments| self.ask(&arguments, turn)) {
            Ok(()) => self.waiting = Some(control.reply),
            Err(error) => control.reply.error(error),
        }
    }

    fn status(&self) -> Value {
        json!({ "accepted": self.accepted, "refused": self.refused })
    }
}

#[cfg(test)]
mod tests;
