// SPDX-License-Identifier: GPL-2.0

//! The guest's end and the control socket in tests: scripted, in simulated time, without a host around the device.

use crate::link::Time;
use crate::Ic;
use core::time::Duration;
use hv_utils_proto::negotiation::{Answer, Versions};
use hv_utils_proto::{MessageType, Prefix, Status, Version};
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::mpsc::{channel, Receiver};
use vmbus_host::{Control, Device, Reply};
use zerocopy::IntoBytes;

/// The wall clock when a test starts: some day in 2026.
pub(crate) const WALL_CLOCK: u64 = 134_000_000_000_000_000;
/// The reference time when a test starts.
pub(crate) const REFERENCE_TIME: u64 = 5_000_000;

/// Units of 100 ns in a time.
pub(crate) fn units(time: Duration) -> u64 {
    u64::try_from(time.as_nanos() / 100).unwrap()
}

/// A message of the host, taken apart and checked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) prefix: Prefix,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The answer, as stock guests send it: the request with some fields filled in.
    pub(crate) fn answer(&self, status: Status, body: &[u8]) -> Vec<u8> {
        let mut prefix = self.prefix;
        prefix.answer(status);
        let mut payload = prefix.as_bytes().to_vec();
        payload.extend_from_slice(&self.body);
        let end = Prefix::SIZE + body.len();
        payload[Prefix::SIZE..end].copy_from_slice(body);
        payload
    }
}

/// An answer of the control socket that may still be missing.
#[derive(Debug)]
pub(crate) struct Asked(Receiver<Result<Value, String>>);

impl Asked {
    /// The answer so far. An answer is taken once.
    pub(crate) fn answer(&self) -> Option<Result<Value, String>> {
        self.0.try_recv().ok()
    }

    /// The answer, which must be there and be the only one.
    pub(crate) fn only(&self) -> Result<Value, String> {
        let answer = self.0.try_recv().expect("an answer");
        assert!(self.0.try_recv().is_err(), "a second answer");
        answer
    }
}

/// A device with a scripted guest.
pub(crate) struct Guest {
    pub(crate) ic: Ic,
    pub(crate) now: Duration,
    /// Messages that the guest has not taken yet.
    inbox: VecDeque<Vec<u8>>,
}

impl Guest {
    pub(crate) fn new(ic: Ic) -> Self {
        Self {
            ic,
            now: Duration::from_secs(1),
            inbox: VecDeque::new(),
        }
    }

    /// A guest that has opened the channel and chosen these versions.
    pub(crate) fn ready(ic: Ic, framework: Version, message: Version) -> Self {
        let mut guest = Self::new(ic);
        guest.open();
        guest.negotiate(framework, message);
        guest
    }

    /// The clocks of now.
    pub(crate) fn time(&self) -> Time {
        Time {
            now: self.now,
            wall_clock: WALL_CLOCK + units(self.now),
            reference_time: REFERENCE_TIME + units(self.now),
        }
    }

    /// Calls the device, and keeps what it sends.
    fn call<R>(&mut self, call: impl FnOnce(&mut Ic, Time, &mut Vec<Vec<u8>>) -> R) -> R {
        let (time, mut out) = (self.time(), Vec::new());
        let result = call(&mut self.ic, time, &mut out);
        self.inbox.extend(out);
        result
    }

    pub(crate) fn open(&mut self) {
        self.call(Ic::handle_open);
    }

    pub(crate) fn close(&mut self) {
        self.inbox.clear();
        self.ic.handle_close();
    }

    /// Lets time pass, and the device act when it wants to.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..100_000 {
            match self.ic.deadline() {
                Some(deadline) if deadline <= end => {
                    self.now = self.now.max(deadline);
                    self.call(Ic::handle_timer);
                }
                _ => {
                    self.now = end;
                    return;
                }
            }
        }
        panic!("the device never stops asking for the time");
    }

    /// The oldest message that was not taken.
    pub(crate) fn take(&mut self) -> Option<Request> {
        let payload = self.inbox.pop_front()?;
        let (prefix, body) = Prefix::parse(&payload).expect("a prefix");
        assert_eq!(usize::from(prefix.body_length.get()), body.len());
        assert_eq!(
            usize::try_from(prefix.pipe.length.get()).unwrap() + 8,
            payload.len()
        );
        assert_eq!((prefix.flags, prefix.status()), (3, Status::OK));
        Some(Request {
            prefix: *prefix,
            body: body.to_vec(),
        })
    }

    /// As [`Self::take`], where there must be one.
    pub(crate) fn expect(&mut self) -> Request {
        self.take().expect("a message")
    }

    /// Sends a packet.
    pub(crate) fn send(&mut self, payload: &[u8]) {
        self.call(|ic, time, out| ic.handle_payload(payload, time, out));
    }

    /// Answers a request with another body, or the start of one.
    pub(crate) fn answer(&mut self, request: &Request, status: Status, body: &[u8]) {
        self.send(&request.answer(status, body));
    }

    /// Answers the offer of versions.
    pub(crate) fn negotiate(&mut self, framework: Version, message: Version) {
        let offer = self.expect();
        assert_eq!(offer.prefix.message_type(), MessageType::NEGOTIATE);
        let versions = Versions::parse(&offer.body).unwrap();
        assert!(versions.framework.contains(&framework) && versions.message.contains(&message));
        let answer = Answer::new(Some((framework, message)));
        self.answer(&offer, Status::OK, answer.as_bytes());
        assert_eq!(self.status("state"), "ready");
    }

    /// Asks as the control socket does.
    pub(crate) fn control(&mut self, command: &str, arguments: Value) -> Asked {
        let (sender, receiver) = channel();
        let Value::Object(arguments) = arguments else {
            panic!("not an object");
        };
        let control = Control {
            command: command.to_owned(),
            arguments,
            reply: Reply::new(move |answer| {
                // The test may have dropped the receiver.
                let _ = sender.send(answer);
            }),
        };
        self.call(|ic, time, out| ic.handle_control(control, time, out));
        Asked(receiver)
    }

    /// One member of the status.
    pub(crate) fn status(&self, name: &str) -> Value {
        self.ic.status()[name].clone()
    }
}
