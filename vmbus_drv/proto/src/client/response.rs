// SPDX-License-Identifier: GPL-2.0

//! What the client makes of the host's messages: one method for each.

use super::request::{close_message, teardown_message};
use super::{
    Client, Connection, Contact, Event, Link, MustRelease, Offers, ProtocolError, Refusal, FEATURES,
};
use crate::channel::{Channel, ChannelState, ChannelTable, GpadlState, Retarget};
use crate::gpadl::GpadlId;
use crate::message::wire::{self, ConnectionState, Status};
use crate::message::{Message, MessageType};
use crate::offer::{Offer, Relid};
use crate::version::Version;

impl<T: ChannelTable> Client<T> {
    /// Takes in a message of the host's, which must be a private copy.
    ///
    /// # Errors
    ///
    /// See [`ProtocolError`]; nothing has changed then.
    pub fn handle_message(&mut self, bytes: &[u8]) -> Result<Event, ProtocolError> {
        match self.connection {
            Connection::Disconnected | Connection::Lost => {
                let message = Message::parse(bytes, Version::MINIMUM, FEATURES)?;
                Err(ProtocolError::Unexpected(message.message_type()))
            }
            Connection::Contacting { contact, version } => {
                match Message::parse(bytes, version, FEATURES)? {
                    Message::VersionResponse(response, _) => {
                        Ok(self.handle_version_response(contact, version, &response))
                    }
                    other => Err(ProtocolError::Unexpected(other.message_type())),
                }
            }
            Connection::Unloading(link) => match Message::parse(bytes, link.version, FEATURES)? {
                Message::UnloadResponse(..) => Ok(self.handle_unload_response()),
                other => Ok(Event::Ignored(other.message_type())),
            },
            Connection::Connected(link) => {
                self.handle_connected(link, Message::parse(bytes, link.version, FEATURES)?)
            }
        }
    }

    /// Takes in a message while there is a connection.
    fn handle_connected(
        &mut self,
        link: Link,
        message: Message<'_>,
    ) -> Result<Event, ProtocolError> {
        match message {
            Message::OfferChannel(offer, _) if link.offers != Offers::NotRequested => {
                self.handle_offer(link, &offer)
            }
            Message::AllOffersDelivered(..) if link.offers == Offers::Requested => {
                self.connection = Connection::Connected(Link {
                    offers: Offers::Delivered,
                    ..link
                });
                Ok(Event::AllOffersDelivered)
            }
            Message::RescindChannelOffer(rescind, _) => self.handle_rescind(&rescind),
            Message::OpenResult(result, _) => self.handle_open_result(link, &result),
            Message::GpadlCreated(created, _) => self.handle_gpadl_created(link, &created),
            Message::GpadlTorndown(torndown, _) => self.handle_gpadl_torndown(&torndown),
            Message::ModifyChannelResponse(response, _) => self.handle_modify_response(&response),
            // We connect no sockets, but a host that tells of one does no harm.
            Message::TlConnectResult(..) => Ok(Event::Ignored(MessageType::TL_CONNECT_RESULT)),
            other => Err(ProtocolError::Unexpected(other.message_type())),
        }
    }

    /// The answer to the proposal of a version.
    fn handle_version_response(
        &mut self,
        contact: Contact,
        version: Version,
        response: &wire::VersionResponse,
    ) -> Event {
        if response.version_supported == 0 {
            return self.contact_older(contact, version);
        }
        let state = ConnectionState(response.connection_state);
        if state != ConnectionState::SUCCESSFUL {
            self.connection = Connection::Disconnected;
            return Event::Refused {
                version,
                state: Some(state),
            };
        }
        let connection_id = Contact::message_connection(version, response);
        let link = Link {
            version,
            connection_id,
            offers: Offers::NotRequested,
        };
        self.connection = Connection::Connected(link);
        Event::VersionAccepted {
            version,
            connection_id,
        }
    }

    /// The answer to the request to unload.
    fn handle_unload_response(&mut self) -> Event {
        self.connection = Connection::Disconnected;
        self.table.clear();
        Event::Unloaded
    }

    /// An offer, which is either taken into the table or given back.
    fn handle_offer(
        &mut self,
        link: Link,
        wire: &wire::OfferChannel,
    ) -> Result<Event, ProtocolError> {
        let relid = checked_relid(wire.relid.get())?;
        if self.table.get(relid).is_some() {
            // To give the relid back would take away the channel that has it.
            return Err(ProtocolError::RelidInUse(relid));
        }
        let release = MustRelease {
            connection_id: link.connection_id,
            relid,
        };
        Ok(self
            .admit(relid, wire)
            .unwrap_or_else(|reason| Event::OfferRefused { reason, release }))
    }

    /// Takes a channel into the table, unless there is a reason not to.
    fn admit(&mut self, relid: Relid, wire: &wire::OfferChannel) -> Result<Event, Refusal> {
        let offer = Offer::new(relid, wire).map_err(Refusal::Bad)?;
        let primary = self
            .table
            .find_primary(&offer.class, &offer.instance)
            .map(Channel::relid);
        let event = match (offer.is_primary(), primary) {
            (true, None) => Event::Offered { relid },
            (true, Some(primary)) => return Err(Refusal::DuplicatePrimary(primary)),
            (false, None) => return Err(Refusal::NoPrimary),
            (false, Some(primary)) => match self.find_twin(&offer) {
                Some(twin) => return Err(Refusal::DuplicateSubchannel(twin)),
                None => Event::SubchannelOffered { primary, relid },
            },
        };
        self.table
            .insert(Channel::new(offer))
            .map_err(|_| Refusal::NoRoom)?;
        Ok(event)
    }

