// SPDX-License-Identifier: GPL-2.0

//! What the client knows of one channel, and where the caller keeps that.

use crate::client::{Request, RequestError};
use crate::gpadl::GpadlId;
use crate::offer::{Offer, Relid};
use hvdef::Guid;

/// How many GPADLs a channel may have at a time. Network devices need three.
pub const MAX_GPADLS: usize = 8;

/// Where a channel is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelState {
    /// It is offered, and not open.
    Closed,
    /// An open request is unanswered.
    Opening {
        /// The memory of the rings.
        ring: GpadlId,
        /// Identifies the request.
        open_id: u32,
    },
    /// The caller gave that request up, and the host may still carry it out: the ring stays in its hands.
    OpenAbandoned {
        /// The memory of the rings.
        ring: GpadlId,
        /// Identifies the request.
        open_id: u32,
    },
    /// It is open.
    Open {
        /// The memory of the rings.
        ring: GpadlId,
    },
    /// The host withdrew the offer: it has dropped all GPADLs, and only the relid is to be given back.
    Rescinded,
}

/// Whether the interrupt of a channel is being moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retarget {
    /// No.
    Idle,
    /// A request is unanswered.
    Pending,
    /// The caller gave that request up, and the host may still answer it.
    Abandoned,
}

/// Where a GPADL is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GpadlState {
    /// The request to create it is unanswered.
    Creating,
    /// The caller gave that request up, and the host may still carry it out.
    CreateAbandoned,
    /// The host may use the memory.
    Created,
    /// The request to tear it down is unanswered.
    TearingDown,
}

/// One GPADL of a channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gpadl {
    /// Its name.
    pub(crate) id: GpadlId,
    /// Where it is in its life.
    pub(crate) state: GpadlState,
    /// Its size.
    pub(crate) pages: u16,
}

/// A channel that the host offered and whose relid was not given back.
#[derive(Debug)]
pub struct Channel {
    /// What the host said of it.
    offer: Offer,
    /// Where it is in its life.
    pub(crate) state: ChannelState,
    /// Whether its interrupt is being moved.
    pub(crate) retarget: Retarget,
    /// Its GPADLs, in no order.
    gpadls: [Option<Gpadl>; MAX_GPADLS],
}

impl Channel {
    /// A channel that was just offered.
    pub(crate) const fn new(offer: Offer) -> Self {
        Self {
            offer,
            state: ChannelState::Closed,
            retarget: Retarget::Idle,
            gpadls: [None; MAX_GPADLS],
        }
    }

    /// What the host said of it.
    #[must_use]
    pub const fn offer(&self) -> &Offer {
        &self.offer
    }

    /// Its number.
    #[must_use]
    pub const fn relid(&self) -> Relid {
        self.offer.relid
    }

    /// Where it is in its life.
    #[must_use]
    pub const fn state(&self) -> ChannelState {
        self.state
    }

    /// Whether the host withdrew the offer.
    #[must_use]
    pub fn is_rescinded(&self) -> bool {
        self.state == ChannelState::Rescinded
    }

    /// Whether the host may hold any memory of this channel.
    #[must_use]
    pub fn has_gpadls(&self) -> bool {
        self.gpadls.iter().any(Option::is_some)
    }

    /// The GPADL with this name.
    pub(crate) fn gpadl(&mut self, id: GpadlId) -> Option<&mut Gpadl> {
        self.gpadls
            .iter_mut()
            .flatten()
            .find(|gpadl| gpadl.id == id)
    }

    /// Whether there is a GPADL with this name.
    pub(crate) fn owns(&self, id: GpadlId) -> bool {
        self.gpadls.iter().flatten().any(|gpadl| gpadl.id == id)
    }

    /// Adds a GPADL.
    pub(crate) fn add_gpadl(&mut self, gpadl: Gpadl) -> Result<(), RequestError> {
        let free = self.gpadls.iter_mut().find(|slot| slot.is_none());
        *free.ok_or(RequestError::TooManyGpadls)? = Some(gpadl);
        Ok(())
    }

    /// Forgets a GPADL.
    pub(crate) fn remove_gpadl(&mut self, id: GpadlId) {
        for slot in &mut self.gpadls {
            if slot.is_some_and(|gpadl| gpadl.id == id) {
                *slot = None;
            }
        }
    }

    /// Whether the rings lie, or may lie, in this GPADL.
    pub(crate) fn has_ring_in(&self, id: GpadlId) -> bool {
        match self.state {
            ChannelState::Closed | ChannelState::Rescinded => false,
            ChannelState::Opening { ring, .. }
            | ChannelState::OpenAbandoned { ring, .. }
            | ChannelState::Open { ring } => ring == id,
        }
    }

    /// Marks the channel as rescinded, and says what the host will not answer any more.
    pub(crate) fn rescind(&mut self) -> Pending {
        let relid = self.relid();
        let opening = matches!(self.state, ChannelState::Opening { .. });
        let retargeting = self.retarget == Retarget::Pending;
        let pending = Pending {
            open: opening.then_some(Request::Open(relid)),
            modify: retargeting.then_some(Request::ModifyChannel(relid)),
            gpadls: self.gpadls.map(|slot| match slot {
                Some(Gpadl {
                    state: GpadlState::Creating,
                    id,
                    ..
                }) => Some(Request::CreateGpadl(relid, id)),
                Some(Gpadl {
                    state: GpadlState::TearingDown,
                    id,
                    ..
                }) => Some(Request::TeardownGpadl(relid, id)),
                _ => None,
            }),
        };
        self.state = ChannelState::Rescinded;
        self.retarget = Retarget::Idle;
        self.gpadls = [None; MAX_GPADLS];
        pending
    }
}

/// Requests of a rescinded channel that the host will not answer any more.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The request to open it.
    open: Option<Request>,
    /// The request to move its interrupt.
    modify: Option<Request>,
    /// Requests to create or tear down GPADLs.
    gpadls: [Option<Request>; MAX_GPADLS],
}

impl Pending {
    /// The requests, each of which is complete now: it failed, or it is a teardown, which has happened.
    pub fn iter(&self) -> impl Iterator<Item = Request> + '_ {
        self.open
            .into_iter()
            .chain(self.modify)
            .chain(self.gpadls.iter().copied().flatten())
    }
}

/// The caller has no room for another channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableFull;

/// Where the caller keeps the channels, by [`Channel::relid`].
pub trait ChannelTable {
    /// The channel with this number.
    fn get(&self, relid: Relid) -> Option<&Channel>;

    /// The channel with this number.
    fn get_mut(&mut self, relid: Relid) -> Option<&mut Channel>;

    /// Adds a channel, the number of which is free.
    ///
    /// # Errors
    ///
    /// [`TableFull`] if there is no room; the host is told so.
    fn insert(&mut self, channel: Channel) -> Result<(), TableFull>;

    /// Removes a channel.
    fn remove(&mut self, relid: Relid);

    /// Removes all channels.
    fn clear(&mut self);

    /// All channels, in any order.
    fn iter(&self) -> impl Iterator<Item = &Channel>;

    /// The first channel of a device, unless it is rescinded.
    ///
    /// A rescinded channel does not count, since the host may offer its device again before the old relid is back.
    fn find_primary(&self, class: &Guid, instance: &Guid) -> Option<&Channel> {
        self.iter().find(|channel| {
            let offer = channel.offer();
            !channel.is_rescinded()
                && offer.is_primary()
                && offer.class == *class
                && offer.instance == *instance
        })
    }
}
