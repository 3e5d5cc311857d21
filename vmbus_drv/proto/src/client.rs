// SPDX-License-Identifier: GPL-2.0

//! The client's end of the protocol: every decision, and no I/O.
//!
//! The caller posts what the request methods return, feeds what the host sends to [`Client::handle_message`], and
//! carries out the [`Event`]s. A request is complete when its event comes, when the channel's
//! [`Event::Rescinded`] lists it, or when the caller takes it back: with [`Client::not_posted`] if it could not be
//! posted, with [`Client::abandon`] if no answer came in time. A late answer to an abandoned request does no harm:
//! the client undoes what the host did.
//!
//! Whatever the host sends, a message either is the answer to a request that is pending, or changes nothing.

mod event;
mod request;
mod response;

pub use event::{Event, MustRelease, ProtocolError, Refusal};
pub use request::{Contact, OpenParams, Request, RequestError};

use crate::channel::{Channel, ChannelTable};
use crate::message::MessageType;
use crate::offer::Relid;
use crate::version::{FeatureFlags, Version};

/// We ask for none of the options of version 6.0.
const FEATURES: FeatureFlags = FeatureFlags::empty();

/// The first name that is given to a GPADL. Any but 0 would do; this one is the kernel's.
const FIRST_GPADL: u32 = 0xe1e10;

/// The connection to the host.
#[derive(Clone, Copy, Debug)]
enum Connection {
    /// There is none.
    Disconnected,
    /// The proposal of a version is unanswered.
    Contacting {
        /// What the caller asked for.
        contact: Contact,
        /// The version proposed.
        version: Version,
    },
    /// The caller gave that proposal up. A late answer would not tell to which proposal it belongs, so that this
    /// client makes no other.
    Lost,
    /// There is one.
    Connected(Link),
    /// The request to end it is unanswered.
    Unloading(Link),
}

/// What is known of a connection.
#[derive(Clone, Copy, Debug)]
struct Link {
    /// The version agreed on.
    version: Version,
    /// The connection for all messages.
    connection_id: u32,
    /// Whether offers were asked for.
    offers: Offers,
}

/// Whether offers were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offers {
    /// No.
    NotRequested,
    /// Yes, and more of the first ones may come.
    Requested,
    /// Yes, and the first ones are all here. Others may come at any time.
    Delivered,
}

/// The client's end of the protocol. See the [module](self).
#[derive(Debug)]
pub struct Client<T> {
    /// The channels.
    table: T,
    /// The connection to the host.
    connection: Connection,
    /// The name of the next GPADL.
    next_gpadl: u32,
    /// The identity of the next request to open a channel.
    next_open_id: u32,
}

impl<T: ChannelTable> Client<T> {
    /// A client without a connection; the table must be empty.
    pub const fn new(table: T) -> Self {
        Self {
            table,
            connection: Connection::Disconnected,
            next_gpadl: FIRST_GPADL,
            next_open_id: 1,
        }
    }

    /// The channels.
    pub const fn table(&self) -> &T {
        &self.table
    }

    /// The channel with this number.
    pub fn channel(&self, relid: Relid) -> Option<&Channel> {
        self.table.get(relid)
    }

    /// The version agreed on, while connected.
    pub fn version(&self) -> Option<Version> {
        self.link().ok().map(|link| link.version)
    }

    /// Whether the interrupt of an open channel can be moved to another VP, which offlining a CPU takes.
    pub fn can_retarget(&self) -> bool {
        self.speaks(MessageType::MODIFY_CHANNEL)
    }

    /// Whether the host answers when it has moved an interrupt. Before 5.3 it moves it some time later.
    pub fn answers_retarget(&self) -> bool {
        self.speaks(MessageType::MODIFY_CHANNEL_RESPONSE)
    }

    /// Whether messages of this type exist on this connection.
    fn speaks(&self, message_type: MessageType) -> bool {
        self.version()
            .is_some_and(|version| message_type.exists_in(version, FEATURES))
    }

    /// The connection, if there is one and it is not being ended.
    fn link(&self) -> Result<Link, RequestError> {
        match self.connection {
            Connection::Connected(link) => Ok(link),
            _ => Err(RequestError::NotConnected),
        }
    }

    /// A channel that is not rescinded.
    fn live(&mut self, relid: Relid) -> Result<&mut Channel, RequestError> {
        match self.table.get_mut(relid) {
            None => Err(RequestError::UnknownRelid),
            Some(channel) if channel.is_rescinded() => Err(RequestError::Rescinded),
            Some(channel) => Ok(channel),
        }
    }
}

#[cfg(test)]
mod tests;
