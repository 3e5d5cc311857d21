// SPDX-License-Identifier: GPL-2.0

//! What the VSS daemon is asked, and whether the file systems are frozen.
//!
//! They are thawed when nobody else will do that any more: the channel is closed, a freeze was not answered in time, the
//! host does not thaw in [`Timeouts::frozen`], or there is a new daemon after one that died. A daemon that dies, does not
//! thaw in [`Timeouts::request`], or says [`OWN_TRIES`] times that it cannot, leaves them to the caller, see
//! [`Vss::take_orphans`]. What the caller then does takes its time, and thaws whatever is frozen meanwhile: no freeze is
//! promised that it may undo.

use super::{Message, Operation, NO_AUTO_RECOVERY};
use crate::message::read;
use crate::relay::{Nonsense, Protocol, Verdict};
use crate::Status;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes as _, IntoBytes as _};

/// A registration by a daemon that waits for no greeting (`VSS_OP_REGISTER`).
const REGISTER: u8 = 128;
/// A registration by any other, and the greeting (`VSS_OP_REGISTER1`).
const REGISTER1: u8 = 129;

/// How often a daemon that fails to thaw is asked to, without a host that asks. It fails for ever where it cannot open one of the
/// folders, which it has not frozen either.
const OWN_TRIES: u8 = 3;

/// How long things may take, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// A freeze, which waits for all that is being written (`VSS_FREEZE_TIMEOUT`).
    pub freeze: u64,
    /// Any other request (`HV_UTIL_TIMEOUT`).
    pub request: u64,
    /// The time from a freeze to the host's thaw.
    pub frozen: u64,
}

/// The VSS service towards its daemon.
#[derive(Debug)]
pub struct Vss {
    /// How long things may take.
    timeouts: Timeouts,
    /// What the daemon is or was asked for the host.
    operation: Operation,
    /// Whether the daemon was asked to freeze, and never has thawed all since.
    maybe_frozen: bool,
    /// Whether the host relies on that.
    promised: bool,
    /// Whether what was promised did not hold, which the host learns when it thaws.
    broken: bool,
    /// Whether to thaw without being asked.
    thaw_due: bool,
    /// When to do so at the latest.
    frozen_until: Option<u64>,
    /// When the caller is to thaw, if the daemon has not by then. Only while a thaw is due.
    thaw_until: Option<u64>,
    /// How often the daemon has failed to thaw without a host that asked, since it was asked to freeze.
    own_failures: u8,
    /// Whether the daemon went away, is stuck or cannot thaw, and left something frozen.
    orphans: bool,
    /// Whether the caller is thawing that.
    caller_thaws: bool,
    /// Whether it was at any time since the daemon's request came.
    caller_thawed: bool,
}

impl Vss {
    /// With nothing frozen.
    #[must_use]
    pub const fn new(timeouts: Timeouts) -> Self {
        Self {
            timeouts,
            operation: Operation::THAW,
            maybe_frozen: false,
            promised: false,
            broken: false,
            thaw_due: false,
            frozen_until: None,
            thaw_until: None,
            own_failures: 0,
            orphans: false,
            caller_thaws: false,
            caller_thawed: false,
        }
    }

    /// Whether the daemon left file systems that may be frozen for the caller to thaw. Said once, and not again before
    /// [`Self::caller_done`].
    #[must_use]
    pub fn take_orphans(&mut self) -> bool {
        if self.caller_thaws || !self.orphans {
            return false;
        }
        self.orphans = false;
        self.caller_thaws = true;
        self.caller_thawed = true;
        true
    }

    /// The caller will thaw nothing any more. If it could not thaw the orphans, they are said again, unless somebody else
    /// thaws them.
    pub fn caller_done(&mut self, could: bool, now: u64) {
        self.caller_thaws = false;
        let daemon_cannot = self.own_failures >= OWN_TRIES;
        match could {
            // Nobody can do more. What was frozen meanwhile has set the failures back.
            true if daemon_cannot => self.thawed(),
            true => {}
            false if self.thaw_due => self.thaw_until = Some(self.own_end(now)),
            false if daemon_cannot => self.frozen_until = Some(self.own_end(now)),
            false => {}
        }
    }

    /// Whether the caller is thawing orphans.
    #[must_use]
    pub const fn caller_thaws(&self) -> bool {
        self.caller_thaws
    }

    /// When a thaw that is due now is the caller's.
    const fn own_end(&self, now: u64) -> u64 {
        now.saturating_add(self.timeouts.request)
    }

    /// Whether file systems may be frozen.
    #[must_use]
    pub const fn maybe_frozen(&self) -> bool {
        self.maybe_frozen
    }

    /// Thaws what may be frozen, without being asked.
    fn thaw(&mut self, now: u64) {
        if self.maybe_frozen {
            self.thaw_until = self.thaw_until.or(Some(self.own_end(now)));
            self.thaw_due = true;
            self.broken |= self.promised;
            self.frozen_until = None;
        }
    }

    /// The daemon has thawed all.
    fn thawed(&mut self) {
        self.maybe_frozen = false;
        self.thaw_due = false;
        self.frozen_until = None;
        self.thaw_until = None;
        self.own_failures = 0;
    }

