// SPDX-License-Identifier: GPL-2.0

//! What the client asks of the host.

use super::{Client, Connection, Event, Link, Offers, FEATURES};
use crate::channel::{ChannelState, ChannelTable, Gpadl, GpadlState, Retarget};
use crate::gpadl::{Encoder, GpadlId, Range};
use crate::message::wire::{self, USER_DATA_SIZE};
use crate::message::Outgoing;
use crate::offer::Relid;
use crate::version::Version;
use hvdef::synic::VMBUS_SINT;

/// The connection for messages before 5.0 (`VMBUS_MESSAGE_CONNECTION_ID`).
const MESSAGE_CONNECTION: u32 = 1;

/// The connection on which contact is made since 5.0 (`VMBUS_MESSAGE_CONNECTION_ID_4`).
const CONTACT_CONNECTION: u32 = 4;

/// The trust level at which messages are received: the lowest, where ordinary guests run.
const MESSAGE_VTL: u8 = 0;

/// How to make contact. All addresses are guest physical ones, of pages that live as long as the connection.
#[derive(Clone, Copy, Debug)]
pub struct Contact {
    /// The best version to propose.
    pub max_version: Version,
    /// The VP that receives messages.
    pub target_vp: u32,
    /// The interrupt page, which hosts before 5.0 use.
    pub interrupt_page: u64,
    /// The monitor page from host to guest.
    pub parent_to_child_monitor_page: u64,
    /// The monitor page from guest to host.
    pub child_to_parent_monitor_page: u64,
}

impl Contact {
    /// The message that proposes `version`.
    pub(super) fn propose(&self, version: Version) -> Outgoing {
        let (connection_id, interrupt_page_or_target) = if version.names_message_connection() {
            let [f0, f1, f2, f3] = FEATURES.bits().to_le_bytes();
            (
                CONTACT_CONNECTION,
                [VMBUS_SINT, MESSAGE_VTL, 0, 0, f0, f1, f2, f3],
            )
        } else {
            (MESSAGE_CONNECTION, self.interrupt_page.to_le_bytes())
        };
        Outgoing::new(
            connection_id,
            &wire::InitiateContact {
                version: version.0.into(),
                target_vp: self.target_vp.into(),
                interrupt_page_or_target,
                parent_to_child_monitor_page: self.parent_to_child_monitor_page.into(),
                child_to_parent_monitor_page: self.child_to_parent_monitor_page.into(),
            },
        )
    }

    /// The connection of all messages after `version` was agreed on.
    pub(super) fn message_connection(version: Version, response: &wire::VersionResponse) -> u32 {
        if version.names_message_connection() {
            response.message_connection_id.get()
        } else {
            MESSAGE_CONNECTION
        }
    }
}

/// How to open a channel.
#[derive(Clone, Copy, Debug)]
pub struct OpenParams {
    /// The memory of the rings; created, and of the same channel.
    pub ring: GpadlId,
    /// The VP to interrupt.
    pub target_vp: u32,
    /// Where the ring from host to guest begins in that memory, in pages; the other one begins at 0.
    pub downstream_page_offset: u32,
    /// For the device's own use.
    pub user_data: [u8; USER_DATA_SIZE],
}

/// A request that the host answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// [`Client::initiate_contact`].
    Contact,
    /// [`Client::request_offers`].
    Offers,
    /// [`Client::open`].
    Open(Relid),
    /// [`Client::create_gpadl`].
    CreateGpadl(Relid, GpadlId),
    /// [`Client::teardown_gpadl`].
    TeardownGpadl(Relid, GpadlId),
    /// [`Client::modify_channel`], if the host answers it.
    ModifyChannel(Relid),
    /// [`Client::unload`].
    Unload,
}

/// Why the client does not make a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// There is no connection.
    NotConnected,
    /// There is no such channel.
    UnknownRelid,
    /// The channel has no such GPADL.
    UnknownGpadl,
    /// The host withdrew the channel.
    Rescinded,
    /// The connection, the channel or the GPADL is not in a state for this; or nothing that could be taken back is
    /// pending, because the answer has just come.
    WrongState,
    /// The host speaks no version that has this.
    Unsupported,
    /// The channel has as many GPADLs as it may.
    TooManyGpadls,
    /// The downstream ring is not inside the memory.
    BadParameter,
}

impl<T: ChannelTable> Client<T> {
    /// Makes contact. Answers: [`Event::VersionAccepted`], [`Event::ContactRetry`], [`Event::Refused`].
    ///
    /// # Errors
    ///
    /// `WrongState` if there is a connection; `Unsupported` if we speak no version up to the given maximum.
    pub fn initiate_contact(&mut self, contact: Contact) -> Result<Outgoing, RequestError> {
        let Connection::Disconnected = self.connection else {
            return Err(RequestError::WrongState);
        };
        let version = Version::best_up_to(contact.max_version).ok_or(RequestError::Unsupported)?;
        self.connection = Connection::Contacting { contact, version };
        Ok(contact.propose(version))
    }

