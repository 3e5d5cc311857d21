// SPDX-License-Identifier: GPL-2.0

//! Shutdown: the host asks the guest to power off, to restart or to hibernate.

use crate::message::read;
use crate::{Malformed, Version};
use zerocopy::little_endian::{U16, U32};

/// Message versions, the best first.
pub const VERSIONS: [Version; 4] = [
    Version::new(3, 2),
    Version::new(3, 1),
    Version::new(3, 0),
    Version::new(1, 0),
];

/// The first version in which a host asks for hibernation.
pub const HIBERNATE_VERSION: Version = Version::new(3, 2);

/// `SHTDN_REASON_FLAG_PLANNED`: somebody asked for it.
pub const REASON_PLANNED: u32 = 0x8000_0000;

/// Length of the display message in UTF-16 units, its end included.
pub const MESSAGE_UNITS: usize = 1024;

wire! {
    /// The body (`struct shutdown_msg_data`), 2060 bytes. The guest answers with it as it is.
    pub struct Request {
        /// Why, in Windows' numbers.
        reason: U32,
        /// How long the guest may take, in seconds.
        timeout: U32,
        /// See [`Flags`].
        flags: U32,
        /// A text for those logged in, in UTF-16.
        display_message: [U16; MESSAGE_UNITS],
    }
}

bitflags::bitflags! {
    /// What to do. Neither bit 1 nor bit 2 asks for power-off, both ask for nothing that makes sense.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Flags: u32 {
        /// Without waiting for programs that object.
        const FORCE = 1;
        /// Restart.
        const RESTART = 2;
        /// Hibernate.
        const HIBERNATE = 4;
    }
}

/// What a host asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Power off.
    PowerOff,
    /// Restart.
    Restart,
    /// Hibernate.
    Hibernate,
}

impl Flags {
    /// What is asked for, if it makes sense. Linux forces all of them, so [`Flags::FORCE`] makes no difference.
    #[must_use]
    pub fn action(self) -> Option<Action> {
        let how = self.difference(Self::FORCE);
        if how == Self::empty() {
            Some(Action::PowerOff)
        } else if how == Self::RESTART {
            Some(Action::Restart)
        } else if how == Self::HIBERNATE {
            Some(Action::Hibernate)
        } else {
            None
        }
    }
}

impl Request {
    /// Reads the body.
    ///
    /// # Errors
    ///
    /// [`Malformed::Short`].
    pub fn parse(body: &[u8]) -> Result<&Self, Malformed> {
        read(body).map(|(request, _)| request)
    }

    /// What to do, unknown bits included.
    #[must_use]
    pub fn flags(&self) -> Flags {
        Flags::from_bits_retain(self.flags.get())
    }
}
