// SPDX-License-Identifier: GPL-2.0

//! The Dynamic Memory device, as far as it agrees on version and capabilities and takes status reports. It asks for no
//! memory, so that it checks the bus and nothing else. No host offers sub-channels of this class; this one does where a test
//! wants them, and answers every message on the channel on which it came.
//!
//! The source of facts is `drivers/hv/hv_balloon.c` of Linux 7.3.

use crate::device::{Context, Control, Device, OfferSpec, Packet};
use hvdef::Guid;
use serde_json::{json, Value};
use vmbus_proto::{class, OfferFlags};
use vmbus_ring::{OutgoingPacket, PacketType};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes as _, IntoBytes as _};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

hvdef::open_enum! {
    /// Types of messages (`enum dm_message_type`).
    enum MessageType: u16 {
        /// The guest proposes a version.
        VERSION_REQUEST = 1,
        /// The host answers that.
        VERSION_RESPONSE = 2,
        /// The guest says what it can do.
        CAPABILITIES_REPORT = 3,
        /// The host answers that.
        CAPABILITIES_RESPONSE = 4,
        /// The guest says how it is.
        STATUS_REPORT = 5,
    }
}

/// The versions (`DYNMEM_PROTOCOL_VERSION_*`): 0.3, 1.0 and 2.0.
const VERSIONS: [u32; 3] = [3, 1 << 16, 2 << 16];

/// The most sub-channels that may be asked for.
const MAX_SUB_CHANNELS: u16 = 64;

/// The start of every message, 8 bytes.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    /// A [`MessageType`].
    message_type: U16,
    /// Size of the message, header included, in bytes.
    size: U16,
    /// Chosen by the guest, and repeated in the answer.
    transaction: U32,
}

/// The answer to a proposal or to a report of capabilities, 16 bytes.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct Response {
    /// Start.
    header: Header,
    /// Bit 0: yes.
    accepted: U64,
}

/// Size of a [`Response`] in bytes.
const RESPONSE_SIZE: u16 = 16;
const _: () = assert!(size_of::<Response>() == 16);

/// The device.
#[derive(Clone, Debug)]
pub struct Balloon {
    /// The device's instance.
    instance: Guid,
    /// The version that was agreed on.
    version: Option<u32>,
    /// What the guest said that it can do.
    capabilities: Option<u64>,
    /// Status reports since the channel was opened.
    reports: u64,
    /// Available and committed memory in the last report, in pages.
    memory: [u64; 2],
    /// Messages that made no sense.
    nonsense: u64,
    /// How many sub-channels are offered when the first channel is opened.
    sub_channels: u16,
}

impl Balloon {
    /// A device with this instance.
    #[must_use]
    pub const fn new(instance: Guid) -> Self {
        Self {
            instance,
            version: None,
            capabilities: None,
            reports: 0,
            memory: [0; 2],
            nonsense: 0,
            sub_channels: 0,
        }
    }

    /// What a message is answered with, if it makes sense and is answered at all.
    fn handle(&mut self, header: &Header, body: &[u8]) -> Option<(MessageType, bool)> {
        match MessageType(header.message_type.get()) {
            MessageType::VERSION_REQUEST => {
                let (version, _) = U32::read_from_prefix(body).ok()?;
                self.version = Some(version.get()).filter(|version| VERSIONS.contains(version));
                Some((MessageType::VERSION_RESPONSE, self.version.is_some()))
            }
            MessageType::CAPABILITIES_REPORT => {
                let (capabilities, _) = U64::read_from_prefix(body).ok()?;
                self.capabilities = Some(capabilities.get());
                Some((MessageType::CAPABILITIES_RESPONSE, self.version.is_some()))
            }
            _ => None,
        }
    }

    /// Takes a status report; says whether it is one.
    fn report(&mut self, header: &Header, body: &[u8]) -> bool {
        let ours = header.message_type.get() == MessageType::STATUS_REPORT.0;
        match <[U64; 2]>::read_from_prefix(body) {
            Ok((memory, _)) if ours && self.capabilities.is_some() => {
                self.reports = self.reports.saturating_add(1);
                self.memory = memory.map(U64::get);
                true
            }
            _ => false,
        }
    }
}

impl Device for Balloon {
    fn offer(&self) -> OfferSpec {
        OfferSpec {
            class: class::DM.id,
            instance: self.instance,
            flags: OfferFlags::empty(),
            mmio_megabytes: 0,
            user_data: [0; 120],
            monitored: false,
            dedicated_interrupt: true,
        }
    }

    fn opened(&mut self, channel: u16, context: &mut Context<'_>) {
        if channel == 0 {
            *self = Self {
                sub_channels: self.sub_channels,
                ..Self::new(self.instance)
            };
            context.offer_sub_channels(self.sub_channels);
        }
    }

    fn received(&mut self, channel: u16, packet: &Packet<'_>, context: &mut Context<'_>) {
        let Ok((header, body)) = Header::read_from_prefix(packet.payload) else {
            self.nonsense = self.nonsense.saturating_add(1);
            return;
        };
        if packet.packet_type == PacketType::IN_BAND {
            if let Some((answer, accepted)) = self.handle(&header, body) {
                let response = Response {
                    header: Header {
                        message_type: answer.0.into(),
                        size: RESPONSE_SIZE.into(),
                        transaction: header.transaction,
                    },
                    accepted: u64::from(accepted && packet.forced_status.is_none()).into(),
                };
                let payload: &[&[u8]] = &[response.as_bytes()];
                return context.send(channel, &OutgoingPacket::in_band(payload));
            }
            if self.report(&header, body) {
                return;
            }
        }
        self.nonsense = self.nonsense.saturating_add(1);
    }

    fn closed(&mut self, _channel: u16, _context: &mut Context<'_>) {}

    /// `sub_channels` takes a `count`: so many are offered as soon as the first channel is open, now and after each opening.
    fn control(&mut self, control: Control, context: &mut Context<'_>) {
        let count = control.arguments.get("count").and_then(Value::as_u64);
        match (control.command.as_str(), count.map(u16::try_from)) {
            ("sub_channels", Some(Ok(count))) if count <= MAX_SUB_CHANNELS => {
                self.sub_channels = count;
                context.offer_sub_channels(count);
                control.reply.ok(Value::Null);
            }
            ("sub_channels", _) => control
                .reply
                .error(format!("\"count\" is a number up to {MAX_SUB_CHANNELS}")),
            (command, _) => control.reply.error(format!(
                "the balloon knows sub_channels only, and not {command}"
            )),
        }
    }

    fn status(&self) -> Value {
        let [available, committed] = self.memory;
        json!({
            "version": self.version.map(|version| format!("{}.{}", version >> 16, version & 0xffff)),
            "capabilities": self.capabilities,
            "reports": self.reports,
            "available_pages": available,
            "committed_pages": committed,
            "nonsense": self.nonsense,
        })
    }
}
