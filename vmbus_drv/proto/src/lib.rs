// SPDX-License-Identifier: GPL-2.0

//! The VMBus channel management protocol and the state machine of its client, without I/O.
//!
//! Messages come in as bytes ([`Client::handle_message`]) and go out as [`Outgoing`] values that the caller posts;
//! every protocol decision is taken here. Nothing allocates: the caller lends a [`ChannelTable`].
//!
//! The source of facts is the kernel's `include/linux/hyperv.h` and `drivers/hv`.
//!
//! Glossary: *offer*, a channel that the host proposes, *rescind*, its withdrawal. *Relid*, the number of an offered
//! channel, given by the host and given back by the guest. *GPADL*, a guest physical address descriptor list: guest
//! pages that the host may map, named by a number that the guest chooses. *VSP* and *VSC*, the service's ends in host
//! and guest. *VP*, virtual processor. *PFN*, guest page number in units of 4096 bytes.

#![cfg_attr(not(CONFIG_RUST), no_std)]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod channel;
pub mod class;
pub mod client;
pub mod gpadl;
pub mod inbox;
pub mod message;
pub mod offer;
pub mod version;

pub use channel::{Channel, ChannelState, ChannelTable, Pending, TableFull};
pub use class::Class;
pub use client::{
    Client, Contact, Event, MustRelease, OpenParams, ProtocolError, Refusal, Request, RequestError,
};
pub use gpadl::{BadRange, Encoder, GpadlId, MissingPfns, Range};
pub use inbox::{Inbox, InboxFull};
pub use message::wire::{ConnectionState, Status, USER_DATA_SIZE};
pub use message::{is_unload_response, unload_message, Message, MessageType, Outgoing, ParseError};
pub use offer::{BadOffer, Offer, OfferFlags, Relid};
pub use version::{FeatureFlags, Version};
