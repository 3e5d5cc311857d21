// SPDX-License-Identifier: GPL-2.0

//! The server: what each message of the guest's does.

use crate::bus::{Bus, Connection, Notice};
use crate::channel::{Offered, Open, PortId};
use crate::counters::{add, count};
use crate::delivery::Delayed;
use crate::device::OfferSpec;
use crate::fault::{message_type, Direction, Step};
use crate::gpadl::{Gpadl, Progress, MAX_BYTES, MAX_GPADLS};
use crate::host::{DeviceId, Output};
use crate::memory::{is_page, RingPages};
use hvdef::synic::{EVENT_FLAGS, SINT_COUNT, VMBUS_SINT};
use vmbus_proto::message::{wire, Body, Message};
use vmbus_proto::{ConnectionState, FeatureFlags, MessageType, Outgoing, Status, Version};
use vmbus_ring::monitor::MONITOR_COUNT;
use vmbus_ring::{Reader, Writer};
use zerocopy::{FromBytes, FromZeros};

/// The connection for messages before 5.0 (`VMBUS_MESSAGE_CONNECTION_ID`).
pub(crate) const MESSAGE_CONNECTION: u32 = 1;
/// The connection for signals through the interrupt page (`VMBUS_EVENT_CONNECTION_ID`).
pub(crate) const EVENT_CONNECTION: u32 = 2;
/// The connection on which contact is made since 5.0 (`VMBUS_MESSAGE_CONNECTION_ID_4`).
pub(crate) const CONTACT_CONNECTION: u32 = 4;
/// The connection for later messages since 5.0. Any number would do: this one shows whether the guest uses the host's.
pub(crate) const CHOSEN_CONNECTION: u32 = 0x41;
/// The connection that signals relid 0; others follow.
const FIRST_SIGNAL: u32 = 0x1_0000;

/// The version that a host claims which is to be refused by every guest.
const CLAIMED: Version = Version(0x3_0000);

/// Where the half of the interrupt page begins in which the guest sets bits.
pub(crate) const INTERRUPT_PAGE_TO_HOST: u64 = 2048;

/// The options of version 6.0 that this host has.
const FEATURES: FeatureFlags = FeatureFlags::MODIFY_CONNECTION;

/// Why a message is not carried out.
type Refused = &'static str;

impl Bus {
    /// Whether the guest may post messages on a connection.
    pub(crate) fn has_message_connection(&self, connection_id: u32) -> bool {
        match connection_id {
            MESSAGE_CONNECTION => true,
            // Hosts before 5.0 have one connection only.
            CONTACT_CONNECTION => self.config.max_version.names_message_connection(),
            _ => self
                .connection
                .is_some_and(|connection| connection.message_connection == connection_id),
        }
    }

    /// A message of the guest's: asks the fault rules, then carries it out.
    pub(crate) fn receive(&mut self, connection_id: u32, bytes: &[u8]) {
        let name = format!("{:?}", message_type(bytes));
        count(&mut self.counters.messages_in, name);
        let expected = match (message_type(bytes), self.connection) {
            (MessageType::INITIATE_CONTACT, _) | (_, None) => connection_id,
            (_, Some(connection)) => connection.message_connection,
        };
        if connection_id != expected {
            return self.refuse("message on the wrong connection");
        }
        if message_type(bytes) == MessageType::INITIATE_CONTACT {
            let version = bytes
                .get(8..)
                .and_then(|body| body.first_chunk())
                .map_or(0, |version| u32::from_le_bytes(*version));
            // Contact for 5.0 or later is made on the connection that such hosts have for it.
            let modern = Version(version).names_message_connection();
            if modern != (connection_id == CONTACT_CONNECTION) {
                return self.refuse("contact on the wrong connection");
            }
        }
        if self.faults.is_empty() {
            return self.carry_out(bytes, None);
        }
        let id = self.channel_of(bytes);
        let mut changed = bytes.to_vec();
        let direction = Direction::MessageFromGuest;
        let outcome = self.apply(direction, id, Step::Message(&mut changed));
        self.before(&outcome, id);
        let answers = self.outputs.len();
        if outcome.delay.is_none() && outcome.error_status.is_some() {
            self.carry_out(&changed, outcome.error_status);
        } else {
            self.deliver(&outcome, &changed, Delayed::MessageReceived);
        }
        if outcome.never_answer {
            let mut position = 0usize;
            self.outputs.retain(|output| {
                position = position.saturating_add(1);
                position <= answers || !matches!(output, Output::Message { .. })
            });
        }
        self.after(&outcome, id);
    }

