// SPDX-License-Identifier: GPL-2.0

//! Requests of the host that a daemon in user space answers: one at a time, each with a timeout.
//!
//! A [`Relay`] stands between a channel and a character device. What the host sends goes in by [`Relay::offered`] and
//! [`Relay::requested`], and comes out of [`Relay::next_answer`]; the daemon's `open`, `read`, `write` and `close` have a
//! function each. Nothing here waits: time is a number of milliseconds that the caller has, and [`Relay::expire`] is due at
//! [`Relay::deadline`].
//!
//! What may go wrong is that the daemon is absent, dies, answers late, or talks nonsense. The first two end a request at
//! once with [`Status::FAIL`], and a late daemon does when the request's time is up. What it answers then is taken from it
//! without an error and thrown away: it belongs to no later request.
//!
//! A request `R` is the caller's, with its body in it, and so is an offer of versions `O`. Either is moved in, and moved out
//! when it is answered, so that none can be answered twice. The host has one request outstanding; a few more wait behind it
//! in case it has given up and asks again.

use crate::fifo::Fifo;
use crate::Status;
use core::ops::DerefMut;

/// Requests that wait behind the request that the daemon works on; more are refused.
const WAITING: usize = 3;

/// Answers that have not gone out. A host that reads none of so many gets no more.
const UNSENT: usize = 8;

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is answered without the daemon.
    Answer(Status),
    /// The daemon answers it, in so many milliseconds.
    Ask(u64),
}

/// What a daemon may not do. The call fails with `EINVAL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nonsense {
    /// The message has another size than those of this service.
    Size(usize),
    /// It does not register as it must at first, or as something unknown.
    Registration,
    /// It answers what it was not asked.
    Unasked,
}

/// How one service talks to its daemon, and about what.
pub trait Protocol {
    /// Bytes of each message of the daemon, and the most that it is sent.
    const MESSAGE_SIZE: usize;

    /// Bytes of the greeting.
    const GREETING_SIZE: usize;

    /// Whether the daemon may write more than a message, of which the rest means nothing. As the stock driver's.
    const LONGER_WRITES: bool = false;

    /// Whether the daemon may write so many bytes at once, of which the first [`Self::MESSAGE_SIZE`] are the message.
    ///
    /// # Errors
    ///
    /// [`Nonsense::Size`].
    fn may_write(bytes: usize) -> Result<(), Nonsense> {
        if bytes == Self::MESSAGE_SIZE || bytes > Self::MESSAGE_SIZE && Self::LONGER_WRITES {
            return Ok(());
        }
        Err(Nonsense::Size(bytes))
    }

    /// For how many milliseconds the choice of versions waits for a daemon, lest the host sends what gets lost.
    fn patience(&self) -> u64 {
        0
    }

    /// Reads a registration; says whether the daemon waits for a greeting.
    ///
    /// # Errors
    ///
    /// [`Nonsense::Registration`].
    fn register(&mut self, message: &[u8]) -> Result<bool, Nonsense>;

    /// Writes the greeting of [`Self::GREETING_SIZE`] bytes.
    fn greet(&self, into: &mut [u8]);

    /// Looks at a request of the host. If it is one for the daemon, `message` becomes what the daemon is asked; if not, the
    /// body becomes the answer's.
    fn consider(&mut self, body: &mut [u8], message: &mut [u8]) -> Verdict;

    /// The daemon has read the request.
    fn told(&mut self) {}

    /// The daemon has answered the request; the body becomes the answer's.
    fn answered(&mut self, body: &mut [u8], message: &[u8], now: u64) -> Status;

    /// The daemon did not answer the request in time, and maybe never read it.
    fn gave_up(&mut self, now: u64) {
        let _ = now;
    }

    /// Whether the daemon is to be asked something that no host asks for. It comes before requests of the host.
    fn has_own_request(&self) -> bool {
        false
    }

    /// Writes that request.
    fn own_request(&self, into: &mut [u8]) {
        let _ = into;
    }

    /// The daemon has answered that.
    fn own_answered(&mut self, message: &[u8], now: u64) {
        let _ = (message, now);
    }

    /// The daemon has closed the device, or died.
    fn daemon_gone(&mut self, now: u64) {
        let _ = now;
    }

    /// The channel was closed.
    fn host_gone(&mut self, now: u64) {
        let _ = now;
    }

    /// When [`Self::expire`] is due.
    fn deadline(&self) -> Option<u64> {
        None
    }

    /// Time has passed.
    fn expire(&mut self, now: u64) {
        let _ = now;
    }
}

