// SPDX-License-Identifier: GPL-2.0

//! One service's conversation with the guest: versions, transactions, timeouts and what the guest did wrong.

use core::fmt;
use core::time::Duration;
use hv_utils_proto::negotiation::{Counts, Versions};
use hv_utils_proto::{Flags, Malformed, MessageType, Prefix, Service, Status, Version};
use serde_json::{json, Map, Value};
use zerocopy::little_endian::{U16, U32};
use zerocopy::IntoBytes;

/// How many requests may be without an answer. A guest that reads nothing costs the host no more memory than this many
/// messages; the count starts anew with every answer and when the channel is opened.
const MAX_UNANSWERED: u8 = 128;

/// How a service negotiates.
#[derive(Clone, Debug)]
pub struct Negotiation {
    /// Framework versions that are offered, in this order.
    pub framework: Vec<Version>,
    /// Message versions that are offered, in this order.
    pub message: Vec<Version>,
    /// How long after one offer, unanswered or refused, the next one is sent. A late answer counts all the same.
    pub timeout: Duration,
    /// How many offers are sent.
    pub attempts: u32,
}

impl Negotiation {
    /// All versions that Linux speaks to the service, the oldest first as Hyper-V lists them.
    #[must_use]
    pub fn of(service: Service) -> Self {
        let oldest_first = |versions: &[Version]| versions.iter().rev().copied().collect();
        Self {
            framework: oldest_first(service.framework_versions()),
            message: oldest_first(service.message_versions()),
            timeout: Duration::from_secs(60),
            attempts: 5,
        }
    }

    /// The same with one version of each kind, to see a guest speak it.
    #[must_use]
    pub fn only(self, framework: Version, message: Version) -> Self {
        Self {
            framework: vec![framework],
            message: vec![message],
            ..self
        }
    }

    /// The body of the offer.
    fn body(&self) -> Vec<u8> {
        let count = |versions: &[Version]| U16::new(u16::try_from(versions.len()).unwrap_or(0));
        let counts = Counts {
            framework: count(&self.framework),
            message: count(&self.message),
            reserved: U32::new(0),
        };
        let mut body = counts.as_bytes().to_vec();
        for version in self.framework.iter().chain(&self.message) {
            body.extend_from_slice(version.as_bytes());
        }
        body
    }
}

/// The clocks, read once for a call into a device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time {
    /// Time since the host started.
    pub(crate) now: Duration,
    /// Units of 100 ns since 1601-01-01 UTC.
    pub(crate) wall_clock: u64,
    /// Reference time, in units of 100 ns.
    pub(crate) reference_time: u64,
}

/// Where the conversation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The channel is not open.
    Closed,
    /// The versions were offered.
    Negotiating {
        /// How many more offers will be sent.
        left: u32,
        /// When the next one is, or the guest has refused for good.
        next: Duration,
    },
    /// The versions are agreed.
    Ready {
        /// Of the framework.
        framework: Version,
        /// Of the messages.
        message: Version,
    },
    /// There were enough offers. An answer still counts.
    GivenUp,
}

/// Why no request can be sent now; the text is for the control socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotNow {
    /// The channel is not open.
    Closed,
    /// The versions are not agreed yet.
    Negotiating,
    /// There is no common version.
    GivenUp,
    /// A request is outstanding.
    Busy,
    /// The guest has stopped answering.
    Unresponsive,
}

impl fmt::Display for NotNow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the guest has not opened the channel of this service",
            Self::Negotiating => "the guest has not agreed to a version yet: try again later",
            Self::GivenUp => "the guest has not agreed to any version",
            Self::Busy => "another request is under way: try again later",
            Self::Unresponsive => "the guest has left too many requests without an answer",
        })
    }
}

/// How a request ended.
pub(crate) type Outcome<'a> = Result<Answer<'a>, TimedOut>;

/// The guest did not answer in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimedOut;

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the guest did not answer in time")
    }
}

/// The guest's answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer<'a> {
    /// How the request ended.
    pub(crate) status: Status,
    /// The body, which is the guest's to fill: nothing in it can be relied on.
    pub(crate) body: &'a [u8],
}

/// What the guest's packet means for the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// The versions are agreed, for the first time or anew.
    Ready,
    /// The outstanding request is answered.
    Answer(Answer<'a>),
}

/// What happened on the channel since the device was made.
#[derive(Clone, Debug, Default)]
struct Counters {
    /// Requests sent, offers of versions included.
    sent: u64,
    /// Answers that were expected.
    answered: u64,
    /// Requests that were not answered in time.
    timed_out: u64,
    /// Answers to no outstanding request: too late, or made up.
    unexpected: u64,
    /// Packets and bodies that make no sense.
    malformed: u64,
    /// What was wrong with the last of those.
    last_malformed: Option<String>,
}

/// The request that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Pending {
    /// Its transaction.
    transaction_id: u8,
    /// When it has waited enough.
    deadline: Duration,
}

