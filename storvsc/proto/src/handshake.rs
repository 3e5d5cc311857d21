// SPDX-License-Identifier: GPL-2.0

//! The handshake on a controller's first channel: the VSC's end, without I/O.
//!
//! BEGIN, a version, the properties, on Fibre Channel the port names, END. One request is on the way at a time: the caller
//! sends the packet that each step returns and feeds the answer to [`Handshake::answered`]. After that, sub-channels may be
//! asked for with [`create_sub_channels`]. All state is the controller's own.

use crate::packet::{NtStatus, Operation, Packet};
use crate::properties::{ChannelFlags, ChannelProperties, FcWwn, SubChannelCount};
use crate::version::{ProtocolVersion, Version};

/// The unit of transfers in bytes: what a PFN counts.
const PAGE_SIZE: u32 = 4096;

/// What the caller wants of a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// The newest version to propose.
    pub max_version: Version,
    /// Whether it is a Fibre Channel adapter.
    pub fibre_channel: bool,
}

/// What the handshake came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Controller {
    /// The version agreed on.
    pub version: Version,
    /// The most bytes that one SRB may move: a multiple of 4096, and not 0.
    pub max_transfer_bytes: u32,
    /// How many sub-channels may be asked for.
    pub max_sub_channels: u16,
    /// The names of a Fibre Channel adapter's ports.
    pub wwn: Option<FcWwn>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this, and feed the answer to [`Handshake::answered`].
    Send(Packet),
    /// SRBs may be sent.
    Ready(Controller),
}

/// Why there is no controller. The handshake is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    /// The answer is shorter than a packet.
    Short,
    /// The answer is none: it has this operation.
    NotAnAnswer(Operation),
    /// The host refused a request.
    Refused {
        /// The request.
        operation: Operation,
        /// The host's reason.
        status: NtStatus,
    },
    /// The host speaks none of our versions.
    NoCommonVersion,
    /// No transfer is so small.
    MaxTransfer(u32),
    /// There is no request on the way.
    NotExpected,
}

/// Which request is on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// BEGIN_INITIALIZATION.
    Beginning,
    /// QUERY_PROTOCOL_VERSION.
    Proposing,
    /// QUERY_PROPERTIES.
    Asking,
    /// FCHBA_DATA.
    Naming,
    /// END_INITIALIZATION.
    Ending,
    /// None: it is over.
    Over,
}

/// The handshake of one controller. See the [module](self).
#[derive(Clone, Copy, Debug)]
pub struct Handshake {
    /// What the caller wants.
    wishes: Wishes,
    /// Which request is on the way.
    state: State,
    /// What is known so far.
    controller: Controller,
}

/// The request for sub-channels, as many as [`Controller::max_sub_channels`] at most. The host offers them when it has
/// answered; a host that refuses ([`Packet::is_success`]) is good for one channel.
#[must_use]
pub fn create_sub_channels(count: u16) -> Packet {
    let count = SubChannelCount {
        count: count.into(),
    };
    Packet::request(Operation::CREATE_SUB_CHANNELS).with(&count)
}

impl Handshake {
    /// Starts a handshake; returns the first packet to send. `None` if no version that we speak is wanted.
    #[must_use]
    pub fn new(wishes: Wishes) -> Option<(Self, Packet)> {
        let mut versions = Version::SUPPORTED.into_iter();
        let version = versions.find(|version| *version <= wishes.max_version)?;
        let handshake = Self {
            wishes,
            state: State::Beginning,
            controller: Controller {
                version,
                max_transfer_bytes: 0,
                max_sub_channels: 0,
                wwn: None,
            },
        };
        Some((handshake, Packet::request(Operation::BEGIN_INITIALIZATION)))
    }

    /// Takes the host's answer to the packet sent last.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`], after which every answer is [`HandshakeError::NotExpected`].
    pub fn answered(&mut self, received: &[u8]) -> Result<Step, HandshakeError> {
        let state = self.state;
        self.state = State::Over;
        if state == State::Over {
            return Err(HandshakeError::NotExpected);
        }
        let answer = Packet::parse(received).ok_or(HandshakeError::Short)?;
        if answer.operation() != Operation::COMPLETE_IO {
            return Err(HandshakeError::NotAnAnswer(answer.operation()));
        }
        if !answer.is_success() {
            return self.refused(state, answer.status());
        }
        match state {
            State::Beginning => Ok(self.propose()),
            State::Proposing => Ok(self.send(State::Asking)),
            State::Asking => self.described(&answer.payload()),
            State::Naming => {
                self.controller.wwn = Some(answer.payload());
                Ok(self.send(State::Ending))
            }
            State::Ending | State::Over => Ok(Step::Ready(self.controller)),
        }
    }

    /// The host refused a request. It may refuse a version.
    fn refused(&mut self, state: State, status: NtStatus) -> Result<Step, HandshakeError> {
        match state {
            State::Proposing => {
                let older = self.controller.version.older();
                self.controller.version = older.ok_or(HandshakeError::NoCommonVersion)?;
                Ok(self.propose())
            }
            _ => Err(HandshakeError::Refused {
                operation: state.operation(),
                status,
            }),
        }
    }

    /// Sends a request without payload.
    fn send(&mut self, state: State) -> Step {
        self.state = state;
        Step::Send(Packet::request(state.operation()))
    }

    /// Proposes the version that is to be tried next.
    fn propose(&mut self) -> Step {
        self.state = State::Proposing;
        let proposal = ProtocolVersion::new(self.controller.version);
        Step::Send(Packet::request(Operation::QUERY_PROTOCOL_VERSION).with(&proposal))
    }

    /// Takes the properties.
    fn described(&mut self, properties: &ChannelProperties) -> Result<Step, HandshakeError> {
        let bytes = properties.max_transfer_bytes.get();
        let max_transfer = bytes & !PAGE_SIZE.wrapping_sub(1);
        if max_transfer == 0 {
            return Err(HandshakeError::MaxTransfer(bytes));
        }
        self.controller.max_transfer_bytes = max_transfer;
        if properties
            .flags()
            .contains(ChannelFlags::SUPPORTS_MULTI_CHANNEL)
        {
            self.controller.max_sub_channels = properties.max_channel_count.get();
        }
        Ok(self.send(match self.wishes.fibre_channel {
            true => State::Naming,
            false => State::Ending,
        }))
    }
}

impl State {
    /// The request that is on the way.
    const fn operation(self) -> Operation {
        match self {
            Self::Beginning => Operation::BEGIN_INITIALIZATION,
            Self::Proposing => Operation::QUERY_PROTOCOL_VERSION,
            Self::Asking => Operation::QUERY_PROPERTIES,
            Self::Naming => Operation::FCHBA_DATA,
            Self::Ending | Self::Over => Operation::END_INITIALIZATION,
        }
    }
}

#[cfg(test)]
mod tests;