/// The daemon, as far as it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Daemon {
    /// Nobody has the device open.
    Absent,
    /// It has not registered.
    Opened,
    /// It has registered, and is to be greeted.
    Registered,
    /// It has been greeted where it waits for that.
    Ready,
}

/// What the daemon has read and not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// The current request.
    Current,
    /// A request of the protocol's own.
    Own,
    /// A request that has been given up.
    Forgotten,
}

/// What the host is to be sent.
#[must_use = "what is not answered leaves the host waiting"]
#[derive(Debug, PartialEq, Eq)]
pub enum Answer<R, O> {
    /// The answer to an offer of versions, as it is.
    Offer(O),
    /// The answer to a request, whose body is filled in.
    Request(R, Status),
}

/// The request that the daemon is to answer.
#[derive(Debug)]
struct Current<R> {
    /// The request, to be answered in place.
    request: R,
    /// When it is given up.
    deadline: u64,
}

/// The offer that waits for a daemon.
#[derive(Debug)]
struct Held<O> {
    /// The offer.
    offer: O,
    /// When it is answered without.
    until: u64,
}

/// The state between a channel and a daemon. See the module; `M` is a buffer for one message.
#[derive(Debug)]
pub struct Relay<P, M, R, O> {
    /// What is special about the service.
    pub protocol: P,
    /// The daemon.
    daemon: Daemon,
    /// What the daemon has read and not answered.
    asked: Option<Asked>,
    /// The request that the daemon is to answer.
    current: Option<Current<R>>,
    /// What the daemon is asked with that: [`Protocol::MESSAGE_SIZE`] bytes.
    message: M,
    /// Requests behind that one.
    waiting: Fifo<R, WAITING>,
    /// The offer of versions that waits for a daemon.
    held: Option<Held<O>>,
    /// What the host is to be sent.
    answers: Fifo<Answer<R, O>, UNSENT>,
}

