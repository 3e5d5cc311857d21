// SPDX-License-Identifier: GPL-2.0

//! Fault injection: rules that say which packet or message goes wrong, and how.
//!
//! A rule is one JSON object, and so the arguments of the control socket's command `fault`:
//!
//! ```
//! # let text = r#"
//! {"channel": "scsi0/1", "direction": "from-guest", "type": "GPA_DIRECT", "nth": 3, "action": {"delay_ms": 20}}
//! # "#;
//! # vmbus_host::fault::Faults::new(1).add(serde_json::from_str(text).unwrap()).unwrap();
//! ```
//!
//! Everything random comes from the host's seed, so that the same guest sees the same faults again.

use crate::channel::OwnedPacket;
use core::time::Duration;
use serde::{Deserialize, Serialize};
use vmbus_proto::MessageType;
use vmbus_ring::{Control, PacketType};

/// What a rule applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Packets to the guest.
    ToGuest,
    /// Packets from the guest.
    FromGuest,
    /// Messages to the guest.
    MessageToGuest,
    /// Messages from the guest.
    MessageFromGuest,
}

/// Before or after what the rule applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// Before the guest or the device gets it.
    Before,
    /// After that.
    After,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It is lost.
    Drop,
    /// It goes on after so many milliseconds.
    #[serde(rename = "delay_ms")]
    DelayMs(u64),
    /// It comes twice.
    Duplicate,
    /// The next of its channel, or the next message, overtakes it; or 100 ms pass.
    Reorder,
    /// Only so many bytes are left: of a message, or of a packet's payload.
    Truncate(usize),
    /// So many zero bytes come behind it, at most 65535: behind a message, or behind a packet's payload. A message to the guest
    /// of more than 240 bytes is lost, as no slot can take it; a packet that no ring can take ends its channel.
    Extend(u16),
    /// Bits of a message, or of a packet's payload, are flipped.
    Corrupt {
        /// Where.
        offset: usize,
        /// Which, in 4 bytes of little-endian order; those beyond the end do not count.
        xor: u32,
    },
    /// Its transaction id, or the number that a message begins with (relid, GPADL), is one too high.
    WrongId,
    /// The same number is random.
    UnknownId,
    /// After it, an index of the ring on which it came or went is overwritten: the read or the write index.
    Index {
        /// The new read index.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        read: Option<u32>,
        /// The new write index.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        write: Option<u32>,
    },
    /// The device is rescinded.
    Rescind(When),
    /// A packet from the guest reaches the device, whose completion is lost. A message is carried out, and the answers to
    /// it are lost.
    NeverAnswer,
    /// A packet asks the device to end the request with this status, as far as it can. A message from the guest is not
    /// carried out, and the answer says so; in a message to the guest the status is replaced.
    ErrorStatus(u32),
}

/// Which packets or messages go wrong, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The device's name: all its channels. With `/` and a number, one of them. None: all devices, and messages that
    /// belong to no channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// What it applies to.
    pub direction: Direction,
    /// The type of message (`OPEN_CHANNEL`) or packet (`GPA_DIRECT`). None: all.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// From which one on, counted from 1 when the rule is added. None: the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nth: Option<u64>,
    /// How likely each is to go wrong. None: each does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// How many go wrong at most. None: one, or without an end if there is a probability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// What goes wrong.
    pub action: Action,
}

/// A rule, and what became of it.
#[derive(Clone, Debug, Serialize)]
pub struct Active {
    /// Its number.
    pub id: u64,
    /// The rule.
    pub rule: Rule,
    /// How many packets or messages it applied to.
    pub seen: u64,
    /// How many of those went wrong.
    pub hits: u64,
}

/// The most rules at a time.
const MAX_RULES: usize = 256;

/// How long something waits to be overtaken.
const REORDER: Duration = Duration::from_millis(100);