    /// The channel that a message names, by relid or by GPADL.
    fn channel_of(&self, bytes: &[u8]) -> Option<PortId> {
        let word = |at: usize| {
            let word = bytes.get(at..)?.first_chunk()?;
            Some(u32::from_le_bytes(*word))
        };
        match message_type(bytes) {
            MessageType::GPADL_BODY => Some(self.gpadls.get(&word(12)?)?.port),
            MessageType::GPADL_TORNDOWN => Some(self.gpadls.get(&word(8)?)?.port),
            MessageType::RESCIND_CHANNEL_OFFER
            | MessageType::OPEN_CHANNEL
            | MessageType::OPEN_RESULT
            | MessageType::CLOSE_CHANNEL
            | MessageType::GPADL_HEADER
            | MessageType::GPADL_CREATED
            | MessageType::GPADL_TEARDOWN
            | MessageType::RELID_RELEASED
            | MessageType::MODIFY_CHANNEL
            | MessageType::MODIFY_CHANNEL_RESPONSE => self.find_relid(word(8)?),
            MessageType::OFFER_CHANNEL => {
                let (offer, _) = wire::OfferChannel::read_from_prefix(bytes.get(8..)?).ok()?;
                self.find_relid(offer.relid.get())
            }
            _ => None,
        }
    }

    /// The channel with this relid, unless it is withdrawn.
    pub(crate) fn find_relid(&self, relid: u32) -> Option<PortId> {
        let relid = u16::try_from(relid).ok()?;
        self.relids.get(&relid).copied().flatten()
    }

    /// Counts a message that is not carried out.
    fn refuse(&mut self, why: Refused) {
        count(&mut self.counters.refused, why.into());
    }

    /// Carries a message out; with `error`, it fails with this status where it can.
    pub(crate) fn carry_out(&mut self, bytes: &[u8], error: Option<u32>) {
        let (version, features) =
            self.connection
                .map_or((Version::MINIMUM, FeatureFlags::empty()), |connection| {
                    (
                        connection.version.max(Version::MINIMUM),
                        connection.features,
                    )
                });
        let message = match Message::parse(bytes, version, features) {
            Ok(message) => message,
            Err(_) => return self.refuse("malformed or unknown message"),
        };
        let error = error.map(Status);
        let result = match (self.connection, message) {
            (_, Message::InitiateContact(contact, _)) => self.initiate_contact(&contact),
            (None, _) => Err("message without a connection"),
            (Some(connection), message) => self.connected(connection, message, error),
        };
        if let Err(why) = result {
            self.refuse(why);
        }
    }

    /// Carries out a message of a connected guest.
    fn connected(
        &mut self,
        connection: Connection,
        message: Message<'_>,
        error: Option<Status>,
    ) -> Result<(), Refused> {
        match message {
            Message::RequestOffers(..) => self.request_offers(),
            Message::GpadlHeader(header, tail) => self.gpadl_header(&header, tail, error),
            Message::GpadlBody(body, tail) => self.gpadl_body(body.gpadl.get(), tail),
            Message::GpadlTeardown(teardown, _) => self.gpadl_teardown(&teardown),
            Message::OpenChannel(open, _) => self.open_channel(&open, error),
            Message::CloseChannel(close, _) => self.close_channel(close.relid.get()),
            Message::RelidReleased(released, _) => self.relid_released(released.relid.get()),
            Message::ModifyChannel(modify, _) => self.modify_channel(connection, &modify, error),
            Message::ModifyConnection(modify, _) => self.modify_connection(&modify),
            Message::TlConnectRequest(request, _) => {
                // There are no sockets here.
                self.send_message(&wire::TlConnectResult {
                    endpoint: request.endpoint,
                    service: request.service,
                    status: Status::UNSUCCESSFUL.0.into(),
                });
                Ok(())
            }
            Message::Unload(..) => {
                self.disconnect();
                let Connection {
                    target_vp, sint, ..
                } = connection;
                self.post(target_vp, sint, &Outgoing::new(0, &wire::UnloadResponse {}));
                Ok(())
            }
            _ => Err("message that only a host sends"),
        }
    }