impl<P, M, R, O> Relay<P, M, R, O>
where
    P: Protocol,
    M: DerefMut<Target = [u8]>,
    R: AsMut<[u8]>,
{
    /// The state before daemon and host have come, with a buffer of [`Protocol::MESSAGE_SIZE`] bytes.
    pub const fn new(protocol: P, message: M) -> Self {
        Self {
            protocol,
            daemon: Daemon::Absent,
            asked: None,
            current: None,
            message,
            waiting: Fifo::new(),
            held: None,
            answers: Fifo::new(),
        }
    }

    /// The channel was closed: all that the host has asked is void.
    pub fn host_gone(&mut self, now: u64) {
        self.waiting = Fifo::new();
        self.answers = Fifo::new();
        self.held = None;
        if self.current.take().is_some() {
            self.forget();
        }
        self.protocol.host_gone(now);
    }

    /// The host offered versions; `offer` is the answer. Where the service has [`Protocol::patience`], it waits for a daemon.
    pub fn offered(&mut self, offer: O, now: u64) {
        // A host that offers again waits no longer for that.
        let until = match self.held.take() {
            Some(held) => held.until,
            None => now.saturating_add(self.protocol.patience()),
        };
        self.held = Some(Held { offer, until });
        self.advance(now);
    }

    /// The host asks for something.
    pub fn requested(&mut self, request: R, now: u64) {
        if let Err(refused) = self.waiting.push(request) {
            self.answer(Answer::Request(refused, Status::FAIL));
        }
        self.advance(now);
    }

    /// What the host is to be sent next.
    pub fn next_answer(&mut self) -> Option<Answer<R, O>> {
        self.answers.pop()
    }

    /// A daemon opens the device; says whether it may, for there can be only one.
    #[must_use]
    pub fn daemon_opens(&mut self) -> bool {
        let free = self.daemon == Daemon::Absent;
        if free {
            self.daemon = Daemon::Opened;
        }
        free
    }

    /// Whether a daemon has the device open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.daemon != Daemon::Absent
    }

    /// The daemon has closed the device, or died.
    pub fn daemon_gone(&mut self, now: u64) {
        self.daemon = Daemon::Absent;
        self.asked = None;
        self.protocol.daemon_gone(now);
        if let Some(current) = self.current.take() {
            self.answer(Answer::Request(current.request, Status::FAIL));
        }
        self.advance(now);
    }

    /// The daemon writes a message; [`Protocol::may_write`] knows which.
    ///
    /// # Errors
    ///
    /// See [`Nonsense`]. Nothing has changed then.
    pub fn daemon_writes(&mut self, message: &[u8], now: u64) -> Result<(), Nonsense> {
        if message.len() != P::MESSAGE_SIZE {
            return Err(Nonsense::Size(message.len()));
        }
        match self.daemon {
            Daemon::Absent | Daemon::Opened => {
                self.daemon = match self.protocol.register(message)? {
                    true => Daemon::Registered,
                    false => Daemon::Ready,
                };
            }
            Daemon::Registered | Daemon::Ready => match self.asked.take() {
                None => return Err(Nonsense::Unasked),
                Some(Asked::Forgotten) => {}
                Some(Asked::Own) => self.protocol.own_answered(message, now),
                Some(Asked::Current) => {
                    if let Some(Current { mut request, .. }) = self.current.take() {
                        let status = self.protocol.answered(request.as_mut(), message, now);
                        self.answer(Answer::Request(request, status));
                    }
                }
            },
        }
        self.advance(now);
        Ok(())
    }

    /// Bytes of what there is for the daemon to read, if there is something. Who has room for less gets nothing of it.
    #[must_use]
    pub fn readable(&self) -> Option<usize> {
        match self.daemon {
            Daemon::Absent | Daemon::Opened => None,
            Daemon::Registered => Some(P::GREETING_SIZE),
            Daemon::Ready => self.next_question().map(|_| P::MESSAGE_SIZE),
        }
    }

    /// The daemon reads into a buffer of [`Protocol::MESSAGE_SIZE`] bytes; returns how many it got, which is what
    /// [`Self::readable`] said.
    pub fn daemon_reads(&mut self, into: &mut [u8]) -> Option<usize> {
        let length = self.readable()?;
        if self.daemon == Daemon::Registered {
            self.daemon = Daemon::Ready;
            self.protocol.greet(into);
            return Some(length);
        }
        let question = self.next_question()?;
        // Who asks for more will not answer what it had before.
        self.asked = Some(question);
        if question == Asked::Own {
            self.protocol.own_request(into);
            return Some(length);
        }
        self.protocol.told();
        for (to, from) in into.iter_mut().zip(self.message.iter()) {
            *to = *from;
        }
        Some(length)
    }

    /// When [`Self::expire`] is due.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        let current = self.current.as_ref().map(|current| current.deadline);
        let held = self.held.as_ref().map(|held| held.until);
        [current, held, self.protocol.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Time has passed; says whether a request was given up.
    pub fn expire(&mut self, now: u64) -> bool {
        if self.protocol.deadline().is_some_and(|due| due <= now) {
            self.protocol.expire(now);
        }
        let late = self.current.take_if(|current| current.deadline <= now);
        let given_up = late.is_some();
        if let Some(current) = late {
            self.forget();
            self.protocol.gave_up(now);
            self.answer(Answer::Request(current.request, Status::FAIL));
        }
        self.advance(now);
        given_up
    }

    /// What the daemon is to be asked next.
    fn next_question(&self) -> Option<Asked> {
        let own = self.protocol.has_own_request() && self.asked != Some(Asked::Own);
        let current = self.current.is_some() && self.asked != Some(Asked::Current);
        own.then_some(Asked::Own)
            .or(current.then_some(Asked::Current))
    }

    /// The daemon may still answer the current request, and nobody wants to know.
    fn forget(&mut self) {
        if self.asked == Some(Asked::Current) {
            self.asked = Some(Asked::Forgotten);
        }
    }

    /// Whether there is a daemon to ask.
    fn has_daemon(&self) -> bool {
        matches!(self.daemon, Daemon::Registered | Daemon::Ready)
    }

    /// Answers what need not wait, until there is a request for the daemon.
    fn advance(&mut self, now: u64) {
        let has_daemon = self.has_daemon();
        let held = self.held.take_if(|held| has_daemon || held.until <= now);
        if let Some(held) = held {
            self.answer(Answer::Offer(held.offer));
        }
        while self.current.is_none() {
            let Some(mut request) = self.waiting.pop() else {
                return;
            };
            let verdict = self.protocol.consider(request.as_mut(), &mut self.message);
            match verdict {
                Verdict::Answer(status) => self.answer(Answer::Request(request, status)),
                Verdict::Ask(_) if !has_daemon => {
                    self.answer(Answer::Request(request, Status::FAIL));
                }
                Verdict::Ask(time) => {
                    self.current = Some(Current {
                        request,
                        deadline: now.saturating_add(time),
                    });
                }
            }
        }
    }

    /// Leaves something for the host.
    fn answer(&mut self, answer: Answer<R, O>) {
        // What does not fit is lost on a caller who never takes any.
        let _ = self.answers.push(answer);
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "A test may panic.")]
mod tests;