    /// The daemon's message for an operation.
    fn message(operation: Operation, into: &mut [u8]) {
        let message = Message {
            operation,
            reserved: [0; 7],
            flags: U32::new(0),
        };
        let _ = message.write_to_prefix(into);
    }
}

/// The status in a daemon's answer.
fn status(message: &[u8]) -> Status {
    read::<U32>(message).map_or(Status::FAIL, |(status, _)| Status(status.get()))
}

/// Sets the flags in the body of an answer.
fn set_flags(body: &mut [u8], flags: u32) {
    if let Ok((message, _)) = Message::mut_from_prefix(body) {
        message.flags = U32::new(flags);
    }
}

impl Protocol for Vss {
    const MESSAGE_SIZE: usize = size_of::<Message>();
    const GREETING_SIZE: usize = size_of::<U32>();

    fn register(&mut self, message: &[u8]) -> Result<bool, Nonsense> {
        match message.first() {
            Some(&REGISTER) => Ok(false),
            Some(&REGISTER1) => Ok(true),
            _ => Err(Nonsense::Registration),
        }
    }

    fn greet(&self, into: &mut [u8]) {
        let _ = U32::new(u32::from(REGISTER1)).write_to_prefix(into);
    }

    fn consider(&mut self, body: &mut [u8], message: &mut [u8]) -> Verdict {
        let Ok(request) = Message::parse(body) else {
            return Verdict::Answer(Status::INVALID_ARGUMENT);
        };
        self.operation = request.operation;
        self.caller_thawed = self.caller_thaws;
        match self.operation {
            Operation::FREEZE if self.caller_thaws => Verdict::Answer(Status::FAIL),
            Operation::FREEZE | Operation::THAW | Operation::HOT_BACKUP => {
                Self::message(self.operation, message);
                Verdict::Ask(match self.operation {
                    Operation::FREEZE => self.timeouts.freeze,
                    _ => self.timeouts.request,
                })
            }
            Operation::GET_DM_INFO => {
                set_flags(body, 0);
                Verdict::Answer(Status::OK)
            }
            Operation::BACKUP_COMPLETE => Verdict::Answer(Status::OK),
            _ => Verdict::Answer(Status::NOT_SUPPORTED),
        }
    }

    fn told(&mut self) {
        if self.operation == Operation::FREEZE {
            self.maybe_frozen = true;
            self.own_failures = 0;
        }
    }

    fn answered(&mut self, body: &mut [u8], message: &[u8], now: u64) -> Status {
        let status = status(message);
        match (self.operation, status) {
            // It does not last: the thaw is that of an earlier freeze, and comes next, or the caller's, and may have come.
            (Operation::FREEZE, Status::OK) if self.thaw_due || self.caller_thawed => {
                self.thaw(now);
                return Status::FAIL;
            }
            (Operation::FREEZE, Status::OK) => {
                self.promised = true;
                self.broken = false;
                self.frozen_until = Some(now.saturating_add(self.timeouts.frozen));
            }
            // Some of them may be.
            (Operation::FREEZE, _) => self.thaw(now),
            (Operation::THAW, _) => {
                let broken = core::mem::take(&mut self.broken);
                self.promised = false;
                match status {
                    Status::OK => self.thawed(),
                    _ => self.frozen_until = Some(now.saturating_add(self.timeouts.request)),
                }
                if broken {
                    return Status::FAIL;
                }
            }
            (Operation::HOT_BACKUP, Status::OK) => set_flags(body, NO_AUTO_RECOVERY),
            _ => {}
        }
        status
    }

    fn gave_up(&mut self, now: u64) {
        if matches!(self.operation, Operation::FREEZE | Operation::THAW) {
            self.thaw(now);
        }
    }

    fn has_own_request(&self) -> bool {
        self.thaw_due
    }

    fn own_request(&self, into: &mut [u8]) {
        Self::message(Operation::THAW, into);
    }

    fn own_answered(&mut self, message: &[u8], now: u64) {
        self.thaw_due = false;
        self.thaw_until = None;
        match status(message) {
            Status::OK => self.thawed(),
            _ => {
                self.own_failures = self.own_failures.saturating_add(1);
                match self.own_failures < OWN_TRIES {
                    // Again later.
                    true => self.frozen_until = Some(self.own_end(now)),
                    false => self.orphans = true,
                }
            }
        }
    }

    fn daemon_gone(&mut self, now: u64) {
        self.orphans |= self.maybe_frozen;
        self.own_failures = 0;
        self.thaw(now);
        self.thaw_until = None;
    }

    fn host_gone(&mut self, now: u64) {
        self.thaw(now);
        self.promised = false;
        self.broken = false;
    }

    fn deadline(&self) -> Option<u64> {
        // The first of both.
        self.frozen_until.into_iter().chain(self.thaw_until).min()
    }

    fn expire(&mut self, now: u64) {
        if self.frozen_until.is_some_and(|end| end <= now) {
            self.thaw(now);
            self.frozen_until = None;
        }
        self.orphans |= self.thaw_until.take_if(|end| *end <= now).is_some();
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "A test may panic.")]
mod tests;