    /// Goes on to the next version where the hypervisor refuses to post the contact message, because there is no
    /// such connection: hosts before 5.0 have no connection 4. Returns `ContactRetry` or `Refused`.
    ///
    /// # Errors
    ///
    /// `WrongState` if contact is not being made.
    pub fn contact_unreachable(&mut self) -> Result<Event, RequestError> {
        match self.connection {
            Connection::Contacting { contact, version } => Ok(self.contact_older(contact, version)),
            _ => Err(RequestError::WrongState),
        }
    }

    /// Proposes the version before `version`, if there is one.
    pub(super) fn contact_older(&mut self, contact: Contact, version: Version) -> Event {
        match version.older() {
            Some(version) => {
                self.connection = Connection::Contacting { contact, version };
                Event::ContactRetry {
                    version,
                    message: contact.propose(version),
                }
            }
            None => {
                self.connection = Connection::Disconnected;
                Event::Refused {
                    version,
                    state: None,
                }
            }
        }
    }

    /// Asks for all offers. Answers: [`Event::Offered`] and [`Event::SubchannelOffered`], now and at any later time;
    /// [`Event::AllOffersDelivered`] once.
    ///
    /// # Errors
    ///
    /// `NotConnected`; `WrongState` if they were asked for.
    pub fn request_offers(&mut self) -> Result<Outgoing, RequestError> {
        match &mut self.connection {
            Connection::Connected(link) if link.offers == Offers::NotRequested => {
                link.offers = Offers::Requested;
                Ok(Outgoing::new(link.connection_id, &wire::RequestOffers {}))
            }
            Connection::Connected(_) => Err(RequestError::WrongState),
            _ => Err(RequestError::NotConnected),
        }
    }

    /// Lends memory to the host: post all messages of the encoder, in order. Answer: [`Event::GpadlCreated`].
    ///
    /// If only some of them could be posted, call [`Client::abandon`].
    ///
    /// # Errors
    ///
    /// `NotConnected`, `UnknownRelid`, `Rescinded`, `TooManyGpadls`.
    pub fn create_gpadl<I: Iterator<Item = u64>>(
        &mut self,
        relid: Relid,
        range: Range,
        pfns: I,
    ) -> Result<(GpadlId, Encoder<I>), RequestError> {
        let connection_id = self.link()?.connection_id;
        let id = self.unused_gpadl();
        let gpadl = Gpadl {
            id,
            state: GpadlState::Creating,
            pages: range.page_count(),
        };
        self.live(relid)?.add_gpadl(gpadl)?;
        self.next_gpadl = id.0.wrapping_add(1);
        Ok((id, Encoder::new(connection_id, relid, id, range, pfns)))
    }

    /// A name that no GPADL has. There are fewer GPADLs than names, so that the search ends.
    fn unused_gpadl(&self) -> GpadlId {
        let mut id = GpadlId(self.next_gpadl);
        while id.0 == 0 || self.table.iter().any(|channel| channel.owns(id)) {
            id.0 = id.0.wrapping_add(1);
        }
        id
    }

    /// Takes memory back. Answer: [`Event::GpadlTorndown`], before which the memory must not be reused.
    ///
    /// # Errors
    ///
    /// `NotConnected`, `UnknownRelid`, `UnknownGpadl`; `Rescinded`, where the memory is free already; `WrongState`
    /// if the GPADL is not created, or if the rings of a channel that may be open lie in it.
    pub fn teardown_gpadl(&mut self, relid: Relid, id: GpadlId) -> Result<Outgoing, RequestError> {
        let link = self.link()?;
        let channel = self.live(relid)?;
        let in_use = channel.has_ring_in(id);
        let gpadl = channel.gpadl(id).ok_or(RequestError::UnknownGpadl)?;
        if in_use || gpadl.state != GpadlState::Created {
            return Err(RequestError::WrongState);
        }
        gpadl.state = GpadlState::TearingDown;
        Ok(teardown_message(link, relid, id))
    }

