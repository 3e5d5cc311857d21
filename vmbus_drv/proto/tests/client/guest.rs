// SPDX-License-Identifier: GPL-2.0

//! The client with a table, a host, and an account of its requests.

use crate::host::Host;
use std::collections::BTreeMap;
use vmbus_proto::channel::Pending;
use vmbus_proto::message::wire::Status;
use vmbus_proto::*;

/// The channels, at most `capacity` of them.
#[derive(Debug)]
pub(crate) struct Table {
    /// The channels.
    channels: BTreeMap<Relid, Channel>,
    /// How many there may be.
    capacity: usize,
}

impl Table {
    /// An empty table.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self {
            channels: BTreeMap::new(),
            capacity,
        }
    }
}

impl ChannelTable for Table {
    fn get(&self, relid: Relid) -> Option<&Channel> {
        self.channels.get(&relid)
    }

    fn get_mut(&mut self, relid: Relid) -> Option<&mut Channel> {
        self.channels.get_mut(&relid)
    }

    fn insert(&mut self, channel: Channel) -> Result<(), TableFull> {
        if self.channels.len() >= self.capacity {
            return Err(TableFull);
        }
        assert!(self.channels.insert(channel.relid(), channel).is_none());
        Ok(())
    }

    fn remove(&mut self, relid: Relid) {
        assert!(self.channels.remove(&relid).is_some());
    }

    fn clear(&mut self) {
        self.channels.clear();
    }

    fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.channels.values()
    }
}

/// The guest: posts what the client says, and checks that each request completes exactly once.
#[derive(Debug)]
pub(crate) struct Guest {
    /// The client.
    pub(crate) client: Client<Table>,
    /// The host.
    pub(crate) host: Host,
    /// Requests that are neither complete nor taken back.
    pub(crate) outstanding: Vec<Request>,
    /// What came, apart from errors.
    pub(crate) events: Vec<Event>,
    /// What came wrong.
    pub(crate) errors: Vec<ProtocolError>,
    /// Offers that were given back at once.
    pub(crate) refusals: Vec<Refusal>,
}

/// A relid.
pub(crate) fn relid(number: u32) -> Relid {
    Relid::new(number).unwrap()
}

/// How to make contact in these tests.
pub(crate) fn contact(max_version: Version) -> Contact {
    Contact {
        max_version,
        target_vp: 3,
        interrupt_page: 0x1111_2000,
        parent_to_child_monitor_page: 0x2222_3000,
        child_to_parent_monitor_page: 0x3333_4000,
    }
}

/// How to open a channel in these tests.
pub(crate) fn params(ring: GpadlId) -> OpenParams {
    OpenParams {
        ring,
        target_vp: 5,
        downstream_page_offset: 1,
        user_data: [0xab; 120],
    }
}

impl Guest {
    /// A guest without a connection.
    pub(crate) fn new(host: Host) -> Self {
        Self {
            client: Client::new(Table::with_capacity(2047)),
            host,
            outstanding: Vec::new(),
            events: Vec::new(),
            errors: Vec::new(),
            refusals: Vec::new(),
        }
    }

    /// A guest that has a connection of this version, and these channels: relid, device, index.
    pub(crate) fn connected(version: Version, devices: &[(u32, u8, u16)]) -> Self {
        let mut guest = Self::new(Host::new(version));
        guest.host.devices = devices.to_vec();
        guest.contact(Version(u32::MAX)).unwrap();
        guest.deliver_all();
        guest.request_offers().unwrap();
        guest.deliver_all();
        assert_eq!(guest.errors, []);
        guest.events.clear();
        guest
    }

    /// Notes a request.
    fn start(&mut self, request: Request) {
        assert!(
            !self.outstanding.contains(&request),
            "{request:?} is outstanding"
        );
        self.outstanding.push(request);
    }

    /// Notes the end of a request.
    fn complete(&mut self, request: Request) {
        let position = self.outstanding.iter().position(|other| *other == request);
        self.outstanding
            .remove(position.unwrap_or_else(|| panic!("{request:?} completes twice")));
    }

    /// Makes contact.
    pub(crate) fn contact(&mut self, max_version: Version) -> Result<(), RequestError> {
        let message = self.client.initiate_contact(contact(max_version))?;
        self.start(Request::Contact);
        self.host.receive(&message);
        Ok(())
    }

    /// Asks for offers.
    pub(crate) fn request_offers(&mut self) -> Result<(), RequestError> {
        let message = self.client.request_offers()?;
        self.start(Request::Offers);
        self.host.receive(&message);
        Ok(())
    }

    /// Lends two pages.
    pub(crate) fn create_gpadl(&mut self, relid: Relid) -> Result<GpadlId, RequestError> {
        let range = Range::pages(2).unwrap();
        let (gpadl, messages) = self.client.create_gpadl(relid, range, 0x1000..)?;
        self.start(Request::CreateGpadl(relid, gpadl));
        for message in messages {
            self.host.receive(&message.unwrap());
        }
        Ok(gpadl)
    }

    /// Takes memory back.
    pub(crate) fn teardown_gpadl(
        &mut self,
        relid: Relid,
        gpadl: GpadlId,
    ) -> Result<(), RequestError> {
        let message = self.client.teardown_gpadl(relid, gpadl)?;
        self.start(Request::TeardownGpadl(relid, gpadl));
        self.host.receive(&message);
        Ok(())
    }

