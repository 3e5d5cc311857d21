// SPDX-License-Identifier: GPL-2.0

//! A model of the host: answers what the guest posts, and panics where the guest breaks the protocol.

use std::collections::{BTreeMap, VecDeque};
use vmbus_proto::message::wire::{self, GpaRange, Status};
use vmbus_proto::message::{Body, Message, MessageType, Outgoing};
use vmbus_proto::{FeatureFlags, Version};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// The message connection of this host since 5.0.
pub(crate) const MESSAGE_CONNECTION: u32 = 0x77;

/// A message as the host sends it.
pub(crate) fn message<B: Body>(body: &B) -> Vec<u8> {
    Outgoing::new(0, body).as_bytes().to_vec()
}

/// An offer of device `device` with this relid; index 0 is the device's first channel.
pub(crate) fn offer(relid: u32, device: u8, sub_channel_index: u16) -> wire::OfferChannel {
    wire::OfferChannel {
        class: vmbus_proto::class::SCSI.id,
        instance: hvdef::Guid::from_bytes([device; 16]),
        relid: relid.into(),
        sub_channel_index: sub_channel_index.into(),
        connection_id: (0x1_0000 + relid).into(),
        ..wire::OfferChannel::new_zeroed()
    }
}

/// What the host thinks of a channel.
#[derive(Debug, Default)]
struct Channel {
    /// Ring and VP, while it is open.
    open: Option<(u32, u32)>,
    /// It was withdrawn.
    rescinded: bool,
    /// The guest has read that.
    told: bool,
}

/// What the host thinks of a GPADL.
#[derive(Debug)]
struct Gpadl {
    /// Its channel.
    relid: u32,
    /// The PFNs so far.
    pfns: Vec<u64>,
    /// How many there will be.
    count: usize,
}

/// The host.
#[derive(Debug)]
pub(crate) struct Host {
    /// The newest version that it speaks.
    pub(crate) max_version: Version,
    /// The version agreed on.
    version: Option<Version>,
    /// The channels that are offered, or not given back.
    channels: BTreeMap<u32, Channel>,
    /// The memory lent to it.
    gpadls: BTreeMap<u32, Gpadl>,
    /// What it sends, in order.
    pub(crate) to_guest: VecDeque<Vec<u8>>,
    /// Relids given back, in order.
    pub(crate) released: Vec<u32>,
    /// How requests end.
    pub(crate) status: Status,
    /// Devices to offer when it is asked: relid, device, index.
    pub(crate) devices: Vec<(u32, u8, u16)>,
    /// The last request to open.
    pub(crate) opened: Option<wire::OpenChannel>,
    /// The last request to make contact.
    pub(crate) contacted: Option<wire::InitiateContact>,
    /// Messages received.
    pub(crate) received: Vec<MessageType>,
}

impl Host {
    /// A host that speaks versions up to this one.
    pub(crate) fn new(max_version: Version) -> Self {
        Self {
            max_version,
            version: None,
            channels: BTreeMap::new(),
            gpadls: BTreeMap::new(),
            to_guest: VecDeque::new(),
            released: Vec::new(),
            status: Status::SUCCESS,
            devices: Vec::new(),
            opened: None,
            contacted: None,
            received: Vec::new(),
        }
    }

    /// Sends a message.
    pub(crate) fn send<B: Body>(&mut self, body: &B) {
        self.to_guest.push_back(message(body));
    }

    /// Offers a channel.
    pub(crate) fn offer(&mut self, relid: u32, device: u8, index: u16) {
        let old = self.channels.insert(relid, Channel::default());
        assert!(old.is_none(), "the model host reuses relid {relid}");
        self.send(&offer(relid, device, index));
    }

    /// Withdraws a channel, and drops its memory.
    pub(crate) fn rescind(&mut self, relid: u32) {
        let channel = self.channels.get_mut(&relid).unwrap();
        channel.rescinded = true;
        channel.open = None;
        self.gpadls.retain(|_, gpadl| gpadl.relid != relid);
        self.send(&wire::RescindChannelOffer {
            relid: relid.into(),
        });
    }

    /// The next message for the guest, which reads it now.
    pub(crate) fn next_message(&mut self) -> Option<Vec<u8>> {
        let bytes = self.to_guest.pop_front()?;
        let (relid, told) = match self.parse(&bytes) {
            Ok(Message::RescindChannelOffer(rescind, _)) => (rescind.relid.get(), true),
            // A withdrawal that was read before was of the channel that had this relid then.
            Ok(Message::OfferChannel(offer, _)) => (offer.relid.get(), false),
            _ => return Some(bytes),
        };
        if let Some(channel) = self.channels.get_mut(&relid) {
            channel.told = told;
        }
        Some(bytes)
    }

