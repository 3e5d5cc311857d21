// SPDX-License-Identifier: GPL-2.0

//! VMBus ring buffers: how a channel's packets cross memory that the host can also write.
//!
//! A channel has two rings, one per direction. Each is a 4 KiB control page ([`Control`]) and a
//! data area in which one side writes packets and the other reads them. The crate decides
//! everything about them and touches nothing: memory is reached through [`RingMem`], and what must
//! be done (interrupt the peer, wait for room) is returned to the caller.
//!
//! The words used here:
//!
//! * **index**: offset in bytes into the data area, always a multiple of 8. Equal indices mean an
//!   empty ring, so a ring is never filled completely.
//! * **packet**: a 16-byte descriptor, an optional extension that names memory outside the ring,
//!   the payload, zeros up to a multiple of 8, and an 8-byte trailer.
//! * **signal**: the interrupt that one side sends to the other. The host throttles a guest that
//!   sends needless ones.
//!
//! The host is not trusted. Our own indices are private and never read back; each value that the
//! host wrote is copied once and checked where it is read; a ring whose peer breaks the rules is
//! [`Corrupt`] for good and stops.
//!
//! Facts are from `include/linux/hyperv.h`, `drivers/hv/ring_buffer.c` and
//! `drivers/hv/hyperv_vmbus.h` of Linux 7.3; the TLFS does not describe VMBus.

#![cfg_attr(not(CONFIG_RUST), no_std)]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod gpa;
pub mod inflight;
pub mod monitor;
pub mod packet;
pub mod transfer;

mod memory;
mod reader;
mod size;
mod snapshot;
mod writer;

#[cfg(test)]
mod tests;

pub use memory::{Control, RingMem, FEATURE_PENDING_SEND_SIZE};
pub use packet::{IncomingPacket, OutgoingPacket, PacketFlags, PacketType};
pub use reader::{Pending, ReadError, Reader};
pub use size::SetupError;
pub use snapshot::Snapshot;
pub use writer::{Room, WriteError, Writer};

/// Whether the peer must be interrupted now.
#[must_use = "a signal that is not sent leaves the peer asleep"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The peer may be asleep and the protocol has it wait for this signal.
    Needed,
    /// The peer is awake or expects nothing: a signal would count as needless.
    NotNeeded,
}

/// The peer broke the ring protocol: the channel has failed and nothing more can be taken from, or
/// given to, this ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corrupt {
    /// The read index is out of range, unaligned, went backwards or passed the write index.
    ReadIndex(u32),
    /// The write index is out of range, unaligned, or claims space that has not been given back.
    WriteIndex(u32),
    /// A packet descriptor's lengths contradict each other, or reach beyond what the peer has
    /// published.
    Lengths {
        /// Length of descriptor and extension, in units of 8 bytes.
        offset8: u16,
        /// Length of the packet without its trailer, in units of 8 bytes.
        length8: u16,
        /// Published bytes from the start of the packet.
        available: u32,
    },
}
