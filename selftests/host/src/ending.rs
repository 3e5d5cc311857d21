// SPDX-License-Identifier: GPL-2.0

//! How a guest ended, and the program with it.

use crate::sync::lock;
use std::fmt;
use std::io;
use std::sync::Mutex;
use vmm_sys_util::eventfd::{EventFd, EFD_NONBLOCK};

/// Status of the program when it could not do its work.
pub(crate) const STATUS_ERROR: u8 = 1;
/// Status of the program when its command line was wrong.
pub(crate) const STATUS_USAGE: u8 = 2;

/// Why the machine stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The guest switched the power off.
    PowerOff,
    /// The guest reset itself.
    Reset,
    /// The guest reported a crash.
    Crash,
    /// The guest's processor gave up: a triple fault.
    TripleFault,
    /// We were told to stop.
    Stopped(&'static str),
    /// We cannot go on.
    Error(String),
}

impl End {
    /// The program's exit status.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::PowerOff => 0,
            Self::Error(_) => STATUS_ERROR,
            Self::Reset => 3,
            Self::Crash => 4,
            Self::TripleFault => 5,
            Self::Stopped(_) => 6,
        }
    }

    /// Whether the guest had no say in it, so that the state of its processors is of interest.
    pub(crate) fn is_unexpected(&self) -> bool {
        matches!(self, Self::TripleFault | Self::Error(_))
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PowerOff => f.write_str("the guest switched the power off"),
            Self::Reset => f.write_str("the guest reset itself"),
            Self::Crash => f.write_str("the guest reported a crash"),
            Self::TripleFault => f.write_str("the guest's processor shut down (triple fault)"),
            Self::Stopped(why) => write!(f, "stopped by {why}"),
            Self::Error(error) => f.write_str(error),
        }
    }
}

/// The first end that any thread reports; the event loop is told.
pub(crate) struct Ending {
    /// The end.
    first: Mutex<Option<End>>,
    /// Readable when there is one.
    event: EventFd,
}

impl Ending {
    /// Nothing has ended.
    ///
    /// # Errors
    ///
    /// No more file descriptors.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            first: Mutex::new(None),
            event: EventFd::new(EFD_NONBLOCK)?,
        })
    }

    /// The machine has ended. Later ends do not count.
    pub(crate) fn set(&self, end: End) {
        lock(&self.first).get_or_insert(end);
        // It fails only when its counter is full, and then it is readable anyway.
        let _ = self.event.write(1);
    }

    /// The end, if there is one.
    pub(crate) fn get(&self) -> Option<End> {
        lock(&self.first).clone()
    }

    /// Readable when there is an end.
    pub(crate) fn event(&self) -> &EventFd {
        &self.event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_a_status_of_its_own() {
        let ends = [
            End::PowerOff,
            End::Error("x".into()),
            End::Reset,
            End::Crash,
            End::TripleFault,
            End::Stopped("y"),
        ];
        let statuses: std::collections::BTreeSet<_> = ends.iter().map(End::status).collect();
        assert_eq!(statuses.len(), ends.len());
        assert!(!statuses.contains(&STATUS_USAGE));
    }

    #[test]
    fn the_first_end_counts() -> io::Result<()> {
        let ending = Ending::new()?;
        assert_eq!(ending.get(), None);
        ending.set(End::Reset);
        ending.set(End::PowerOff);
        assert_eq!(ending.get(), Some(End::Reset));
        Ok(())
    }
}
