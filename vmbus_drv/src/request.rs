// SPDX-License-Identifier: GPL-2.0

//! Requests to the host: posting them, and waiting for their answers.

use crate::completion::Reply;
use crate::connection::Connection;
use crate::delay;
use crate::vmalloc::SharedPages;
use hv_core::compat::{enobufs, enotconn, eopnotsupp};
use hv_core::{partition, ratelimited, PostError};
use hvdef::hypercall::Status as HvStatus;
use kernel::prelude::*;
use kernel::sync::Arc;
use vmbus_proto::channel::{Channel as ProtoChannel, ChannelState, ChannelTable, TableFull};
use vmbus_proto::message::wire::Status;
use vmbus_proto::{Client, GpadlId, Outgoing, Range, Relid, Request, RequestError, Version};

/// How long an answer may take, in milliseconds. Azure hosts have needed minutes under load.
pub(crate) const ANSWER_TIMEOUT_MS: u32 = 180_000;

/// How long the hypervisor may refuse to take a message for want of buffers, in milliseconds.
const POST_TIMEOUT_MS: u32 = 20_000;

/// The longest pause between two attempts to post, in milliseconds.
const LONGEST_PAUSE_MS: u32 = 128;

/// What the host answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Yes or no.
    Status(Status),
    /// The version agreed on.
    Version(Version),
    /// The host accepts no connection.
    Refused,
    /// The question could not be posted.
    NotPosted(Error),
    /// The channel is gone, and the request with it.
    Rescinded,
}

impl Answer {
    /// A plain yes.
    pub(crate) const SUCCESS: Self = Self::Status(Status::SUCCESS);

    /// The answer as a result.
    ///
    /// # Errors
    ///
    /// - `ENODEV` if the channel is gone.
    /// - `EIO` if the host refused.
    pub(crate) fn ok(self) -> Result {
        match self {
            Self::Version(_) | Self::Status(Status::SUCCESS) => Ok(()),
            Self::NotPosted(error) => Err(error),
            Self::Rescinded => Err(ENODEV),
            Self::Status(_) | Self::Refused => Err(EIO),
        }
    }
}

/// The errno of a request that the protocol does not allow.
pub(crate) fn request_errno(error: RequestError) -> Error {
    match error {
        RequestError::NotConnected => enotconn(),
        RequestError::UnknownRelid | RequestError::Rescinded => ENODEV,
        RequestError::UnknownGpadl => ENOENT,
        RequestError::WrongState => EBUSY,
        RequestError::Unsupported => eopnotsupp(),
        RequestError::TooManyGpadls => ENOSPC,
        RequestError::BadParameter => EINVAL,
    }
}

/// The channels that the protocol client knows, in no order: they are few, and looked up for requests only.
pub(crate) struct Table(KVVec<ProtoChannel>);

impl Table {
    /// No channels.
    pub(crate) const fn new() -> Self {
        Self(KVVec::new())
    }
}

impl ChannelTable for Table {
    fn get(&self, relid: Relid) -> Option<&ProtoChannel> {
        self.0.iter().find(|channel| channel.relid() == relid)
    }

    fn get_mut(&mut self, relid: Relid) -> Option<&mut ProtoChannel> {
        self.0.iter_mut().find(|channel| channel.relid() == relid)
    }

    fn insert(&mut self, channel: ProtoChannel) -> Result<(), TableFull> {
        self.0.push(channel, GFP_KERNEL).map_err(|_| TableFull)
    }

    fn remove(&mut self, relid: Relid) {
        self.0.retain(|channel| channel.relid() != relid);
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn iter(&self) -> impl Iterator<Item = &ProtoChannel> {
        self.0.iter()
    }
}

/// Someone who waits for an answer.
struct Waiting {
    /// What was asked.
    request: Request,
    /// Where the answer goes.
    reply: Arc<Reply<Answer>>,
}

/// Memory that the host may use until it says that it does not any more.
struct Loan {
    /// The channel.
    relid: Relid,
    /// The name under which the host knows the memory.
    gpadl: GpadlId,
    /// The memory, kept for as long as that.
    _pages: Arc<SharedPages>,
}

/// The protocol client, and what the answers to its requests are for.
pub(crate) struct State {
    /// The protocol client.
    pub(crate) client: Client<Table>,
    /// Who waits.
    waiting: KVVec<Waiting>,
    /// What the host holds.
    loans: KVVec<Loan>,
}

impl State {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self {
            client: Client::new(Table::new()),
            waiting: KVVec::new(),
            loans: KVVec::new(),
        }
    }