/// One service's conversation.
#[derive(Debug)]
pub(crate) struct Link {
    /// Which service.
    service: Service,
    /// How it negotiates.
    negotiation: Negotiation,
    /// Where it stands.
    state: State,
    /// The request that waits for its answer. Offers of versions do not count.
    pending: Option<Pending>,
    /// The transaction that was used last.
    last_id: u8,
    /// How many requests were sent since the last answer.
    unanswered: u8,
    /// What happened so far.
    counters: Counters,
}

impl Link {
    /// The conversation before the channel is opened.
    pub(crate) fn new(service: Service, negotiation: Negotiation) -> Self {
        Self {
            service,
            negotiation,
            state: State::Closed,
            pending: None,
            last_id: 0,
            unanswered: 0,
            counters: Counters::default(),
        }
    }

    /// The service.
    pub(crate) fn service(&self) -> Service {
        self.service
    }

    /// The versions of framework and messages, once agreed.
    pub(crate) fn versions(&self) -> Option<(Version, Version)> {
        match self.state {
            State::Ready { framework, message } => Some((framework, message)),
            _ => None,
        }
    }

    /// The channel was opened.
    pub(crate) fn opened(&mut self, now: Duration, out: &mut Vec<Vec<u8>>) {
        self.pending = None;
        self.unanswered = 0;
        self.offer_versions(self.negotiation.attempts, now, out);
    }

    /// The channel was closed.
    pub(crate) fn closed(&mut self) {
        self.state = State::Closed;
        self.pending = None;
    }

    /// Offers the versions once more, if that was not often enough.
    fn offer_versions(&mut self, left: u32, now: Duration, out: &mut Vec<Vec<u8>>) {
        let Some(left) = left.checked_sub(1) else {
            self.state = State::GivenUp;
            return;
        };
        let body = self.negotiation.body();
        self.send(MessageType::NEGOTIATE, &[&body], out);
        self.state = State::Negotiating {
            left,
            next: now.saturating_add(self.negotiation.timeout),
        };
    }

    /// Sends a request, and returns its transaction.
    fn send(&mut self, message_type: MessageType, body: &[&[u8]], out: &mut Vec<Vec<u8>>) -> u8 {
        let (framework, message) = self.versions().unwrap_or((Version::NONE, Version::NONE));
        let length = body.iter().map(|piece| piece.len()).sum::<usize>();
        // No body of this protocol comes near the limit.
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        self.last_id = self.last_id.wrapping_add(1);
        let prefix = Prefix::request(message_type, framework, message, length, self.last_id);
        let mut packet = prefix.as_bytes().to_vec();
        for piece in body {
            packet.extend_from_slice(piece);
        }
        out.push(packet);
        self.counters.sent = self.counters.sent.saturating_add(1);
        self.unanswered = self.unanswered.saturating_add(1);
        self.last_id
    }

    /// Whether a request could be sent.
    fn may_request(&self) -> Result<(), NotNow> {
        match self.state {
            State::Closed => Err(NotNow::Closed),
            State::Negotiating { .. } => Err(NotNow::Negotiating),
            State::GivenUp => Err(NotNow::GivenUp),
            State::Ready { .. } if self.pending.is_some() => Err(NotNow::Busy),
            State::Ready { .. } if self.unanswered >= MAX_UNANSWERED => Err(NotNow::Unresponsive),
            State::Ready { .. } => Ok(()),
        }
    }

