// SPDX-License-Identifier: GPL-2.0

//! What a message of the host's means to the caller.

use crate::channel::Pending;
use crate::gpadl::GpadlId;
use crate::message::wire::{ConnectionState, RelidReleased, Status};
use crate::message::{MessageType, Outgoing, ParseError};
use crate::offer::{BadOffer, Relid};
use crate::version::Version;

/// What a message of the host's means to the caller.
#[derive(Debug)]
#[must_use = "an event may carry a message to post, or the end of a request that someone waits for"]
pub enum Event {
    /// The connection is made.
    VersionAccepted {
        /// The version.
        version: Version,
        /// The connection of all later messages; keep it for [`unload_message`](crate::unload_message).
        connection_id: u32,
    },
    /// The host does not speak the version.
    ContactRetry {
        /// The next older one.
        version: Version,
        /// Proposes that; post it.
        message: Outgoing,
    },
    /// The host speaks no version that we speak, or accepts no connection. Contact may be initiated again.
    Refused {
        /// The last version that was proposed.
        version: Version,
        /// Why the host, which speaks that version, accepts no connection.
        state: Option<ConnectionState>,
    },
    /// The host offers a device: its first channel is in the table now.
    Offered {
        /// The channel.
        relid: Relid,
    },
    /// The host offers one more channel of a device; it is in the table now.
    SubchannelOffered {
        /// The first channel of the device.
        primary: Relid,
        /// The channel.
        relid: Relid,
    },
    /// The host offers a channel that we cannot have; it is not in the table.
    OfferRefused {
        /// Why.
        reason: Refusal,
        /// Gives the relid back.
        release: MustRelease,
    },
    /// The offers of the devices that the host had when it was asked have all come.
    AllOffersDelivered,
    /// The host withdrew an offer. It uses no memory of the channel any more.
    ///
    /// Fail what is pending, stop the device, then call [`Client::release`](super::Client::release).
    Rescinded {
        /// The channel.
        relid: Relid,
        /// Requests that are complete now.
        pending: Pending,
    },
    /// A request to open is complete.
    OpenResult {
        /// The channel.
        relid: Relid,
        /// The channel is open on success, and closed otherwise.
        status: Status,
    },
    /// An abandoned request to open is complete; the channel is closed, and the ring may be torn down.
    LateOpen {
        /// The channel.
        relid: Relid,
        /// The memory of the rings.
        ring: GpadlId,
        /// Closes what the host opened, if it did; post it.
        close: Option<Outgoing>,
    },
    /// A request to create a GPADL is complete.
    GpadlCreated {
        /// The channel.
        relid: Relid,
        /// The GPADL, which does not exist unless the status is success.
        gpadl: GpadlId,
        /// How it ended.
        status: Status,
    },
    /// An abandoned request to create a GPADL was carried out.
    LateGpadl {
        /// The channel.
        relid: Relid,
        /// The GPADL.
        gpadl: GpadlId,
        /// Tears it down; post it. [`Event::GpadlTorndown`] follows.
        teardown: Outgoing,
    },
    /// The host uses the memory of a GPADL no more.
    GpadlTorndown {
        /// The channel.
        relid: Relid,
        /// The GPADL, which exists no more.
        gpadl: GpadlId,
    },
    /// A request to move an interrupt is complete.
    ModifyResponse {
        /// The channel.
        relid: Relid,
        /// How it ended.
        status: Status,
    },
    /// The connection is ended and the table is empty: the host has forgotten every channel and GPADL.
    Unloaded,
    /// The message is legitimate, and there is nothing to do.
    Ignored(MessageType),
}

/// Why an offered channel cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The offer is wrong by itself.
    Bad(BadOffer),
    /// The device has a first channel already.
    DuplicatePrimary(Relid),
    /// The device has a sub-channel with this index already.
    DuplicateSubchannel(Relid),
    /// The device of a sub-channel is unknown.
    NoPrimary,
    /// The table is full.
    NoRoom,
}

/// A relid that is to be given back: post [`MustRelease::message`].
///
/// This cannot be copied, so that a relid is given back only once.
#[derive(Debug)]
#[must_use = "the host cannot use the relid again until it is given back"]
pub struct MustRelease {
    /// Where to post the message.
    pub(super) connection_id: u32,
    /// The relid.
    pub(super) relid: Relid,
}

impl MustRelease {
    /// The relid.
    #[must_use]
    pub const fn relid(&self) -> Relid {
        self.relid
    }

    /// The message that gives it back.
    pub fn message(self) -> Outgoing {
        Outgoing::new(
            self.connection_id,
            &RelidReleased {
                relid: self.relid.get().into(),
            },
        )
    }
}

/// The host sent what it must not send. Nothing has changed; count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// This is no message.
    Malformed(ParseError),
    /// No request that this answers is pending, or the connection is not so far yet, or only a guest sends it.
    Unexpected(MessageType),
    /// An offer, or another message, with a relid that cannot be.
    BadRelid(u32),
    /// An offer with a relid that was not given back.
    RelidInUse(Relid),
    /// There is no such channel.
    UnknownRelid(Relid),
    /// There is no such GPADL.
    UnknownGpadl(GpadlId),
}

impl From<ParseError> for ProtocolError {
    fn from(error: ParseError) -> Self {
        Self::Malformed(error)
    }
}