    /// Answers `request`, if someone waits for it.
    pub(crate) fn answer(&mut self, request: Request, answer: Answer) {
        if let Some(index) = self
            .waiting
            .iter()
            .position(|waiting| waiting.request == request)
        {
            if let Ok(waiting) = self.waiting.remove(index) {
                waiting.reply.complete(answer);
            }
        }
    }

    /// Closes the channel, if it is open with these rings: after a rescind, its number may be another's.
    fn close(&mut self, relid: Relid, ring: GpadlId) -> Option<Outgoing> {
        let channel = self.client.channel(relid);
        let open = channel.is_some_and(|channel| channel.state() == ChannelState::Open { ring });
        open.then(|| self.client.close(relid).ok()).flatten()
    }

    /// Whether the host may use the memory of this GPADL.
    fn is_lent(&self, gpadl: GpadlId) -> bool {
        self.loans.iter().any(|loan| loan.gpadl == gpadl)
    }

    /// The host does not use the memory of this GPADL any more.
    pub(crate) fn end_loan(&mut self, gpadl: GpadlId) {
        self.loans.retain(|loan| loan.gpadl != gpadl);
    }

    /// The host does not use any memory of this channel any more.
    pub(crate) fn end_loans_of(&mut self, relid: Relid) {
        self.loans.retain(|loan| loan.relid != relid);
    }

    /// The host does not use any memory any more, and answers nothing.
    pub(crate) fn disconnected(&mut self) {
        self.loans.clear();
        for waiting in self.waiting.drain_all() {
            waiting.reply.complete(Answer::Rescinded);
        }
    }

    /// Notes that someone waits for the answer to `request`.
    pub(crate) fn wait_for(&mut self, request: Request) -> Result<Arc<Reply<Answer>>> {
        let reply = Reply::new()?;
        self.waiting.push(
            Waiting {
                request,
                reply: reply.clone(),
            },
            GFP_KERNEL,
        )?;
        Ok(reply)
    }

    /// Nobody waits for the answer to `request` any more.
    fn stop_waiting(&mut self, request: Request) {
        self.waiting.retain(|waiting| waiting.request != request);
    }
}

/// Posts a message, trying again for a while where the hypervisor is short of buffers. Process context.
///
/// # Errors
///
/// - `ENXIO` if there is no such connection.
/// - `ENOBUFS` if the hypervisor had no buffers for twenty seconds.
/// - `EIO` for any other refusal.
pub(crate) fn post(message: &Outgoing) -> Result {
    let (mut pause, mut waited) = (1, 0);
    loop {
        match post_once(message) {
            Ok(()) => return Ok(()),
            Err(PostError::Refused(HvStatus::INVALID_CONNECTION_ID)) => return Err(ENXIO),
            Err(PostError::Refused(status))
                if status.is_transient_for_post() && waited < POST_TIMEOUT_MS =>
            {
                delay::sleep(pause);
                waited += pause;
                pause = (pause * 2).min(LONGEST_PAUSE_MS);
            }
            Err(PostError::Refused(status)) if status.is_transient_for_post() => {
                return Err(enobufs())
            }
            Err(_) => return Err(EIO),
        }
    }
}

/// Posts a message. Any context, also after a panic.
pub(crate) fn post_once(message: &Outgoing) -> Result<(), PostError> {
    let partition = partition().ok_or(PostError::Refused(HvStatus::OPERATION_FAILED))?;
    partition
        .hypercalls()
        .post_message(message.connection_id(), message.as_bytes())
}

impl Connection {
    /// Makes a request and waits for its answer. Process context.
    ///
    /// # Errors
    ///
    /// - Those of [`request_errno`] and [`post`].
    /// - `ETIMEDOUT` if there was no answer; a late one does no harm.
    /// - `ENOMEM`.
    pub(crate) fn ask(
        &self,
        make: impl FnOnce(&mut Client<Table>) -> Result<(Request, Outgoing), RequestError>,
    ) -> Result<Answer> {
        self.ask_for(ANSWER_TIMEOUT_MS, make)
    }

    /// The same, with a limit of the caller's.
    fn ask_for(
        &self,
        timeout_ms: u32,
        make: impl FnOnce(&mut Client<Table>) -> Result<(Request, Outgoing), RequestError>,
    ) -> Result<Answer> {
        let (request, message, reply) = {
            let mut state = self.state.lock();
            let (request, message) = make(&mut state.client).map_err(request_errno)?;
            match state.wait_for(request) {
                Ok(reply) => (request, message, reply),
                Err(error) => {
                    let _ = state.client.not_posted(request);
                    return Err(error);
                }
            }
        };
        if let Err(error) = post(&message) {
            let mut state = self.state.lock();
            state.stop_waiting(request);
            // An error here means that a rescind answered meanwhile: the request is complete either way.
            let _ = state.client.not_posted(request);
            return Err(error);
        }
        self.wait(request, &reply, timeout_ms)
    }

