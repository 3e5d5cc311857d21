// SPDX-License-Identifier: GPL-2.0

//! What the guest of a simulation does.

use super::Sim;
use crate::host::HypercallStatus;
use crate::memory::{RingPages, PAGE_SIZE};
use crate::server::INTERRUPT_PAGE_TO_HOST;
use core::time::Duration;
use hvdef::Guid;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use vm_memory::{GuestAddress, GuestMemory, VolatileMemory};
use vmbus_proto::{
    Channel, ChannelTable, Client, Contact, Event, GpadlId, Offer, OpenParams, ProtocolError,
    Range, Relid, Request, Status, TableFull, Version, USER_DATA_SIZE,
};
use vmbus_ring::monitor::Monitor;
use vmbus_ring::{
    OutgoingPacket, PacketFlags, PacketType, Pending, ReadError, Reader, Room, Signal, WriteError,
    Writer,
};

/// The guest's channels.
#[derive(Debug, Default)]
pub struct Table(pub(super) BTreeMap<Relid, Channel>);

impl ChannelTable for Table {
    fn get(&self, relid: Relid) -> Option<&Channel> {
        self.0.get(&relid)
    }

    fn get_mut(&mut self, relid: Relid) -> Option<&mut Channel> {
        self.0.get_mut(&relid)
    }

    fn insert(&mut self, channel: Channel) -> Result<(), TableFull> {
        self.0.insert(channel.relid(), channel);
        Ok(())
    }

    fn remove(&mut self, relid: Relid) {
        self.0.remove(&relid);
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.0.values()
    }
}

/// A packet that the guest received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// What the packet is.
    pub packet_type: PacketType,
    /// Flags of the packet.
    pub flags: PacketFlags,
    /// Names the request that this packet completes.
    pub transaction_id: u64,
    /// What lies between descriptor and payload.
    pub extension: Vec<u8>,
    /// The payload, padded to a multiple of 8 bytes.
    pub payload: Vec<u8>,
}

/// Why a channel is not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The host did not take the memory.
    Gpadl(Status),
    /// The host did not open it.
    Open(Status),
    /// The host withdrew it meanwhile.
    Rescinded,
    /// The host did not answer.
    NoAnswer,
}

/// An open channel.
struct OpenChannel {
    /// To the host.
    writer: Writer<RingPages>,
    /// From the host.
    reader: Reader<RingPages>,
    /// What came.
    inbox: VecDeque<Received>,
    /// The memory of the rings.
    ring: GpadlId,
    /// The pages of that.
    pages: Vec<u64>,
    /// How many of them are of the ring to the host.
    out_pages: usize,
    /// The VP to interrupt.
    target_vp: u32,
    /// The guest does not look at what comes.
    paused: bool,
    /// What the host did wrong on the ring from it.
    broken: Option<ReadError>,
}

/// The guest's own state.
#[derive(Default)]
pub(super) struct Guest {
    /// Pages for interrupts, and for monitors from and to the host.
    pub(super) pages: Vec<u64>,
    /// The open channels.
    open: BTreeMap<Relid, OpenChannel>,
    /// Interrupts for channels that are not open.
    spurious: u64,
}

impl Sim {
    /// Makes contact, proposing versions from `version` down, and asks for all offers; returns the version agreed on.
    pub fn connect(&mut self, version: Version) -> Version {
        let version = self.contact(version).expect("a version in common");
        let message = self.client.request_offers().expect("a connection");
        assert_eq!(self.post(&message), HypercallStatus::SUCCESS);
        self.run();
        let delivered = self.take_event(|event| matches!(event, Event::AllOffersDelivered));
        assert!(delivered.is_some(), "all offers are delivered");
        version
    }