    /// The guest sent a packet.
    pub(crate) fn received<'a>(&mut self, payload: &'a [u8]) -> Option<Event<'a>> {
        let (prefix, body) = match Prefix::parse(payload) {
            Ok(parts) => parts,
            Err(error) => return self.malformed(format_args!("{error}")),
        };
        if prefix.flags() != Flags::TRANSACTION | Flags::RESPONSE {
            return self.malformed(format_args!("not an answer: {:?}", prefix.flags()));
        }
        if usize::from(prefix.body_length.get()) > body.len() {
            return self.malformed(format_args!(
                "{}",
                Malformed::BodyLength(prefix.body_length.get())
            ));
        }
        match prefix.message_type() {
            MessageType::NEGOTIATE => self.negotiated(prefix, body),
            kind if kind == self.service.into() => self.answered(prefix, body),
            other => self.malformed(format_args!("an answer of type {other:?}")),
        }
    }

    /// The guest answered an offer of versions.
    fn negotiated<'a>(&mut self, prefix: &Prefix, body: &[u8]) -> Option<Event<'a>> {
        let left = match self.state {
            State::Negotiating { left, .. } => left,
            State::GivenUp => 0,
            State::Closed | State::Ready { .. } => {
                // The answer to an earlier offer than the one that was answered first.
                self.counters.unexpected = self.counters.unexpected.saturating_add(1);
                return None;
            }
        };
        let versions = match Versions::parse(body) {
            Ok(versions) => versions,
            Err(error) => return self.malformed(format_args!("{error}")),
        };
        match (versions.framework, versions.message) {
            ([framework], [message])
                if prefix.status() == Status::OK
                    && self.negotiation.framework.contains(framework)
                    && self.negotiation.message.contains(message) =>
            {
                self.count_answer();
                self.state = State::Ready {
                    framework: *framework,
                    message: *message,
                };
                Some(Event::Ready)
            }
            ([], []) => {
                self.count_answer();
                if left == 0 {
                    self.state = State::GivenUp;
                }
                None
            }
            _ => self.malformed(format_args!("a choice of versions: {versions:?}")),
        }
    }

    /// The guest answered a request of the service.
    fn answered<'a>(&mut self, prefix: &Prefix, body: &'a [u8]) -> Option<Event<'a>> {
        let expected = self.pending.map(|pending| pending.transaction_id);
        if expected != Some(prefix.transaction_id) {
            self.counters.unexpected = self.counters.unexpected.saturating_add(1);
            self.unanswered = 0;
            return None;
        }
        self.pending = None;
        self.count_answer();
        Some(Event::Answer(Answer {
            status: prefix.status(),
            body,
        }))
    }

    /// Counts an answer that was expected.
    fn count_answer(&mut self) {
        self.counters.answered = self.counters.answered.saturating_add(1);
        self.unanswered = 0;
    }

    /// Notes that the guest sent nonsense.
    fn malformed<'a>(&mut self, what: fmt::Arguments<'_>) -> Option<Event<'a>> {
        self.counters.malformed = self.counters.malformed.saturating_add(1);
        self.counters.last_malformed = Some(what.to_string());
        None
    }

    /// When [`Self::expire`] wants to be called.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        match self.state {
            State::Negotiating { next, .. } => Some(next),
            _ => self.pending.map(|pending| pending.deadline),
        }
    }

    /// Does what is due; says whether the outstanding request has waited enough.
    pub(crate) fn expire(&mut self, now: Duration, out: &mut Vec<Vec<u8>>) -> Option<TimedOut> {
        match (self.state, self.pending) {
            (State::Negotiating { left, next }, _) if next <= now => {
                self.offer_versions(left, now, out);
                None
            }
            (State::Ready { .. }, Some(pending)) if pending.deadline <= now => {
                self.pending = None;
                self.counters.timed_out = self.counters.timed_out.saturating_add(1);
                Some(TimedOut)
            }
            _ => None,
        }
    }

    /// What the control socket's list shows of the conversation.
    pub(crate) fn status(&self) -> Map<String, Value> {
        let state = match self.state {
            State::Closed => "closed",
            State::Negotiating { .. } => "negotiating",
            State::Ready { .. } => "ready",
            State::GivenUp => "refused",
        };
        let versions = self.versions();
        let counters = &self.counters;
        let status = json!({
            "state": state,
            "framework": versions.map(|(framework, _)| framework.to_string()),
            "version": versions.map(|(_, message)| message.to_string()),
            "sent": counters.sent,
            "answered": counters.answered,
            "timed_out": counters.timed_out,
            "unexpected": counters.unexpected,
            "malformed": counters.malformed,
            "last_malformed": counters.last_malformed,
        });
        match status {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }
}

/// What a service may do while it is called.
pub(crate) struct Turn<'a> {
    /// Its conversation.
    link: &'a mut Link,
    /// The clocks.
    time: Time,
    /// What the guest is sent.
    out: &'a mut Vec<Vec<u8>>,
}

impl<'a> Turn<'a> {
    /// A call into the service.
    pub(crate) fn new(link: &'a mut Link, time: Time, out: &'a mut Vec<Vec<u8>>) -> Self {
        Self { link, time, out }
    }

    /// The clocks.
    pub(crate) fn time(&self) -> Time {
        self.time
    }

    /// Time since the host started.
    pub(crate) fn now(&self) -> Duration {
        self.time.now
    }

    /// The message version; the oldest where none is agreed.
    pub(crate) fn version(&self) -> Version {
        self.link
            .versions()
            .map_or(Version::new(1, 0), |(_, message)| message)
    }

    /// Whether [`Self::request`] would send.
    pub(crate) fn may_request(&self) -> Result<(), NotNow> {
        self.link.may_request()
    }

    /// Sends a request with a body in pieces. The outcome comes after `timeout` at the latest, unless the channel is closed.
    pub(crate) fn request(&mut self, body: &[&[u8]], timeout: Duration) -> Result<(), NotNow> {
        self.link.may_request()?;
        let message_type = self.link.service.into();
        let transaction_id = self.link.send(message_type, body, self.out);
        self.link.pending = Some(Pending {
            transaction_id,
            deadline: self.time.now.saturating_add(timeout),
        });
        Ok(())
    }

    /// Notes that an answer's body made no sense.
    pub(crate) fn malformed(&mut self, what: &dyn fmt::Display) {
        self.link.malformed(format_args!("{what}"));
    }
}