    /// Opens a channel. Answer: [`Event::OpenResult`].
    ///
    /// # Errors
    ///
    /// `NotConnected`, `UnknownRelid`, `Rescinded`, `UnknownGpadl`; `WrongState` if the channel is not closed or the
    /// memory not created; `BadParameter`.
    pub fn open(&mut self, relid: Relid, params: &OpenParams) -> Result<Outgoing, RequestError> {
        let link = self.link()?;
        let open_id = self.next_open_id;
        let channel = self.live(relid)?;
        let closed = channel.state == ChannelState::Closed;
        let ring = channel
            .gpadl(params.ring)
            .ok_or(RequestError::UnknownGpadl)?;
        if !closed || ring.state != GpadlState::Created {
            return Err(RequestError::WrongState);
        }
        if !(1..u32::from(ring.pages)).contains(&params.downstream_page_offset) {
            return Err(RequestError::BadParameter);
        }
        channel.state = ChannelState::Opening {
            ring: params.ring,
            open_id,
        };
        self.next_open_id = open_id.wrapping_add(1);
        Ok(Outgoing::new(
            link.connection_id,
            &wire::OpenChannel {
                relid: relid.get().into(),
                open_id: open_id.into(),
                ring_gpadl: params.ring.0.into(),
                target_vp: params.target_vp.into(),
                downstream_page_offset: params.downstream_page_offset.into(),
                user_data: params.user_data,
            },
        ))
    }

    /// Closes an open channel; a device's sub-channels go before its first channel. There is no answer: the host
    /// uses the rings until their GPADL is torn down. Should the message not be posted, call
    /// [`Client::close_not_posted`].
    ///
    /// # Errors
    ///
    /// `NotConnected`, `UnknownRelid`; `Rescinded`, where there is nothing to close; `WrongState` if it is not open.
    pub fn close(&mut self, relid: Relid) -> Result<Outgoing, RequestError> {
        let link = self.link()?;
        let channel = self.live(relid)?;
        let ChannelState::Open { .. } = channel.state else {
            return Err(RequestError::WrongState);
        };
        channel.state = ChannelState::Closed;
        Ok(close_message(link, relid))
    }

    /// Takes a [`Client::close`] back of which no message was posted: the channel is open, with its rings in this memory,
    /// which cannot be torn down.
    ///
    /// # Errors
    ///
    /// `UnknownRelid`, `UnknownGpadl`; `Rescinded`, where there is nothing to close; `WrongState` if the channel is not
    /// closed, or the memory not created.
    pub fn close_not_posted(&mut self, relid: Relid, ring: GpadlId) -> Result<(), RequestError> {
        self.gpadl_in(relid, ring, GpadlState::Created)?;
        match &mut self.live(relid)?.state {
            state @ ChannelState::Closed => *state = ChannelState::Open { ring },
            _ => return Err(RequestError::WrongState),
        }
        Ok(())
    }

    /// Moves the interrupt of an open channel to another VP. Answer: [`Event::ModifyResponse`] if
    /// [`Client::answers_retarget`], none otherwise.
    ///
    /// # Errors
    ///
    /// `NotConnected`, `UnknownRelid`, `Rescinded`; `Unsupported` unless [`Client::can_retarget`]; `WrongState` if
    /// the channel is not open, or an earlier answer has not come.
    pub fn modify_channel(
        &mut self,
        relid: Relid,
        target_vp: u32,
    ) -> Result<Outgoing, RequestError> {
        let link = self.link()?;
        if !self.can_retarget() {
            return Err(RequestError::Unsupported);
        }
        let answers = self.answers_retarget();
        let channel = self.live(relid)?;
        let open = matches!(channel.state, ChannelState::Open { .. });
        if !open || channel.retarget != Retarget::Idle {
            return Err(RequestError::WrongState);
        }
        if answers {
            channel.retarget = Retarget::Pending;
        }
        let body = wire::ModifyChannel {
            relid: relid.get().into(),
            target_vp: target_vp.into(),
        };
        Ok(Outgoing::new(link.connection_id, &body))
    }

    /// Gives a relid back and forgets the channel. After that, the host may offer another channel with this relid.
    ///
    /// # Errors
    ///
    /// `NotConnected`, `UnknownRelid`; `WrongState` unless the channel is rescinded, or closed and without GPADLs.
    pub fn release(&mut self, relid: Relid) -> Result<Outgoing, RequestError> {
        let connection_id = self.link()?.connection_id;
        let channel = self.table.get(relid).ok_or(RequestError::UnknownRelid)?;
        let idle = channel.state() == ChannelState::Closed && !channel.has_gpadls();
        if !idle && !channel.is_rescinded() {
            return Err(RequestError::WrongState);
        }
        self.table.remove(relid);
        let body = wire::RelidReleased {
            relid: relid.get().into(),
        };
        Ok(Outgoing::new(connection_id, &body))
    }

    /// Ends the connection, whatever the channels are doing. Answer: [`Event::Unloaded`].
    ///
    /// # Errors
    ///
    /// `NotConnected`.
    pub fn unload(&mut self) -> Result<Outgoing, RequestError> {
        let link = self.link()?;
        self.connection = Connection::Unloading(link);
        Ok(crate::message::unload_message(link.connection_id))
    }