    /// Makes contact only; `None` if there is no version in common or no answer.
    pub fn contact(&mut self, max_version: Version) -> Option<Version> {
        let address = |at: usize| {
            let pfn = self.guest.pages.get(at).copied();
            pfn.unwrap_or(0).saturating_mul(PAGE_SIZE)
        };
        let contact = Contact {
            max_version,
            target_vp: self.host.bus.config.vps.saturating_sub(1).min(1),
            interrupt_page: address(0),
            parent_to_child_monitor_page: address(1),
            child_to_parent_monitor_page: address(2),
        };
        let message = self.client.initiate_contact(contact);
        let mut next = Some(message.expect("not connected yet"));
        while let Some(message) = next.take() {
            let event = if self.post(&message) == HypercallStatus::SUCCESS {
                self.run();
                self.take_event(|event| {
                    matches!(
                        event,
                        Event::ContactRetry { .. }
                            | Event::VersionAccepted { .. }
                            | Event::Refused { .. }
                    )
                })
            } else {
                self.client.contact_unreachable().ok()
            };
            match event? {
                Event::VersionAccepted { version, .. } => return Some(version),
                Event::ContactRetry { message, .. } => next = Some(message),
                _ => return None,
            }
        }
        None
    }

    /// Takes the first event of a kind.
    pub fn take_event(&mut self, kind: impl Fn(&Event) -> bool) -> Option<Event> {
        let at = self.events.iter().position(kind)?;
        Some(self.events.remove(at))
    }

    /// Waits for the offer of a device's first channel.
    pub fn wait_offer(&mut self, class: Guid) -> Relid {
        self.wait_channel(class, 0)
    }

    /// Waits for the offer of any channel of a device of this class.
    pub fn wait_channel(&mut self, class: Guid, index: u16) -> Relid {
        self.run_until("an offer", |sim| sim.find_channel(class, index).is_some());
        self.find_channel(class, index).expect("an offer")
    }

    /// The channel of a device of this class, unless it is rescinded.
    #[must_use]
    pub fn find_channel(&self, class: Guid, index: u16) -> Option<Relid> {
        let mut channels = self.client.table().iter();
        let found = channels.find(|channel| {
            let offer = channel.offer();
            !channel.is_rescinded() && offer.class == class && offer.sub_channel_index == index
        });
        found.map(Channel::relid)
    }

    /// The offer of a channel.
    #[must_use]
    pub fn offer(&self, relid: Relid) -> Offer {
        let channel = self.client.channel(relid);
        channel.expect("an offered channel").offer().clone()
    }