    /// Opens a channel.
    pub(crate) fn open(&mut self, relid: Relid, ring: GpadlId) -> Result<(), RequestError> {
        let message = self.client.open(relid, &params(ring))?;
        self.start(Request::Open(relid));
        self.host.receive(&message);
        Ok(())
    }

    /// Moves an interrupt.
    pub(crate) fn modify(&mut self, relid: Relid, target_vp: u32) -> Result<(), RequestError> {
        let message = self.client.modify_channel(relid, target_vp)?;
        if self.client.answers_retarget() {
            self.start(Request::ModifyChannel(relid));
        }
        self.host.receive(&message);
        Ok(())
    }

    /// Closes a channel.
    pub(crate) fn close(&mut self, relid: Relid) -> Result<(), RequestError> {
        let message = self.client.close(relid)?;
        self.host.receive(&message);
        Ok(())
    }

    /// Gives a relid back.
    pub(crate) fn release(&mut self, relid: Relid) -> Result<(), RequestError> {
        let message = self.client.release(relid)?;
        assert!(self.client.channel(relid).is_none());
        self.host.receive(&message);
        Ok(())
    }

    /// Ends the connection.
    pub(crate) fn unload(&mut self) -> Result<(), RequestError> {
        let message = self.client.unload()?;
        self.start(Request::Unload);
        self.host.receive(&message);
        Ok(())
    }

    /// Gives a request up.
    pub(crate) fn abandon(&mut self, request: Request) -> Result<(), RequestError> {
        self.client.abandon(request)?;
        // The answer to a teardown is welcome still, and completes it.
        if !matches!(
            request,
            Request::TeardownGpadl(..) | Request::Offers | Request::Unload
        ) {
            self.complete(request);
        }
        Ok(())
    }

    /// Reads one message of the host's; false if there is none.
    pub(crate) fn deliver(&mut self) -> bool {
        let Some(bytes) = self.host.next_message() else {
            return false;
        };
        self.handle(&bytes);
        true
    }

    /// Reads all messages of the host's, of which there may be only so many.
    pub(crate) fn deliver_all(&mut self) {
        for _ in 0..10_000 {
            if !self.deliver() {
                return;
            }
        }
        panic!("the client and the host never come to an end");
    }

    /// Takes a message in: an error must not change anything.
    pub(crate) fn handle(&mut self, bytes: &[u8]) {
        let before = format!("{:?}", self.client);
        match self.client.handle_message(bytes) {
            Ok(event) => self.carry_out(event),
            Err(error) => {
                assert_eq!(format!("{:?}", self.client), before, "{error:?}");
                self.errors.push(error);
            }
        }
    }

    /// Does what an event asks for.
    pub(crate) fn carry_out(&mut self, event: Event) {
        match &event {
            Event::VersionAccepted { .. } | Event::Refused { .. } => {
                self.complete(Request::Contact)
            }
            Event::ContactRetry { message, .. } => self.host.receive(message),
            Event::AllOffersDelivered => self.complete(Request::Offers),
            Event::OpenResult { relid, .. } => self.complete(Request::Open(*relid)),
            Event::LateOpen { close, .. } => {
                if let Some(close) = close {
                    self.host.receive(close);
                }
            }
            Event::GpadlCreated { relid, gpadl, .. } => {
                self.complete(Request::CreateGpadl(*relid, *gpadl));
            }
            Event::LateGpadl {
                relid,
                gpadl,
                teardown,
            } => {
                self.start(Request::TeardownGpadl(*relid, *gpadl));
                self.host.receive(teardown);
            }
            Event::GpadlTorndown { relid, gpadl } => {
                // Where the creation was abandoned and failed late, there is no request.
                let request = Request::TeardownGpadl(*relid, *gpadl);
                if self.outstanding.contains(&request) {
                    self.complete(request);
                }
            }
            Event::ModifyResponse { relid, .. } => self.complete(Request::ModifyChannel(*relid)),
            Event::Rescinded { pending, .. } => self.fail(pending),
            Event::Unloaded => self.outstanding.clear(),
            Event::OfferRefused { .. }
            | Event::Offered { .. }
            | Event::SubchannelOffered { .. }
            | Event::Ignored(_) => {}
        }
        if let Event::OfferRefused { reason, release } = event {
            self.refusals.push(reason);
            self.host.receive(&release.message());
        } else {
            self.events.push(event);
        }
    }

    /// Completes the requests of a rescinded channel.
    fn fail(&mut self, pending: &Pending) {
        for request in pending.iter() {
            self.complete(request);
        }
    }

    /// The last event.
    pub(crate) fn last(&self) -> &Event {
        self.events.last().unwrap()
    }

    /// Lends memory and opens a channel in it.
    pub(crate) fn opened(&mut self, relid: Relid) -> GpadlId {
        let ring = self.create_gpadl(relid).unwrap();
        self.deliver_all();
        self.open(relid, ring).unwrap();
        self.deliver_all();
        assert!(matches!(
            self.last(),
            Event::OpenResult {
                status: Status::SUCCESS,
                ..
            }
        ));
        ring
    }

    /// Checks that nothing is left of any channel on either side.
    pub(crate) fn assert_empty(&self) {
        assert_eq!(self.outstanding, []);
        assert_eq!(self.client.table().iter().count(), 0);
        assert_eq!(self.host.unreleased(), []);
        assert_eq!(self.host.gpadls(), 0);
    }
}
