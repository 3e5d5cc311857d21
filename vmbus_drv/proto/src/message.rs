// SPDX-License-Identifier: GPL-2.0

//! The messages of the protocol: one table, and what is derived from it.

pub mod wire;

use crate::version::{FeatureFlags, Version};
use hvdef::hypercall::MESSAGE_PAYLOAD_SIZE;
use hvdef::open_enum;
use wire::Header;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The body of one type of message: what follows the [`Header`], without a variable tail.
pub trait Body: FromBytes + IntoBytes + Immutable {
    /// The type that the header names.
    const TYPE: MessageType;
    /// Size of the message without a tail, header included, in bytes.
    const MESSAGE_SIZE: usize;
}

/// Derives types, parser and checks from the table of messages.
///
/// A line is: number, name, body, the first version that has it, and the features that it takes.
macro_rules! vmbus_messages {
    ($($(#[$doc:meta])* $number:literal $name:ident $body:ident $since:ident [$($feature:ident)*];)*) => {
        open_enum! {
            /// The type of a message (`CHANNELMSG_*`).
            pub enum MessageType: u32 {
                $($(#[$doc])* $name = $number,)*
            }
        }

        impl MessageType {
            /// Whether messages of this type exist in a version with these features.
            #[must_use]
            pub fn exists_in(self, version: Version, features: FeatureFlags) -> bool {
                match self {
                    $(Self::$name => {
                        version >= Version::$since
                            && features.contains(FeatureFlags::empty()$(.union(FeatureFlags::$feature))*)
                    })*
                    _ => false,
                }
            }
        }

        /// A message: a copy of its body, and the bytes after that.
        #[derive(Clone, Copy, Debug)]
        pub enum Message<'a> {
            $($(#[$doc])* $body(wire::$body, &'a [u8]),)*
        }

        impl<'a> Message<'a> {
            /// Reads a message that a peer sent; `version` and `features` are the negotiated ones.
            ///
            /// # Errors
            ///
            /// See [`ParseError`].
            pub fn parse(bytes: &'a [u8], version: Version, features: FeatureFlags) -> Result<Self, ParseError> {
                let Ok((header, rest)) = Header::read_from_prefix(bytes) else {
                    return Err(ParseError::NoHeader);
                };
                let message_type = MessageType(header.message_type.get());
                if !message_type.exists_in(version, features) {
                    return Err(ParseError::Unknown(message_type));
                }
                match message_type {
                    $(MessageType::$name => match wire::$body::read_from_prefix(rest) {
                        Ok((body, tail)) => Ok(Self::$body(body, tail)),
                        Err(_) => Err(ParseError::TooShort(message_type)),
                    },)*
                    _ => Err(ParseError::Unknown(message_type)),
                }
            }

            /// The type of this message.
            #[must_use]
            pub const fn message_type(&self) -> MessageType {
                match self {
                    $(Self::$body(..) => MessageType::$name,)*
                }
            }
        }

        $(impl Body for wire::$body {
            const TYPE: MessageType = MessageType::$name;
            const MESSAGE_SIZE: usize = {
                let size = size_of::<Header>().saturating_add(size_of::<Self>());
                assert!(size <= MESSAGE_PAYLOAD_SIZE, "The message does not fit a SynIC message.");
                size
            };
        })*

        $(const _: usize = wire::$body::MESSAGE_SIZE;)*
    };
}

vmbus_messages! {
    /// The host offers a channel.
    1 OFFER_CHANNEL OfferChannel V4_0 [];
    /// The host withdraws an offer.
    2 RESCIND_CHANNEL_OFFER RescindChannelOffer V4_0 [];
    /// The guest asks for all offers.
    3 REQUEST_OFFERS RequestOffers V4_0 [];
    /// The host has sent the offers of the devices that it had at that time.
    4 ALL_OFFERS_DELIVERED AllOffersDelivered V4_0 [];
    /// The guest opens a channel.
    5 OPEN_CHANNEL OpenChannel V4_0 [];
    /// The host answers that.
    6 OPEN_RESULT OpenResult V4_0 [];
    /// The guest closes a channel; there is no answer.
    7 CLOSE_CHANNEL CloseChannel V4_0 [];
    /// The guest describes memory; the tail is a range and the first PFNs.
    8 GPADL_HEADER GpadlHeader V4_0 [];
    /// More PFNs of that.
    9 GPADL_BODY GpadlBody V4_0 [];
    /// The host answers the last of these.
    10 GPADL_CREATED GpadlCreated V4_0 [];
    /// The guest takes memory back.
    11 GPADL_TEARDOWN GpadlTeardown V4_0 [];
    /// The host answers that it no longer uses it.
    12 GPADL_TORNDOWN GpadlTorndown V4_0 [];
    /// The guest gives a relid back.
    13 RELID_RELEASED RelidReleased V4_0 [];
    /// The guest makes contact and proposes a version.
    14 INITIATE_CONTACT InitiateContact V4_0 [];
    /// The host answers that.
    15 VERSION_RESPONSE VersionResponse V4_0 [];
    /// The guest ends the connection, and with it everything that the host knows of it.
    16 UNLOAD Unload V4_0 [];
    /// The host answers that.
    17 UNLOAD_RESPONSE UnloadResponse V4_0 [];
    /// The guest connects a socket to the host.
    21 TL_CONNECT_REQUEST TlConnectRequest V4_0 [];
    /// The guest moves the interrupt of a channel to another VP.
    22 MODIFY_CHANNEL ModifyChannel V4_1 [];
    /// The host answers that a socket could not be connected.
    23 TL_CONNECT_RESULT TlConnectResult V4_0 [];
    /// The host answers that the interrupt was moved.
    24 MODIFY_CHANNEL_RESPONSE ModifyChannelResponse V5_3 [];
    /// The guest replaces the monitor pages.
    25 MODIFY_CONNECTION ModifyConnection V6_0 [MODIFY_CONNECTION];
    /// The host answers that.
    26 MODIFY_CONNECTION_RESPONSE ModifyConnectionResponse V6_0 [MODIFY_CONNECTION];
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// They are too few for a header.
    NoHeader,
    /// There is no such type, or not in this version or without a feature.
    Unknown(MessageType),
    /// They are too few for this type.
    TooShort(MessageType),
}

/// A message to post: at most 240 bytes, and the connection to post it on.
#[must_use = "a message has no effect until it is posted"]
pub struct Outgoing {
    /// Where to post it.
    connection_id: u32,
    /// The bytes of `bytes` that count.
    len: usize,
    /// The message; zero beyond `len`.
    bytes: [u8; MESSAGE_PAYLOAD_SIZE],
}

impl Outgoing {
    /// A message without a tail.
    pub fn new<B: Body>(connection_id: u32, body: &B) -> Self {
        let header = Header::new(B::TYPE);
        let message = header.as_bytes().iter().chain(body.as_bytes());
        let mut bytes = [0; MESSAGE_PAYLOAD_SIZE];
        for (to, from) in bytes.iter_mut().zip(message) {
            *to = *from;
        }
        Self {
            connection_id,
            len: B::MESSAGE_SIZE,
            bytes,
        }
    }

    /// Adds to the tail, and says whether it fitted; where it does not, nothing is added.
    pub fn push(&mut self, tail: &[u8]) -> bool {
        let end = self.len.saturating_add(tail.len());
        let Some(to) = self.bytes.get_mut(self.len..end) else {
            return false;
        };
        // Both have the same length. `copy_from_slice` would check that again, and end in a panic that objtool does
        // not know.
        for (to, from) in to.iter_mut().zip(tail) {
            *to = *from;
        }
        self.len = end;
        true
    }

    /// How many bytes more fit.
    pub(crate) fn room(&self) -> usize {
        MESSAGE_PAYLOAD_SIZE.saturating_sub(self.len)
    }

    /// The connection to post the message on.
    #[must_use]
    pub const fn connection_id(&self) -> u32 {
        self.connection_id
    }

    /// The bytes to post.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}

impl core::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "Outgoing({}, {:02x?})",
            self.connection_id,
            self.as_bytes()
        )
    }
}

/// The message that ends the connection, for the crash path where the client's lock may never be free.
///
/// `connection_id` is the one of [`Event::VersionAccepted`](crate::Event::VersionAccepted).
pub fn unload_message(connection_id: u32) -> Outgoing {
    Outgoing::new(connection_id, &wire::Unload {})
}

/// Whether a message is the host's answer to that.
#[must_use]
pub fn is_unload_response(bytes: &[u8]) -> bool {
    let header = Header::read_from_prefix(bytes);
    header.is_ok_and(|(header, _)| {
        MessageType(header.message_type.get()) == MessageType::UNLOAD_RESPONSE
    })
}

#[cfg(test)]
mod tests;