    /// Takes a request back of which no message was posted: everything is as before it.
    ///
    /// # Errors
    ///
    /// `UnknownRelid`, `UnknownGpadl`; `Rescinded`, where the request is complete; `WrongState` if it is not pending.
    pub fn not_posted(&mut self, request: Request) -> Result<(), RequestError> {
        match (request, self.connection) {
            (Request::Contact, Connection::Contacting { .. }) => {
                self.connection = Connection::Disconnected;
            }
            (
                Request::Offers,
                Connection::Connected(
                    link @ Link {
                        offers: Offers::Requested,
                        ..
                    },
                ),
            ) => {
                let offers = Offers::NotRequested;
                self.connection = Connection::Connected(Link { offers, ..link });
            }
            (Request::Unload, Connection::Unloading(link)) => {
                self.connection = Connection::Connected(link);
            }
            (Request::Contact | Request::Offers | Request::Unload, _) => {
                return Err(RequestError::WrongState);
            }
            (Request::Open(relid), _) => {
                self.opening(relid)?;
                self.live(relid)?.state = ChannelState::Closed;
            }
            (Request::CreateGpadl(relid, id), _) => {
                self.gpadl_in(relid, id, GpadlState::Creating)?;
                self.live(relid)?.remove_gpadl(id);
            }
            (Request::TeardownGpadl(relid, id), _) => {
                self.gpadl_in(relid, id, GpadlState::TearingDown)?.state = GpadlState::Created;
            }
            (Request::ModifyChannel(relid), _) => *self.retargeting(relid)? = Retarget::Idle,
        }
        Ok(())
    }

    /// Gives a request up that was posted, in part or whole, and to which no answer came in time.
    ///
    /// What the host may still do is accounted for: memory stays in its hands until an event says otherwise. The
    /// teardown of a GPADL, the offers and the unloading stay what they are; their answers are still welcome.
    ///
    /// # Errors
    ///
    /// As [`Client::not_posted`].
    pub fn abandon(&mut self, request: Request) -> Result<(), RequestError> {
        match (request, self.connection) {
            (Request::Contact, Connection::Contacting { .. }) => self.connection = Connection::Lost,
            (
                Request::Offers,
                Connection::Connected(Link {
                    offers: Offers::Requested,
                    ..
                }),
            )
            | (Request::Unload, Connection::Unloading(_)) => {}
            (Request::Contact | Request::Offers | Request::Unload, _) => {
                return Err(RequestError::WrongState);
            }
            (Request::Open(relid), _) => {
                let (ring, open_id) = self.opening(relid)?;
                self.live(relid)?.state = ChannelState::OpenAbandoned { ring, open_id };
            }
            (Request::CreateGpadl(relid, id), _) => {
                self.gpadl_in(relid, id, GpadlState::Creating)?.state = GpadlState::CreateAbandoned;
            }
            (Request::TeardownGpadl(relid, id), _) => {
                self.gpadl_in(relid, id, GpadlState::TearingDown)?;
            }
            (Request::ModifyChannel(relid), _) => *self.retargeting(relid)? = Retarget::Abandoned,
        }
        Ok(())
    }

    /// Ring and identity of the pending request to open a channel.
    fn opening(&mut self, relid: Relid) -> Result<(GpadlId, u32), RequestError> {
        match self.live(relid)?.state {
            ChannelState::Opening { ring, open_id } => Ok((ring, open_id)),
            _ => Err(RequestError::WrongState),
        }
    }

    /// A GPADL, if it is in this state.
    fn gpadl_in(
        &mut self,
        relid: Relid,
        id: GpadlId,
        state: GpadlState,
    ) -> Result<&mut Gpadl, RequestError> {
        let gpadl = self
            .live(relid)?
            .gpadl(id)
            .ok_or(RequestError::UnknownGpadl)?;
        if gpadl.state == state {
            Ok(gpadl)
        } else {
            Err(RequestError::WrongState)
        }
    }

    /// The move of a channel's interrupt, if it is pending.
    fn retargeting(&mut self, relid: Relid) -> Result<&mut Retarget, RequestError> {
        match &mut self.live(relid)?.retarget {
            retarget @ Retarget::Pending => Ok(retarget),
            _ => Err(RequestError::WrongState),
        }
    }
}

/// The message that closes a channel.
pub(super) fn close_message(link: Link, relid: Relid) -> Outgoing {
    Outgoing::new(
        link.connection_id,
        &wire::CloseChannel {
            relid: relid.get().into(),
        },
    )
}

/// The message that tears a GPADL down.
pub(super) fn teardown_message(link: Link, relid: Relid, gpadl: GpadlId) -> Outgoing {
    let body = wire::GpadlTeardown {
        relid: relid.get().into(),
        gpadl: gpadl.0.into(),
    };
    Outgoing::new(link.connection_id, &body)
}