/// What passes.
pub(crate) enum Step<'a> {
    /// A packet.
    Packet(&'a mut OwnedPacket),
    /// A message with its header.
    Message(&'a mut Vec<u8>),
}

/// What is to be done with what passed, whose content has been changed already.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// How often it goes on.
    pub(crate) copies: u32,
    /// Not now, but after this time.
    pub(crate) delay: Option<Duration>,
    /// Or when the next one has passed.
    pub(crate) reorder: bool,
    /// Indices to overwrite afterwards.
    pub(crate) indices: Vec<(Direction, Control, u32)>,
    /// Rescind the device first.
    pub(crate) rescind_before: bool,
    /// Rescind the device afterwards.
    pub(crate) rescind_after: bool,
    /// Do not answer.
    pub(crate) never_answer: bool,
    /// End the request with this status.
    pub(crate) error_status: Option<u32>,
}

impl Default for Outcome {
    fn default() -> Self {
        Self {
            copies: 1,
            delay: None,
            reorder: false,
            indices: Vec::new(),
            rescind_before: false,
            rescind_after: false,
            never_answer: false,
            error_status: None,
        }
    }
}

/// The rules, and where everything random comes from.
#[derive(Debug)]
pub struct Faults {
    /// The rules, in the order in which they were added.
    rules: Vec<Active>,
    /// The number of the next rule.
    next_id: u64,
    /// State of the generator (splitmix64).
    random: u64,
}

impl Faults {
    /// No rules.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            rules: Vec::new(),
            next_id: 1,
            random: seed,
        }
    }

    /// Adds a rule and returns its number.
    ///
    /// # Errors
    ///
    /// A sentence for people.
    pub fn add(&mut self, rule: Rule) -> Result<u64, String> {
        if self.rules.len() >= MAX_RULES {
            return Err(format!("there are {MAX_RULES} rules already; clear some"));
        }
        if rule.probability.is_some_and(|p| !(0.0..=1.0).contains(&p)) {
            return Err("a probability is from 0 to 1".into());
        }
        if let Some(kind) = rule.kind.as_ref().filter(|_| !rule.names_a_type()) {
            return Err(format!("there is no type {kind} in this direction"));
        }
        if rule.nth == Some(0) {
            return Err("nth counts from 1".into());
        }
        let id = self.next_id;
        self.next_id = self.next_id.saturating_add(1);
        self.rules.push(Active {
            id,
            rule,
            seen: 0,
            hits: 0,
        });
        Ok(id)
    }

    /// The rules.
    #[must_use]
    pub fn rules(&self) -> &[Active] {
        &self.rules
    }

    /// Removes all rules.
    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// Whether there is no rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Applies the rules to what passes on a channel.
    pub(crate) fn apply(
        &mut self,
        direction: Direction,
        channel: Option<(String, u16)>,
        mut step: Step<'_>,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        let kind = step.kind();
        for active in &mut self.rules {
            if !active.rule.concerns(direction, channel.as_ref(), &kind) {
                continue;
            }
            active.seen = active.seen.saturating_add(1);
            if active.strikes(&mut self.random) {
                active.hits = active.hits.saturating_add(1);
                let action = &active.rule.action;
                outcome.add(action, direction, &mut step, &mut self.random);
            }
        }
        outcome
    }
}

/// The next random number (splitmix64).
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// A random number from 0 to below 1, of 32 bits.
fn fraction(state: &mut u64) -> f64 {
    let high = u32::try_from(random(state) >> 32).unwrap_or(0);
    f64::from(high) / (f64::from(u32::MAX) + 1.0)
}

impl Rule {
    /// Whether the type, if the rule has one, is that of a message or packet.
    fn names_a_type(&self) -> bool {
        // More numbers than have names, for both.
        (0..64).any(|number: u16| {
            let name = match self.direction {
                Direction::ToGuest | Direction::FromGuest => format!("{:?}", PacketType(number)),
                _ => format!("{:?}", MessageType(number.into())),
            };
            self.kind.as_ref().is_none_or(|kind| *kind == name)
        })
    }

    /// Whether the rule is about what passes.
    fn concerns(&self, direction: Direction, channel: Option<&(String, u16)>, kind: &str) -> bool {
        let here = match (&self.channel, channel) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(rule), Some((name, index))) => {
                let sub = rule.strip_prefix(name.as_str());
                sub.is_some_and(|sub| {
                    sub.is_empty()
                        || sub
                            .strip_prefix('/')
                            .is_some_and(|sub| sub.parse() == Ok(*index))
                })
            }
        };
        here && self.direction == direction && self.kind.as_ref().is_none_or(|rule| rule == kind)
    }
}