    /// Sends a message without a tail.
    pub(crate) fn send_message<B: Body>(&mut self, body: &B) {
        if let Some(Connection {
            target_vp, sint, ..
        }) = self.connection
        {
            self.post(target_vp, sint, &Outgoing::new(0, body));
        }
    }

    /// Sends a message: asks the fault rules first.
    fn post(&mut self, vp: u32, sint: u8, message: &Outgoing) {
        let mut payload = message.as_bytes().to_vec();
        let name = format!("{:?}", message_type(&payload));
        count(&mut self.counters.messages_out, name);
        let id = self.channel_of(&payload);
        let direction = Direction::MessageToGuest;
        let outcome = self.apply(direction, id, Step::Message(&mut payload));
        self.before(&outcome, id);
        let output = Output::Message { vp, sint, payload };
        self.deliver(&outcome, &output, Delayed::MessageSent);
        self.after(&outcome, id);
    }

    /// Contact, at any time: a guest that was reset or crashed makes contact without ending its old connection. QEMU and
    /// OpenVMM drop that then, and so does this host.
    fn initiate_contact(&mut self, contact: &wire::InitiateContact) -> Result<(), Refused> {
        self.disconnect();
        let version = Version(contact.version.get());
        let target_vp = contact.target_vp.get();
        let modern = version.names_message_connection();
        let [sint, _vtl, _, _, flags @ ..] = contact.interrupt_page_or_target;
        let sint = if modern { sint } else { VMBUS_SINT };
        if target_vp >= self.config.vps || usize::from(sint) >= SINT_COUNT {
            return Err("contact without a VP or SINT to answer to");
        }
        let max = self.config.max_version;
        let supported = if max == CLAIMED {
            version == CLAIMED
        } else {
            version <= max && Version::SUPPORTED.contains(&version)
        };
        let page = |address: u64| match address {
            0 => Ok(None),
            _ if is_page(&self.memory, address) => Ok(Some(address)),
            _ => Err(ConnectionState::UNKNOWN_FAILURE),
        };
        let monitor_page = page(contact.child_to_parent_monitor_page.get());
        let interrupt_page = if modern {
            Ok(None)
        } else {
            page(u64::from_le_bytes(contact.interrupt_page_or_target))
        };
        let asked = FeatureFlags::from_bits_truncate(u32::from_le_bytes(flags));
        let features = if version >= Version::V6_0 {
            asked & FEATURES
        } else {
            FeatureFlags::empty()
        };
        let message_connection = if modern {
            CHOSEN_CONNECTION
        } else {
            MESSAGE_CONNECTION
        };
        let mut state = ConnectionState::SUCCESSFUL;
        match (monitor_page, interrupt_page) {
            (Ok(monitor_page), Ok(interrupt_page)) if supported => {
                self.connection = Some(Connection {
                    version,
                    features,
                    target_vp,
                    sint,
                    interrupt_page,
                    monitor_page,
                    message_connection,
                    offers_requested: false,
                });
                if interrupt_page.is_some() {
                    self.outputs.push_back(Output::AddSignal {
                        connection_id: EVENT_CONNECTION,
                    });
                }
            }
            (Err(failure), _) | (_, Err(failure)) => state = failure,
            _ => {}
        }
        let body = wire::VersionResponse {
            version_supported: supported.into(),
            connection_state: state.0,
            message_connection_id: if modern && supported {
                message_connection
            } else {
                0
            }
            .into(),
            ..wire::VersionResponse::new_zeroed()
        };
        let mut response = Outgoing::new(0, &body);
        if version >= Version::V6_0 && supported {
            response.push(&features.bits().to_le_bytes());
        }
        self.post(target_vp, sint, &response);
        Ok(())
    }

    /// Forgets the connection and everything of it.
    pub(crate) fn disconnect(&mut self) {
        let offered: Vec<PortId> = self.offered().map(|(id, ..)| id).collect();
        // Sub-channels before first channels.
        for id in offered.into_iter().rev() {
            self.close(id);
            if let Some(port) = self.port_mut(id) {
                port.offer = None;
            }
        }
        self.relids.clear();
        self.gpadls.clear();
        self.delayed.clear();
        if let Some(connection) = self.connection.take() {
            if connection.interrupt_page.is_some() {
                self.outputs.push_back(Output::RemoveSignal {
                    connection_id: EVENT_CONNECTION,
                });
            }
        }
    }