    /// Channels that the guest has to give back.
    pub(crate) fn unreleased(&self) -> Vec<u32> {
        self.channels.keys().copied().collect()
    }

    /// Whether a channel is offered and neither withdrawn nor given back.
    pub(crate) fn offers(&self, relid: u32) -> bool {
        self.channels
            .get(&relid)
            .is_some_and(|channel| !channel.rescinded)
    }

    /// The VP that an open channel interrupts.
    pub(crate) fn target_vp(&self, relid: u32) -> Option<u32> {
        self.channels[&relid].open.map(|(_, vp)| vp)
    }

    /// The memory lent to the host, and complete.
    pub(crate) fn gpadls(&self) -> usize {
        self.gpadls
            .values()
            .filter(|gpadl| gpadl.pfns.len() == gpadl.count)
            .count()
    }

    /// The PFNs of a GPADL.
    pub(crate) fn pfns(&self, gpadl: u32) -> &[u64] {
        &self.gpadls[&gpadl].pfns
    }

    /// Parses in the version agreed on.
    fn parse<'a>(&self, bytes: &'a [u8]) -> Result<Message<'a>, vmbus_proto::message::ParseError> {
        Message::parse(
            bytes,
            self.version.unwrap_or(Version::V4_0),
            FeatureFlags::empty(),
        )
    }

    /// A channel that the guest names, unless it is withdrawn and the guest cannot know.
    fn channel(&mut self, relid: u32) -> Option<&mut Channel> {
        let channel = self
            .channels
            .get_mut(&relid)
            .unwrap_or_else(|| panic!("no channel {relid}"));
        assert!(
            !channel.told,
            "the guest uses channel {relid}, which it knows to be withdrawn"
        );
        (!channel.rescinded).then_some(channel)
    }

    /// Takes a message that the guest posted.
    pub(crate) fn receive(&mut self, outgoing: &Outgoing) {
        let message = self.parse(outgoing.as_bytes()).unwrap();
        self.received.push(message.message_type());
        if let Message::InitiateContact(contact, _) = message {
            return self.contact(outgoing.connection_id(), &contact);
        }
        let modern = self.version.unwrap() >= Version::V5_0;
        let connection_id = if modern { MESSAGE_CONNECTION } else { 1 };
        assert_eq!(outgoing.connection_id(), connection_id);
        let status = self.status.0.into();
        let good = self.status == Status::SUCCESS;
        match message {
            Message::RequestOffers(..) => {
                for (relid, device, index) in std::mem::take(&mut self.devices) {
                    self.offer(relid, device, index);
                }
                self.send(&wire::AllOffersDelivered {});
            }
            Message::GpadlHeader(header, tail) => self.gpadl_header(&header, tail),
            Message::GpadlBody(body, tail) => self.gpadl_pfns(body.gpadl.get(), tail),
            Message::GpadlTeardown(teardown, _) => self.teardown(&teardown),
            Message::OpenChannel(open, _) => {
                let (relid, ring) = (open.relid.get(), open.ring_gpadl.get());
                let Some(channel) = self.channel(relid) else {
                    return;
                };
                assert!(channel.open.is_none(), "channel {relid} is open");
                channel.open = good.then_some((ring, open.target_vp.get()));
                let gpadl = &self.gpadls[&ring];
                assert_eq!((gpadl.relid, gpadl.pfns.len()), (relid, gpadl.count));
                self.opened = Some(open);
                self.send(&wire::OpenResult {
                    relid: open.relid,
                    open_id: open.open_id,
                    status,
                });
            }
            Message::CloseChannel(close, _) => {
                let Some(channel) = self.channel(close.relid.get()) else {
                    return;
                };
                assert!(
                    channel.open.take().is_some(),
                    "channel {} is closed",
                    close.relid
                );
            }
            Message::ModifyChannel(modify, _) => {
                let answers = self.version.unwrap() >= Version::V5_3;
                let Some(channel) = self.channel(modify.relid.get()) else {
                    return;
                };
                match &mut channel.open {
                    Some((_, vp)) if good => *vp = modify.target_vp.get(),
                    Some(_) => {}
                    None => panic!("channel {} is closed", modify.relid),
                }
                if answers {
                    self.send(&wire::ModifyChannelResponse {
                        relid: modify.relid,
                        status,
                    });
                }
            }
            Message::RelidReleased(released, _) => self.release(released.relid.get()),
            Message::Unload(..) => {
                let unloaded = Self::new(self.max_version);
                let to_guest = std::mem::take(&mut self.to_guest);
                *self = Self {
                    to_guest,
                    version: self.version,
                    ..unloaded
                };
                self.send(&wire::UnloadResponse {});
            }
            other => panic!("a guest does not send {other:?}"),
        }
    }

    /// The proposal of a version.
    fn contact(&mut self, connection_id: u32, contact: &wire::InitiateContact) {
        let version = Version(contact.version.get());
        let modern = version >= Version::V5_0;
        assert_eq!(connection_id, if modern { 4 } else { 1 });
        let speaks = version <= self.max_version;
        self.version = speaks.then_some(version);
        self.contacted = Some(*contact);
        self.send(&wire::VersionResponse {
            version_supported: speaks.into(),
            message_connection_id: if modern { MESSAGE_CONNECTION } else { 0 }.into(),
            ..wire::VersionResponse::new_zeroed()
        });
    }

    /// The start of a GPADL.
    fn gpadl_header(&mut self, header: &wire::GpadlHeader, tail: &[u8]) {
        let (relid, gpadl) = (header.relid.get(), header.gpadl.get());
        if self.channel(relid).is_none() {
            return;
        }
        assert_eq!(header.range_count.get(), 1);
        let (range, tail) = GpaRange::read_from_prefix(tail).unwrap();
        let count = (range.byte_offset.get() + range.byte_count.get()).div_ceil(4096);
        let count = usize::try_from(count).unwrap();
        assert_eq!(usize::from(header.range_buffer_len.get()), 8 * count + 8);
        let old = self.gpadls.insert(
            gpadl,
            Gpadl {
                relid,
                pfns: Vec::new(),
                count,
            },
        );
        assert!(old.is_none() && gpadl != 0, "GPADL {gpadl:#x} is in use");
        self.gpadl_pfns(gpadl, tail);
    }

    /// PFNs of a GPADL.
    fn gpadl_pfns(&mut self, id: u32, tail: &[u8]) {
        // Its channel may have been withdrawn meanwhile.
        let Some(gpadl) = self.gpadls.get_mut(&id) else {
            return;
        };
        gpadl.pfns.extend(
            tail.chunks(8)
                .map(|pfn| u64::from_le_bytes(pfn.try_into().unwrap())),
        );
        assert!(gpadl.pfns.len() <= gpadl.count);
        if gpadl.pfns.len() == gpadl.count {
            let relid = gpadl.relid.into();
            let status = self.status.0.into();
            if self.status != Status::SUCCESS {
                self.gpadls.remove(&id);
            }
            self.send(&wire::GpadlCreated {
                relid,
                gpadl: id.into(),
                status,
            });
        }
    }

    /// The end of a GPADL.
    fn teardown(&mut self, teardown: &wire::GpadlTeardown) {
        let (relid, gpadl) = (teardown.relid.get(), teardown.gpadl.get());
        let Some(channel) = self.channel(relid) else {
            return;
        };
        let in_use = channel.open.is_some_and(|(ring, _)| ring == gpadl);
        assert!(!in_use, "GPADL {gpadl:#x} has the rings of an open channel");
        assert_eq!(self.gpadls.remove(&gpadl).unwrap().relid, relid);
        self.send(&wire::GpadlTorndown {
            gpadl: gpadl.into(),
        });
    }

    /// A relid given back.
    fn release(&mut self, relid: u32) {
        let channel = self.channels.remove(&relid);
        let channel = channel.unwrap_or_else(|| panic!("relid {relid} is given back twice"));
        assert!(channel.open.is_none(), "channel {relid} is open");
        assert!(
            self.gpadls.values().all(|gpadl| gpadl.relid != relid),
            "memory of {relid}"
        );
        self.released.push(relid);
    }

    /// Sends any bytes.
    pub(crate) fn scribble(&mut self, bytes: &[u8]) {
        self.to_guest.push_back(bytes.to_vec());
    }

    /// Whether a message is the answer to a request, so that a test may lose it.
    pub(crate) fn is_answer(bytes: &[u8]) -> bool {
        let message = Message::parse(bytes, Version::V6_0, FeatureFlags::empty());
        matches!(
            message,
            Ok(Message::OpenResult(..)
                | Message::GpadlCreated(..)
                | Message::GpadlTorndown(..)
                | Message::ModifyChannelResponse(..))
        )
    }
}

/// The bytes of a body with a header of any type.
pub(crate) fn forged(message_type: u32, body: &[u8]) -> Vec<u8> {
    let header = wire::Header {
        message_type: message_type.into(),
        reserved: 0.into(),
    };
    [header.as_bytes(), body].concat()
}