    /// Waits for the answer to a request that was posted.
    pub(crate) fn wait(
        &self,
        request: Request,
        reply: &Reply<Answer>,
        timeout_ms: u32,
    ) -> Result<Answer> {
        if let Some(answer) = reply.wait(timeout_ms) {
            return Ok(answer);
        }
        let mut state = self.state.lock();
        state.stop_waiting(request);
        match state.client.abandon(request) {
            Ok(()) => {
                ratelimited!(pr_warn, "no answer from the host to {:?}\n", request);
                Err(ETIMEDOUT)
            }
            // The answer came at the last moment.
            Err(_) => reply.wait(0).ok_or(ETIMEDOUT),
        }
    }

    /// Tells the host something that it does not answer. Process context.
    ///
    /// # Errors
    ///
    /// Those of [`request_errno`] and [`post`].
    pub(crate) fn tell(
        &self,
        make: impl FnOnce(&mut Client<Table>) -> Result<Outgoing, RequestError>,
    ) -> Result {
        let message = make(&mut self.state.lock().client).map_err(request_errno)?;
        post(&message)
    }

    /// Lends pages to the host as a GPADL of channel `relid`. Process context.
    ///
    /// The pages stay allocated until the host does not use them any more, whatever the caller does.
    ///
    /// # Errors
    ///
    /// As [`Connection::ask`]; `EINVAL` for more pages than a GPADL can have; `EIO` if the host refuses.
    pub(crate) fn lend(&self, relid: Relid, pages: Arc<SharedPages>) -> Result<GpadlId> {
        let count = u32::try_from(pages.count()).map_err(|_| EINVAL)?;
        let range = Range::pages(count).map_err(|_| EINVAL)?;
        let lender = pages.clone();
        let (gpadl, encoder, reply) = {
            let mut state = self.state.lock();
            let (gpadl, encoder) = state
                .client
                .create_gpadl(relid, range, lender.pfns())
                .map_err(request_errno)?;
            let request = Request::CreateGpadl(relid, gpadl);
            let loan = Loan {
                relid,
                gpadl,
                _pages: pages,
            };
            let waiting = state.wait_for(request).and_then(|reply| {
                state.loans.push(loan, GFP_KERNEL)?;
                Ok(reply)
            });
            match waiting {
                Ok(reply) => (gpadl, encoder, reply),
                Err(error) => {
                    state.stop_waiting(request);
                    let _ = state.client.not_posted(request);
                    return Err(error);
                }
            }
        };
        let request = Request::CreateGpadl(relid, gpadl);
        let (mut posted, mut failed) = (false, Ok(()));
        for message in encoder {
            failed = message
                .map_err(|_| EINVAL)
                .and_then(|message| post(&message));
            if failed.is_err() {
                break;
            }
            posted = true;
        }
        if let Err(error) = failed {
            let mut state = self.state.lock();
            state.stop_waiting(request);
            if posted {
                // The host has the first part: the pages are its own until it says otherwise.
                let _ = state.client.abandon(request);
            } else if state.client.not_posted(request).is_ok() {
                state.end_loan(gpadl);
            }
            return Err(error);
        }
        self.wait(request, &reply, ANSWER_TIMEOUT_MS)?.ok()?;
        Ok(gpadl)
    }

    /// Takes lent pages back, and waits up to `timeout_ms` for that; whether the host has given them up. If not, they stay
    /// allocated until it does, and asking again is allowed. Process context.
    pub(crate) fn reclaim(&self, relid: Relid, gpadl: GpadlId, timeout_ms: u32) -> bool {
        // What counts is whether the loan is over, for which there are more reasons than an answer to this.
        let _ = self.ask_for(timeout_ms, |client| {
            Ok((
                Request::TeardownGpadl(relid, gpadl),
                client.teardown_gpadl(relid, gpadl)?,
            ))
        });
        !self.state.lock().is_lent(gpadl)
    }

    /// Closes a channel, if it is open, and takes its rings back as [`Connection::reclaim`] does. Process context.
    pub(crate) fn close(&self, relid: Relid, ring: GpadlId, timeout_ms: u32) -> bool {
        if let Some(message) = self.state.lock().close(relid, ring) {
            if post(&message).is_err() {
                // An error means that a rescind has closed it meanwhile.
                let _ = self.state.lock().client.close_not_posted(relid, ring);
            }
        }
        self.reclaim(relid, ring, timeout_ms)
    }
}