    /// The channel of the same device with the same index, unless it is rescinded.
    fn find_twin(&self, offer: &Offer) -> Option<Relid> {
        let twin = self.table.iter().find(|channel| {
            !channel.is_rescinded()
                && channel.offer().same_device(offer)
                && channel.offer().sub_channel_index == offer.sub_channel_index
        });
        twin.map(Channel::relid)
    }

    /// The withdrawal of an offer.
    fn handle_rescind(
        &mut self,
        rescind: &wire::RescindChannelOffer,
    ) -> Result<Event, ProtocolError> {
        let relid = checked_relid(rescind.relid.get())?;
        match self.table.get_mut(relid) {
            None => Err(ProtocolError::UnknownRelid(relid)),
            Some(channel) if channel.is_rescinded() => Err(ProtocolError::Unexpected(
                MessageType::RESCIND_CHANNEL_OFFER,
            )),
            Some(channel) => Ok(Event::Rescinded {
                relid,
                pending: channel.rescind(),
            }),
        }
    }

    /// The answer to a request to open.
    fn handle_open_result(
        &mut self,
        link: Link,
        result: &wire::OpenResult,
    ) -> Result<Event, ProtocolError> {
        let status = Status(result.status.get());
        let relid = checked_relid(result.relid.get())?;
        let channel = self.known(relid)?;
        let success = status == Status::SUCCESS;
        match channel.state {
            // The answer and the withdrawal may cross.
            ChannelState::Rescinded => Ok(Event::Ignored(MessageType::OPEN_RESULT)),
            ChannelState::Opening { ring, open_id } if open_id == result.open_id.get() => {
                channel.state = if success {
                    ChannelState::Open { ring }
                } else {
                    ChannelState::Closed
                };
                Ok(Event::OpenResult { relid, status })
            }
            ChannelState::OpenAbandoned { ring, open_id } if open_id == result.open_id.get() => {
                channel.state = ChannelState::Closed;
                let close = success.then(|| close_message(link, relid));
                Ok(Event::LateOpen { relid, ring, close })
            }
            _ => Err(ProtocolError::Unexpected(MessageType::OPEN_RESULT)),
        }
    }

    /// The answer to a request to create a GPADL.
    fn handle_gpadl_created(
        &mut self,
        link: Link,
        created: &wire::GpadlCreated,
    ) -> Result<Event, ProtocolError> {
        let status = Status(created.status.get());
        let relid = checked_relid(created.relid.get())?;
        let id = GpadlId(created.gpadl.get());
        let channel = self.known(relid)?;
        if channel.is_rescinded() {
            return Ok(Event::Ignored(MessageType::GPADL_CREATED));
        }
        let gpadl = channel.gpadl(id).ok_or(ProtocolError::UnknownGpadl(id))?;
        let success = status == Status::SUCCESS;
        let event = match gpadl.state {
            GpadlState::Creating => {
                gpadl.state = GpadlState::Created;
                Event::GpadlCreated {
                    relid,
                    gpadl: id,
                    status,
                }
            }
            GpadlState::CreateAbandoned if success => {
                gpadl.state = GpadlState::TearingDown;
                Event::LateGpadl {
                    relid,
                    gpadl: id,
                    teardown: teardown_message(link, relid, id),
                }
            }
            GpadlState::CreateAbandoned => Event::GpadlTorndown { relid, gpadl: id },
            GpadlState::Created | GpadlState::TearingDown => {
                return Err(ProtocolError::Unexpected(MessageType::GPADL_CREATED));
            }
        };
        if !success {
            channel.remove_gpadl(id);
        }
        Ok(event)
    }

    /// The answer to a request to tear a GPADL down, which does not name the channel.
    fn handle_gpadl_torndown(
        &mut self,
        torndown: &wire::GpadlTorndown,
    ) -> Result<Event, ProtocolError> {
        let id = GpadlId(torndown.gpadl.get());
        let owner = self
            .table
            .iter()
            .find(|channel| channel.owns(id))
            .map(Channel::relid);
        let relid = owner.ok_or(ProtocolError::UnknownGpadl(id))?;
        let channel = self.known(relid)?;
        match channel.gpadl(id) {
            Some(gpadl) if gpadl.state == GpadlState::TearingDown => {
                channel.remove_gpadl(id);
                Ok(Event::GpadlTorndown { relid, gpadl: id })
            }
            _ => Err(ProtocolError::Unexpected(MessageType::GPADL_TORNDOWN)),
        }
    }

    /// The answer to a request to move an interrupt.
    fn handle_modify_response(
        &mut self,
        response: &wire::ModifyChannelResponse,
    ) -> Result<Event, ProtocolError> {
        let status = Status(response.status.get());
        let relid = checked_relid(response.relid.get())?;
        let channel = self.known(relid)?;
        let event = match channel.retarget {
            Retarget::Pending => Event::ModifyResponse { relid, status },
            Retarget::Abandoned => Event::Ignored(MessageType::MODIFY_CHANNEL_RESPONSE),
            Retarget::Idle if channel.is_rescinded() => {
                return Ok(Event::Ignored(MessageType::MODIFY_CHANNEL_RESPONSE));
            }
            Retarget::Idle => {
                return Err(ProtocolError::Unexpected(
                    MessageType::MODIFY_CHANNEL_RESPONSE,
                ));
            }
        };
        channel.retarget = Retarget::Idle;
        Ok(event)
    }

    /// A channel, rescinded or not.
    fn known(&mut self, relid: Relid) -> Result<&mut Channel, ProtocolError> {
        self.table
            .get_mut(relid)
            .ok_or(ProtocolError::UnknownRelid(relid))
    }
}

/// Checks a relid that the host sent.
fn checked_relid(relid: u32) -> Result<Relid, ProtocolError> {
    Relid::new(relid).ok_or(ProtocolError::BadRelid(relid))
}