impl Active {
    /// Whether what was just seen goes wrong.
    fn strikes(&self, state: &mut u64) -> bool {
        let Rule {
            nth,
            probability,
            times,
            ..
        } = self.rule;
        let times = times.or_else(|| probability.is_none().then_some(1));
        if self.seen < nth.unwrap_or(1) || times.is_some_and(|times| self.hits >= times) {
            return false;
        }
        probability.is_none_or(|probability| fraction(state) < probability)
    }
}

impl Step<'_> {
    /// The type, as rules name it.
    fn kind(&self) -> String {
        match self {
            Self::Packet(packet) => format!("{:?}", packet.packet_type),
            Self::Message(bytes) => format!("{:?}", message_type(bytes)),
        }
    }

    /// The bytes that are cut or changed.
    fn bytes(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Packet(packet) => &mut packet.payload,
            Self::Message(bytes) => bytes,
        }
    }

    /// Replaces the transaction id or the number that a message begins with.
    fn replace_id(&mut self, new: impl FnOnce(u64) -> u64) {
        match self {
            Self::Packet(packet) => packet.transaction_id = new(packet.transaction_id),
            Self::Message(bytes) => {
                if let Some(id) = bytes.get_mut(8..).and_then(|body| body.first_chunk_mut()) {
                    let [a, b, c, d, ..] = new(u32::from_le_bytes(*id).into()).to_le_bytes();
                    *id = [a, b, c, d];
                }
            }
        }
    }
}

/// The type of a message.
pub(crate) fn message_type(bytes: &[u8]) -> MessageType {
    MessageType(bytes.first_chunk().map_or(0, |n| u32::from_le_bytes(*n)))
}

/// Where the status is in a message, if it has one.
fn status_offset(message_type: MessageType) -> Option<usize> {
    match message_type {
        MessageType::OPEN_RESULT | MessageType::GPADL_CREATED => Some(16),
        MessageType::MODIFY_CHANNEL_RESPONSE => Some(12),
        MessageType::TL_CONNECT_RESULT => Some(40),
        _ => None,
    }
}

impl Outcome {
    /// Notes or carries out what goes wrong.
    fn add(&mut self, action: &Action, direction: Direction, step: &mut Step<'_>, state: &mut u64) {
        match *action {
            Action::Drop => self.copies = 0,
            Action::DelayMs(ms) => self.delay = Some(Duration::from_millis(ms)),
            Action::Duplicate => self.copies = self.copies.saturating_mul(2).min(16),
            Action::Reorder => {
                self.reorder = true;
                self.delay = Some(self.delay.unwrap_or(REORDER));
            }
            Action::Truncate(len) => step.bytes().truncate(len),
            Action::Extend(len) => {
                let bytes = step.bytes();
                bytes.resize(bytes.len().saturating_add(len.into()), 0);
            }
            Action::Corrupt { offset, xor } => {
                let bytes = step.bytes().iter_mut().skip(offset);
                for (byte, bits) in bytes.zip(xor.to_le_bytes()) {
                    *byte ^= bits;
                }
            }
            Action::WrongId => step.replace_id(|id| id.wrapping_add(1)),
            Action::UnknownId => {
                let id = random(state);
                step.replace_id(|_| id);
            }
            Action::Index { read, write } => {
                let words = [(read, Control::ReadIndex), (write, Control::WriteIndex)];
                self.indices.extend(
                    words
                        .into_iter()
                        .filter_map(|(value, word)| Some((direction, word, value?))),
                );
            }
            Action::Rescind(When::Before) => self.rescind_before = true,
            Action::Rescind(When::After) => self.rescind_after = true,
            Action::NeverAnswer => self.never_answer = true,
            Action::ErrorStatus(status) => {
                self.error_status = Some(status);
                if let (Direction::MessageToGuest, Step::Message(bytes)) = (direction, step) {
                    let at = status_offset(message_type(bytes));
                    let field = at
                        .and_then(|at| bytes.get_mut(at..))
                        .and_then(|field| field.first_chunk_mut());
                    if let Some(field) = field {
                        *field = status.to_le_bytes();
                    }
                }
            }
        }
    }
}
