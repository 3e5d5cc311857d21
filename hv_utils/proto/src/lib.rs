// SPDX-License-Identifier: GPL-2.0

//! The protocols of the integration services: small requests of the host over a channel of each service's own.
//!
//! Every message is a [`Prefix`] and a body. The host speaks first: it offers versions, the guest chooses
//! ([`negotiation`]), and from then on the host asks and the guest answers, in place: the answer is the request with its
//! fields filled in, [`Flags::RESPONSE`] set and the same transaction id. One request is outstanding at a time.
//!
//! Facts are from `include/linux/hyperv.h`, `include/uapi/linux/hyperv.h`, `drivers/hv/hv_util.c`, `hv_kvp.c`,
//! `hv_snapshot.c`, `channel_mgmt.c` and `tools/hv` of Linux 7.3. All integers are little-endian, and no field is aligned.
//!
//! Glossary: *IC*, integration component, the older name of these services. *KVP*, key-value pair. *VSS*, volume shadow
//! copy service. *Framework version*, that of the prefix; *message version*, that of a service's bodies.

#![cfg_attr(not(CONFIG_RUST), no_std)]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

/// Gives wire structures the traits that they share.
macro_rules! wire {
    ($($(#[$attr:meta])* pub struct $name:ident { $($(#[$field_attr:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$attr])*
            #[derive(
                Clone,
                Copy,
                Debug,
                PartialEq,
                Eq,
                zerocopy_derive::FromBytes,
                zerocopy_derive::IntoBytes,
                zerocopy_derive::Immutable,
                zerocopy_derive::KnownLayout,
                zerocopy_derive::Unaligned,
            )]
            #[repr(C)]
            pub struct $name {
                $($(#[$field_attr])* pub $field: $type,)*
            }
        )*
    };
}

pub mod alarm;
pub mod fcopy;
pub mod fifo;
pub mod guest;
pub mod heartbeat;
pub mod kvp;
pub mod negotiation;
pub mod relay;
pub mod shutdown;
pub mod sole;
pub mod timesync;
pub mod utf16;
pub mod vss;

mod message;
mod service;

#[cfg(test)]
mod tests;

pub use message::{Flags, Malformed, MessageType, PipeHeader, Prefix, Status, Version};
pub use service::Service;