    /// The guest wants all offers. The devices are asked for theirs by the host, which then sends
    /// [`wire::AllOffersDelivered`].
    fn request_offers(&mut self) -> Result<(), Refused> {
        match &mut self.connection {
            Some(connection) if !connection.offers_requested => {
                connection.offers_requested = true;
                let devices: Vec<DeviceId> = self.entries.keys().copied().collect();
                let first = |device| Notice::Offer(PortId { device, channel: 0 });
                self.notices.extend(devices.into_iter().map(first));
                self.notices.push_back(Notice::OffersDelivered);
                Ok(())
            }
            _ => Err("offers requested twice"),
        }
    }

    /// Offers a channel, unless it is offered or the guest has not asked.
    pub(crate) fn offer(&mut self, id: PortId, spec: &OfferSpec) {
        let Some(connection) = self
            .connection
            .filter(|connection| connection.offers_requested)
        else {
            return;
        };
        let Some(entry) = self.entries.get(&id.device) else {
            return;
        };
        if entry
            .ports
            .get(&id.channel)
            .is_some_and(|port| port.offer.is_some())
        {
            return;
        }
        let overrides = entry.offer_override;
        let monitored = overrides.monitored.unwrap_or(spec.monitored);
        let dedicated = overrides
            .dedicated_interrupt
            .unwrap_or(spec.dedicated_interrupt);
        let last = u16::try_from(EVENT_FLAGS).unwrap_or(0);
        // The lowest free one, so that relids are reused as soon as they may.
        let Some(relid) = (1..last).find(|relid| !self.relids.contains_key(relid)) else {
            return self.refuse("no relid left for an offer");
        };
        let monitor_id = (0..MONITOR_COUNT).find(|monitor| {
            monitored
                && connection.monitor_page.is_some()
                && !self
                    .offered()
                    .any(|(_, _, other)| other.monitor_id == Some(*monitor))
        });
        // Since 5.0 there is no interrupt page, and every channel has a connection of its own.
        let shared = !dedicated && connection.interrupt_page.is_some();
        let connection_id = if shared {
            EVENT_CONNECTION
        } else {
            FIRST_SIGNAL.saturating_add(relid.into())
        };
        let offered = Offered {
            relid,
            connection_id,
            shared,
            monitor_id,
            open: None,
        };
        if let Some(entry) = self.entries.get_mut(&id.device) {
            entry.ports.entry(id.channel).or_default().offer = Some(offered);
        }
        self.relids.insert(relid, Some(id));
        self.send_message(&wire::OfferChannel {
            class: spec.class,
            instance: spec.instance,
            flags: spec.flags.bits().into(),
            mmio_megabytes: spec.mmio_megabytes.into(),
            user_data: spec.user_data,
            sub_channel_index: id.channel.into(),
            relid: u32::from(relid).into(),
            monitor_id: monitor_id.unwrap_or(0),
            monitor_allocated: monitor_id.is_some().into(),
            dedicated_interrupt: u16::from(!shared).into(),
            connection_id: connection_id.into(),
            ..wire::OfferChannel::new_zeroed()
        });
    }

    /// Withdraws all channels of a device. What the guest lent for them is dropped.
    pub(crate) fn rescind(&mut self, device: DeviceId) {
        let channels = self
            .offered()
            .map(|(id, ..)| id)
            .filter(|id| id.device == device);
        let channels: Vec<PortId> = channels.collect();
        for id in channels.into_iter().rev() {
            self.rescind_channel(id);
        }
    }

    /// Withdraws one channel.
    fn rescind_channel(&mut self, id: PortId) {
        self.close(id);
        let Some(offer) = self.port_mut(id).and_then(|port| port.offer.take()) else {
            return;
        };
        self.gpadls.retain(|_, gpadl| gpadl.port != id);
        // Sent first, so that a fault rule still finds the channel.
        self.send_message(&wire::RescindChannelOffer {
            relid: u32::from(offer.relid).into(),
        });
        self.relids.insert(offer.relid, None);
    }

