// SPDX-License-Identifier: GPL-2.0

//! What the event loop waits for.

use crate::report::report;
use crate::sync::lock;
use core::time::Duration;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Mutex;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::timerfd::TimerFd;

/// What has become readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// The timer.
    Timer,
    /// A device's waker.
    Wake,
    /// The machine has ended.
    End,
    /// A signal told the program to end.
    Terminate,
    /// Signals on a connection.
    Signal(u32),
    /// The end of a message or interrupt.
    Eom {
        /// The VP.
        vp: u32,
        /// The SINT.
        sint: u8,
    },
}

/// Where the kind of a token is in its number.
const KIND: u32 = 56;

impl Token {
    /// The number that epoll keeps.
    fn encode(self) -> u64 {
        let (kind, value) = match self {
            Self::Timer => (0, 0),
            Self::Wake => (1, 0),
            Self::End => (2, 0),
            Self::Terminate => (3, 0),
            Self::Signal(connection_id) => (4, u64::from(connection_id)),
            Self::Eom { vp, sint } => (5, u64::from(vp) << 8 | u64::from(sint)),
        };
        u64::wrapping_shl(kind, KIND) | value
    }

    /// The token of a number.
    fn decode(number: u64) -> Option<Self> {
        let [sint, v0, v1, v2, v3, ..] = number.to_le_bytes();
        Some(match number >> KIND {
            0 => Self::Timer,
            1 => Self::Wake,
            2 => Self::End,
            3 => Self::Terminate,
            4 => Self::Signal(u32::from_le_bytes([sint, v0, v1, v2])),
            5 => Self::Eom {
                vp: u32::from_le_bytes([v0, v1, v2, v3]),
                sint,
            },
            _ => return None,
        })
    }
}

/// An epoll set with a timer. Used from any thread.
pub(crate) struct Reactor {
    /// The set.
    epoll: Epoll,
    /// The timer.
    timer: Mutex<TimerFd>,
}

impl Reactor {
    /// A reactor that waits for its timer.
    ///
    /// # Errors
    ///
    /// No more file descriptors.
    pub(crate) fn new() -> io::Result<Self> {
        let timer = TimerFd::new()?;
        let this = Self {
            epoll: Epoll::new()?,
            timer: Mutex::new(timer),
        };
        this.watch(&*lock(&this.timer), Token::Timer)?;
        Ok(this)
    }

    /// Waits for this too, as long as it is readable.
    ///
    /// # Errors
    ///
    /// It can't be waited for, or there are too many.
    pub(crate) fn watch(&self, what: &impl AsRawFd, token: Token) -> io::Result<()> {
        self.epoll.ctl(
            ControlOperation::Add,
            what.as_raw_fd(),
            EpollEvent::new(EventSet::IN, token.encode()),
        )
    }

    /// Waits for it no longer.
    pub(crate) fn unwatch(&self, what: &impl AsRawFd) {
        // It fails only for what is not waited for.
        let _ = self.epoll.ctl(
            ControlOperation::Delete,
            what.as_raw_fd(),
            EpollEvent::default(),
        );
    }

    /// Has the timer go off after a time, or never.
    pub(crate) fn set_timer(&self, delay: Option<Duration>) {
        let mut timer = lock(&self.timer);
        let result = match delay {
            // Zero would mean never.
            Some(delay) => timer.reset(delay.max(Duration::from_nanos(1)), None),
            None => timer.clear(),
        };
        if let Err(error) = result {
            report(format_args!("timer: {error}"));
        }
    }

    /// The timer has gone off: until it is set again, it is not readable.
    pub(crate) fn acknowledge_timer(&self) {
        let mut timer = lock(&self.timer);
        // Reading would wait if it has been set again in the meantime.
        let _ = timer.clear();
    }

    /// Waits. Returns what is readable.
    ///
    /// # Errors
    ///
    /// As epoll.
    pub(crate) fn wait(&self) -> io::Result<Vec<Token>> {
        self.wait_at_most(-1)
    }

    /// As [`Self::wait`], but nothing is readable after so many milliseconds.
    fn wait_at_most(&self, milliseconds: i32) -> io::Result<Vec<Token>> {
        let mut events = [EpollEvent::default(); 32];
        let count = match self.epoll.wait(milliseconds, &mut events) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            result => result?,
        };
        Ok(events
            .iter()
            .take(count)
            .filter_map(|event| Token::decode(event.data()))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vmm_sys_util::eventfd::EventFd;

    #[test]
    fn tokens_survive_their_number() {
        for token in [
            Token::Timer,
            Token::Wake,
            Token::End,
            Token::Terminate,
            Token::Signal(0),
            Token::Signal(u32::MAX),
            Token::Eom { vp: 0, sint: 0 },
            Token::Eom {
                vp: u32::MAX,
                sint: 15,
            },
        ] {
            assert_eq!(Token::decode(token.encode()), Some(token));
        }
        assert_eq!(Token::decode(u64::MAX), None);
    }

    #[test]
    fn the_timer_and_what_is_watched_wake() -> io::Result<()> {
        let reactor = Reactor::new()?;
        reactor.set_timer(Some(Duration::ZERO));
        assert_eq!(reactor.wait_at_most(5000)?, [Token::Timer]);
        reactor.acknowledge_timer();
        let event = EventFd::new(0)?;
        reactor.watch(&event, Token::Wake)?;
        event.write(1)?;
        assert_eq!(reactor.wait_at_most(5000)?, [Token::Wake]);
        reactor.unwatch(&event);
        reactor.set_timer(Some(Duration::from_millis(1)));
        assert_eq!(reactor.wait_at_most(5000)?, [Token::Timer]);
        Ok(())
    }
}
