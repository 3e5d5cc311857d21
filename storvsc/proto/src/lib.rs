// SPDX-License-Identifier: GPL-2.0

//! The protocol between a storage VSC and its VSP (`vstor_packet`), without I/O.
//!
//! A device is a SCSI controller with a channel and, if the host agrees, sub-channels. Every request and every answer
//! is one [`Packet`] of 64 bytes; a request that moves data is a GPA-direct packet, whose ranges name the buffer. The
//! layouts are those since protocol version 5.1 (Windows 8); older hosts are not spoken to.
//!
//! The VSC's decisions are here too: [`Handshake`] brings a controller up, [`Incoming`] says what a packet answers,
//! [`Place`] and [`Control`] which request gets that, [`completion`] what became of a command, [`Late`] and [`Reset`]
//! what is done when the host takes long, and [`Fate`] what becomes of the commands of a closed channel.
//!
//! The source of facts is `drivers/scsi/storvsc_drv.c` of Linux 7.3. Numbers are little-endian and the structures have
//! no padding and no alignment.
//!
//! Glossary: *SRB*, SCSI request block, Windows' form of a SCSI command. *CDB*, command descriptor block. *Sense*, a
//! SCSI device's account of what went wrong. *LUN*, logical unit number. *VSP* and *VSC*, the service's ends in host
//! and guest. *WWN*, world wide name of a Fibre Channel port.

#![cfg_attr(not(CONFIG_RUST), no_std)]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod closing;
pub mod control;
pub mod handshake;
pub mod histogram;
pub mod in_flight;
pub mod incoming;
pub mod lun;
pub mod packet;
pub mod properties;
pub mod recovery;
pub mod sizing;
pub mod srb;
pub mod status;
pub mod transaction;
pub mod transfer;
pub mod version;

pub use closing::{Deadline, Fate};
pub use control::Control;
pub use handshake::{create_sub_channels, Controller, Handshake, HandshakeError, Step, Wishes};
pub use in_flight::Place;
pub use incoming::Incoming;
pub use lun::Address;
pub use packet::{NtStatus, Operation, Packet, PacketFlags, Payload, PACKET_SIZE};
pub use properties::{ChannelFlags, ChannelProperties, FcWwn, OfferProperties, SubChannelCount};
pub use recovery::{Late, Progress, Reset, Silence};
pub use srb::{
    DataDirection, QueueAction, ScsiStatus, Srb, SrbFlags, SrbStatus, SrbStatusFlags, CDB_SIZE,
    SENSE_SIZE, SRB_SIZE,
};
pub use status::{completion, succeeded, Action, Completion, HostByte, Log, Sent};
pub use transaction::Transaction;
pub use transfer::{page_numbers, Segment};
pub use version::{ProtocolVersion, Version};