    /// A relid given back: of a withdrawn channel, or of one that the guest does not want any more.
    fn relid_released(&mut self, relid: u32) -> Result<(), Refused> {
        let relid = u16::try_from(relid).map_err(|_| "release of an unknown relid")?;
        match self.relids.get(&relid).copied() {
            None => return Err("release of an unknown relid"),
            Some(None) => {}
            Some(Some(id)) => {
                if self.is_open(id) || self.gpadls.values().any(|gpadl| gpadl.port == id) {
                    return Err("release of a relid in use");
                }
                if let Some(port) = self.port_mut(id) {
                    port.offer = None;
                }
            }
        }
        self.relids.remove(&relid);
        Ok(())
    }

    /// A channel that the guest names, or why the message is ignored.
    fn named(&self, relid: u32) -> Result<PortId, Refused> {
        if let Some(id) = self.find_relid(relid) {
            return Ok(id);
        }
        let withdrawn = u16::try_from(relid).is_ok_and(|relid| self.relids.contains_key(&relid));
        if withdrawn {
            // The message and the withdrawal crossed: no fault of the guest's.
            Err("message to a rescinded channel")
        } else {
            Err("message to an unknown relid")
        }
    }

    /// The start of a GPADL.
    fn gpadl_header(
        &mut self,
        header: &wire::GpadlHeader,
        tail: &[u8],
        error: Option<Status>,
    ) -> Result<(), Refused> {
        let id = header.gpadl.get();
        let port = self.named(header.relid.get())?;
        let gpadl = Gpadl::new(port, header);
        let cost = self
            .gpadls
            .values()
            .fold(gpadl.cost(), |sum, gpadl| sum.saturating_add(gpadl.cost()));
        let status = if let Some(error) = error {
            error
        } else if id == 0 || self.gpadls.contains_key(&id) {
            Status::INVALID_PARAMETER
        } else if self.gpadls.len() >= MAX_GPADLS || cost > MAX_BYTES {
            Status::INSUFFICIENT_RESOURCES
        } else {
            self.gpadls.insert(id, gpadl);
            return self.gpadl_body(id, tail);
        };
        self.gpadl_created(header.relid.get(), id, status);
        Ok(())
    }

    /// More of a GPADL.
    fn gpadl_body(&mut self, id: u32, tail: &[u8]) -> Result<(), Refused> {
        let gpadl = self
            .gpadls
            .get_mut(&id)
            .filter(|gpadl| gpadl.ranges.is_none());
        let gpadl = gpadl.ok_or("GPADL body without a header")?;
        let port = gpadl.port;
        let status = match gpadl.push(&self.memory, tail) {
            Progress::Partial => return Ok(()),
            Progress::Complete => Status::SUCCESS,
            Progress::Bad => {
                self.gpadls.remove(&id);
                Status::INVALID_PARAMETER
            }
        };
        let relid = self.offered_mut(port).map(|offer| offer.relid);
        self.gpadl_created(relid.unwrap_or(0).into(), id, status);
        Ok(())
    }

    /// Answers that a GPADL was created, or not.
    fn gpadl_created(&mut self, relid: u32, gpadl: u32, status: Status) {
        self.send_message(&wire::GpadlCreated {
            relid: relid.into(),
            gpadl: gpadl.into(),
            status: status.0.into(),
        });
    }

    /// The end of a GPADL.
    fn gpadl_teardown(&mut self, teardown: &wire::GpadlTeardown) -> Result<(), Refused> {
        let id = teardown.gpadl.get();
        let port = self.named(teardown.relid.get())?;
        match self.gpadls.get(&id) {
            Some(gpadl) if gpadl.port == port => {}
            _ => return Err("teardown of an unknown GPADL"),
        }
        if let Some((_, open)) = self.open_mut(port) {
            if open.ring_gpadl == id {
                return Err("teardown of the rings of an open channel");
            }
        }
        let message = wire::GpadlTorndown {
            gpadl: teardown.gpadl,
        };
        // Sent first, so that a fault rule still finds the channel.
        self.send_message(&message);
        self.gpadls.remove(&id);
        Ok(())
    }

    /// A request to open.
    fn open_channel(
        &mut self,
        open: &wire::OpenChannel,
        error: Option<Status>,
    ) -> Result<(), Refused> {
        let id = self.named(open.relid.get())?;
        let opened = match error {
            Some(error) => Err(error),
            None => self.open(id, open),
        };
        let status = match opened {
            Ok(()) => Status::SUCCESS,
            Err(status) => status,
        };
        self.send_message(&wire::OpenResult {
            relid: open.relid,
            open_id: open.open_id,
            status: status.0.into(),
        });
        if status == Status::SUCCESS {
            self.notices.push_back(Notice::Opened(id));
        }
        Ok(())
    }