    /// Lends pages to the host.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn lend(&mut self, relid: Relid, pfns: &[u64]) -> Result<GpadlId, OpenError> {
        let pages = u32::try_from(pfns.len()).expect("few pages");
        let range = Range::pages(pages).expect("some pages");
        let pfns: Vec<u64> = pfns.to_vec();
        let Ok((id, messages)) = self.client.create_gpadl(relid, range, pfns.into_iter()) else {
            return Err(OpenError::Rescinded);
        };
        for message in messages {
            self.post(&message.expect("as many PFNs as pages"));
        }
        self.run();
        let answer = self
            .take_event(|event| matches!(event, Event::GpadlCreated { gpadl, .. } if *gpadl == id));
        match answer {
            Some(Event::GpadlCreated { status, .. }) if status == Status::SUCCESS => Ok(id),
            Some(Event::GpadlCreated { status, .. }) => Err(OpenError::Gpadl(status)),
            _ => Err(self.give_up(relid, Request::CreateGpadl(relid, id))),
        }
    }

    /// Gives up a request that was not answered.
    fn give_up(&mut self, relid: Relid, request: Request) -> OpenError {
        match self.client.channel(relid) {
            Some(channel) if !channel.is_rescinded() => {
                let abandoned = self.client.abandon(request);
                abandoned.expect("a pending request");
                OpenError::NoAnswer
            }
            _ => OpenError::Rescinded,
        }
    }

    /// Takes memory back; false if the host has not answered.
    pub fn take_back(&mut self, relid: Relid, id: GpadlId) -> bool {
        let Ok(message) = self.client.teardown_gpadl(relid, id) else {
            return true;
        };
        self.post(&message);
        self.run();
        let answer = self.take_event(
            |event| matches!(event, Event::GpadlTorndown { gpadl, .. } if *gpadl == id),
        );
        answer.is_some() || self.client.channel(relid).is_none()
    }

    /// Opens a channel with rings of so many pages, control pages included, on VP `relid` modulo the number of VPs.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; the channel is as before then, unless it is rescinded.
    pub fn open(
        &mut self,
        relid: Relid,
        out_pages: usize,
        in_pages: usize,
        user_data: [u8; USER_DATA_SIZE],
    ) -> Result<(), OpenError> {
        let pages = self.allocate(out_pages.saturating_add(in_pages));
        let addresses: Vec<u64> = pages
            .iter()
            .map(|pfn| pfn.saturating_mul(PAGE_SIZE))
            .collect();
        let (out, inward) = addresses.split_at(out_pages);
        let ring = |pages| RingPages::new(self.memory(), pages).expect("two pages at least");
        let writer = Writer::new(ring(out)).expect("a cleared ring");
        let reader = Reader::new(ring(inward)).expect("a cleared ring");
        let ring = self.lend(relid, &pages)?;
        let vps = self.host.bus.config.vps;
        let target_vp = relid.get().checked_rem(vps).expect("some VPs");
        let params = OpenParams {
            ring,
            target_vp,
            downstream_page_offset: u32::try_from(out_pages).expect("few pages"),
            user_data,
        };
        let Ok(message) = self.client.open(relid, &params) else {
            return Err(OpenError::Rescinded);
        };
        let channel = OpenChannel {
            writer,
            reader,
            inbox: VecDeque::new(),
            ring,
            pages,
            out_pages,
            target_vp,
            paused: false,
            broken: None,
        };
        // The host may send before its answer is read.
        self.guest.open.insert(relid, channel);
        self.post(&message);
        self.run();
        let answer = self.take_event(
            |event| matches!(event, Event::OpenResult { relid: opened, .. } if *opened == relid),
        );
        let error = match answer {
            Some(Event::OpenResult { status, .. }) if status == Status::SUCCESS => return Ok(()),
            Some(Event::OpenResult { status, .. }) => OpenError::Open(status),
            _ => self.give_up(relid, Request::Open(relid)),
        };
        let channel = self.guest.open.remove(&relid);
        if let (OpenError::Open(_), Some(channel)) = (error, channel) {
            if self.take_back(relid, ring) {
                self.free(channel.pages);
            }
        }
        Err(error)
    }

    /// Closes a channel and takes its memory back; false if the host has not answered that.
    pub fn close(&mut self, relid: Relid) -> bool {
        let Some(channel) = self.guest.open.remove(&relid) else {
            return true;
        };
        if let Ok(message) = self.client.close(relid) {
            self.post(&message);
            self.run();
        }
        let back = self.take_back(relid, channel.ring);
        if back {
            self.free(channel.pages);
        }
        back
    }

    /// Moves the interrupt of an open channel; the host's answer, if it gives one.
    pub fn retarget(&mut self, relid: Relid, target_vp: u32) -> Option<Status> {
        let message = self.client.modify_channel(relid, target_vp);
        let message = message.expect("an open channel of 4.1 or later");
        let channel = self.guest.open.get_mut(&relid).expect("an open channel");
        channel.target_vp = target_vp;
        self.post(&message);
        self.run();
        match self.take_event(|event| matches!(event, Event::ModifyResponse { .. }))? {
            Event::ModifyResponse { status, .. } => Some(status),
            _ => None,
        }
    }

    /// Ends the connection; false if the host has not answered.
    pub fn unload(&mut self) -> bool {
        let message = self.client.unload().expect("a connection");
        self.post(&message);
        self.run();
        let unloaded = self.take_event(|event| matches!(event, Event::Unloaded));
        if unloaded.is_some() {
            self.guest.open.clear();
        }
        unloaded.is_some()
    }

    /// The guest starts again without a word to the host, as after a crash.
    pub fn forget(&mut self) {
        self.client = Client::new(Table::default());
        for (_, channel) in core::mem::take(&mut self.guest.open) {
            self.free(channel.pages);
        }
        self.events.clear();
    }

    /// Does what a message of the host's asks for.
    pub(super) fn handle_message(&mut self, bytes: &[u8]) {
        let event = match self.client.handle_message(bytes) {
            Ok(event) => event,
            Err(error) => return self.errors.push(error),
        };
        match event {
            Event::Rescinded { relid, .. } => {
                self.guest.open.remove(&relid);
                let release = self.client.release(relid).expect("a rescinded channel");
                self.events.push(event);
                self.post(&release);
            }
            Event::OfferRefused { reason, .. } => panic!("the guest refuses an offer: {reason:?}"),
            Event::LateOpen { close, .. } => {
                if let Some(close) = close {
                    self.post(&close);
                }
            }
            Event::LateGpadl { teardown, .. } => {
                self.post(&teardown);
            }
            other => self.events.push(other),
        }
    }

    /// An interrupt from the host.
    pub(super) fn handle_event(&mut self, vp: u32, flag: u16) {
        let relid = Relid::new(flag.into()).expect("a relid");
        match self.guest.open.get(&relid) {
            Some(channel) => {
                assert_eq!(vp, channel.target_vp, "the interrupt of channel {relid}");
                self.drain(relid);
            }
            None => self.guest.spurious = self.guest.spurious.saturating_add(1),
        }
    }

    /// Reads what the host sent on a channel.
    fn drain(&mut self, relid: Relid) {
        let Some(channel) = self.guest.open.get_mut(&relid) else {
            return;
        };
        if channel.paused || channel.broken.is_some() {
            return;
        }
        let mut buffer = vec![0; 0x8_0000];
        let mut signalled = false;
        channel.reader.mask();
        loop {
            match channel.reader.next(&mut buffer) {
                Ok(packet) => channel.inbox.push_back(Received {
                    packet_type: packet.packet_type,
                    flags: packet.flags,
                    transaction_id: packet.transaction_id,
                    extension: packet.extension.to_vec(),
                    payload: packet.payload.to_vec(),
                }),
                Err(ReadError::Empty) => {
                    let (signal, pending) = channel.reader.unmask();
                    signalled |= signal == Signal::Needed;
                    match pending {
                        Pending::More => channel.reader.mask(),
                        Pending::Idle => break,
                    }
                }
                Err(broken) => {
                    channel.broken = Some(broken);
                    break;
                }
            }
        }
        if signalled {
            self.signal_channel(relid);
        }
    }

    /// Signals the host for a channel, in the way that its offer says.
    pub fn signal_channel(&mut self, relid: Relid) {
        let offer = self.offer(relid);
        let (interrupts, monitors) = (self.guest_page(0), self.guest_page(2));
        // Linux sets the bit of a monitored channel even if it has a connection of its own.
        if !offer.dedicated_interrupt || offer.monitor_id.is_some() {
            let bit = relid.get();
            let word = u64::from(bit / 32).saturating_mul(4);
            let at = interrupts
                .saturating_add(INTERRUPT_PAGE_TO_HOST)
                .saturating_add(word);
            self.set_bits(at, 1 << (bit % 32));
        }
        if let Some(monitor) = offer.monitor_id.and_then(Monitor::new) {
            let offset = u64::try_from(monitor.pending_offset()).expect("inside a page");
            return self.set_bits(monitors.saturating_add(offset), monitor.mask());
        }
        let status = self.signal(offer.connection_id);
        let open = self.guest.open.contains_key(&relid);
        assert!(
            status == HypercallStatus::SUCCESS || !open || self.is_withdrawn(relid),
            "channel {relid} cannot be signalled: {status:?}"
        );
    }

    /// Whether the host has closed or withdrawn a channel, of which the guest may not know yet.
    fn is_withdrawn(&self, relid: Relid) -> bool {
        let port = self.host.bus.find_relid(relid.get());
        port.is_none_or(|port| !self.host.bus.is_open(port))
    }

    /// The address of one of the guest's own pages.
    fn guest_page(&self, at: usize) -> u64 {
        let pfn = self.guest.pages.get(at).copied().expect("three pages");
        pfn.saturating_mul(PAGE_SIZE)
    }

    /// Sets bits in a word of guest memory.
    fn set_bits(&self, address: u64, bits: u32) {
        let slice = self.memory().get_slice(GuestAddress(address), 4);
        let slice = slice.expect("guest memory");
        let word = slice.get_atomic_ref::<AtomicU32>(0).expect("aligned");
        word.fetch_or(bits.to_le(), Ordering::SeqCst);
    }

    /// Sends a packet, which must find room, and signals if the protocol asks for it; then everything runs.
    pub fn send(&mut self, relid: Relid, packet: &OutgoingPacket<'_>) {
        let sent = self.try_send(relid, packet);
        sent.expect("room in the ring");
        self.run();
    }

    /// Sends a packet and signals if the protocol asks for it, but runs nothing.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; the host was asked for a signal if the ring is full.
    pub fn try_send(
        &mut self,
        relid: Relid,
        packet: &OutgoingPacket<'_>,
    ) -> Result<(), WriteError> {
        let channel = self.guest.open.get_mut(&relid).expect("an open channel");
        let mut sent = channel.writer.send(packet);
        if let Err(WriteError::Full { needed }) = sent {
            if channel.writer.arm_pending_send(needed) == Ok(Room::Now) {
                sent = channel.writer.send(packet);
            }
        }
        if sent? == Signal::Needed {
            self.signal_channel(relid);
        }
        Ok(())
    }

    /// Takes the oldest packet that came.
    pub fn receive(&mut self, relid: Relid) -> Option<Received> {
        let channel = self.guest.open.get_mut(&relid)?;
        channel.inbox.pop_front()
    }

    /// Waits for a packet.
    pub fn expect_packet(&mut self, relid: Relid) -> Received {
        self.run_until("a packet", |sim| {
            let channel = sim.guest.open.get(&relid).expect("an open channel");
            if let Some(broken) = channel.broken {
                panic!("the ring from the host is broken: {broken:?}");
            }
            !channel.inbox.is_empty()
        });
        self.receive(relid).expect("a packet")
    }

    /// Lets the guest look at what comes, or not; what came meanwhile is read.
    pub fn pause(&mut self, relid: Relid, paused: bool) {
        let channel = self.guest.open.get_mut(&relid).expect("an open channel");
        channel.paused = paused;
        self.drain(relid);
        self.run();
    }

    /// What the host did wrong on the ring from it.
    #[must_use]
    pub fn broken(&self, relid: Relid) -> Option<ReadError> {
        self.guest.open.get(&relid)?.broken
    }

    /// The pages of an open channel's rings: of the one to the host, and of the one from it.
    #[must_use]
    pub fn ring_pages(&self, relid: Relid) -> Option<(&[u64], &[u64])> {
        let channel = self.guest.open.get(&relid)?;
        channel.pages.split_at_checked(channel.out_pages)
    }

    /// Takes what the host sent wrong, which tests of faults expect.
    pub fn take_errors(&mut self) -> Vec<ProtocolError> {
        core::mem::take(&mut self.errors)
    }

    /// Lets 1 s pass.
    pub fn settle(&mut self) {
        self.advance(Duration::from_secs(1));
    }
}