    /// Opens a channel.
    fn open(&mut self, id: PortId, request: &wire::OpenChannel) -> Result<(), Status> {
        let ring_gpadl = request.ring_gpadl.get();
        let target_vp = request.target_vp.get();
        let gpadl = self
            .gpadls
            .get(&ring_gpadl)
            .filter(|gpadl| gpadl.port == id)
            .ok_or(Status::INVALID_PARAMETER)?;
        if self.is_open(id) || target_vp >= self.config.vps {
            return Err(Status::INVALID_PARAMETER);
        }
        let pages = gpadl
            .ring_pages(&self.memory)
            .ok_or(Status::INVALID_PARAMETER)?;
        let (upstream, downstream) = usize::try_from(request.downstream_page_offset.get())
            .ok()
            .and_then(|at| pages.split_at_checked(at))
            .ok_or(Status::INVALID_PARAMETER)?;
        let ring = |pages| RingPages::new(&self.memory, pages).ok_or(Status::INVALID_PARAMETER);
        let (from_guest, to_guest) = (ring(upstream)?, ring(downstream)?);
        let bad = |_| Status::INVALID_PARAMETER;
        let reader = Reader::new(from_guest).map_err(bad)?;
        let writer = Writer::new(to_guest).map_err(bad)?;
        let port = self.port_mut(id).ok_or(Status::UNSUCCESSFUL)?;
        port.generation = port.generation.wrapping_add(1);
        add(&mut port.counters.opens, 1);
        let offer = port.offer.as_mut().ok_or(Status::UNSUCCESSFUL)?;
        offer.open = Some(Open::new(target_vp, ring_gpadl, reader, writer));
        if !offer.shared {
            let connection_id = offer.connection_id;
            self.outputs.push_back(Output::AddSignal { connection_id });
        }
        Ok(())
    }

    /// A channel closed by the guest; with a device's first channel, its sub-channels are withdrawn.
    fn close_channel(&mut self, relid: u32) -> Result<(), Refused> {
        let id = self.named(relid)?;
        if !self.is_open(id) {
            return Err("close of a closed channel");
        }
        if id.channel == 0 {
            let offered: Vec<PortId> = self
                .offered()
                .map(|(other, ..)| other)
                .filter(|other| other.device == id.device && other.channel != 0)
                .collect();
            for sub_channel in offered.into_iter().rev() {
                self.rescind_channel(sub_channel);
            }
        }
        self.close(id);
        Ok(())
    }

    /// A request to move an interrupt.
    fn modify_channel(
        &mut self,
        connection: Connection,
        modify: &wire::ModifyChannel,
        error: Option<Status>,
    ) -> Result<(), Refused> {
        let id = self.named(modify.relid.get())?;
        let target_vp = modify.target_vp.get();
        let valid = target_vp < self.config.vps;
        let status = match (error, self.open_mut(id)) {
            (Some(error), _) => error,
            (None, Some((_, open))) if valid => {
                open.target_vp = target_vp;
                Status::SUCCESS
            }
            _ => Status::INVALID_PARAMETER,
        };
        if MessageType::MODIFY_CHANNEL_RESPONSE.exists_in(connection.version, connection.features) {
            self.send_message(&wire::ModifyChannelResponse {
                relid: modify.relid,
                status: status.0.into(),
            });
        }
        match status {
            Status::SUCCESS => Ok(()),
            _ => Err("interrupt of a closed channel, or to no VP"),
        }
    }

    /// New monitor pages.
    fn modify_connection(&mut self, modify: &wire::ModifyConnection) -> Result<(), Refused> {
        let address = modify.child_to_parent_monitor_page.get();
        let valid = address == 0 || is_page(&self.memory, address);
        if let (true, Some(connection)) = (valid, &mut self.connection) {
            connection.monitor_page = (address != 0).then_some(address);
        }
        let state = if valid {
            ConnectionState::SUCCESSFUL
        } else {
            ConnectionState::UNKNOWN_FAILURE
        };
        self.send_message(&wire::ModifyConnectionResponse {
            connection_state: state.0,
        });
        Ok(())
    }
}
