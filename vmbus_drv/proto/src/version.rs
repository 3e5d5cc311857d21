// SPDX-License-Identifier: GPL-2.0

//! Protocol versions and their negotiation.

use core::fmt;
use hvdef::open_enum;

open_enum! {
    /// A version of the protocol: the major number in the upper 16 bits, the minor one in the lower.
    pub enum Version: u32 {
        /// Windows 10 and Windows Server 2016: the oldest that we speak.
        V4_0 = 0x4_0000,
        /// Adds the re-targeting of a channel's interrupt.
        V4_1 = 0x4_0001,
        /// Adds a message connection of the host's choice.
        V5_0 = 0x5_0000,
        /// As 5.0.
        V5_1 = 0x5_0001,
        /// The oldest for isolated partitions.
        V5_2 = 0x5_0002,
        /// Adds an answer to the re-targeting of an interrupt.
        V5_3 = 0x5_0003,
        /// Adds [`FeatureFlags`].
        V6_0 = 0x6_0000,
    }
}

impl Version {
    /// The versions that we speak, best first.
    pub const SUPPORTED: [Self; 7] = [
        Self::V6_0,
        Self::V5_3,
        Self::V5_2,
        Self::V5_1,
        Self::V5_0,
        Self::V4_1,
        Self::V4_0,
    ];

    /// The oldest version that we speak.
    pub const MINIMUM: Self = Self::V4_0;

    /// Whether contact is made on connection 4, and the host's answer names the connection of all later messages.
    #[must_use]
    pub fn names_message_connection(self) -> bool {
        self >= Self::V5_0
    }

    /// The next older version that we speak.
    #[must_use]
    pub fn older(self) -> Option<Self> {
        Self::SUPPORTED.into_iter().find(|version| *version < self)
    }

    /// The best version that we speak and that is not above `max`.
    #[must_use]
    pub fn best_up_to(max: Self) -> Option<Self> {
        Self::SUPPORTED.into_iter().find(|version| *version <= max)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 >> 16, self.0 & 0xffff)
    }
}

bitflags::bitflags! {
    /// Options of version 6.0 (`drivers/hv` knows one of them). We ask for none.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct FeatureFlags: u32 {
        /// The guest chooses event flags and connections when it opens a channel.
        const GUEST_SPECIFIED_SIGNAL_PARAMETERS = 1 << 0;
        /// A channel's interrupt may be redirected.
        const CHANNEL_INTERRUPT_REDIRECTION = 1 << 1;
        /// The monitor pages of a live connection may be replaced.
        const MODIFY_CONNECTION = 1 << 2;
        /// The guest names itself when it makes contact.
        const CLIENT_ID = 1 << 3;
        /// The paravisor offers channels with encrypted rings.
        const CONFIDENTIAL_CHANNELS = 1 << 4;
        /// The connection may be paused and resumed.
        const PAUSE_RESUME = 1 << 5;
        /// The host allocates the monitor pages.
        const SERVER_MONITOR_PAGES = 1 << 6;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn versions_are_tried_from_the_best_down() {
        let mut version = Version::best_up_to(Version(u32::MAX)).unwrap();
        let mut tried = std::vec![version];
        while let Some(older) = version.older() {
            version = older;
            tried.push(version);
        }
        assert_eq!(tried, Version::SUPPORTED);
        assert_eq!(version, Version::MINIMUM);
    }

    #[test]
    fn a_maximum_bounds_the_first_attempt() {
        assert_eq!(Version::best_up_to(Version::V5_2), Some(Version::V5_2));
        assert_eq!(Version::best_up_to(Version(0x5_0009)), Some(Version::V5_3));
        assert_eq!(Version::best_up_to(Version::V4_0), Some(Version::V4_0));
        assert_eq!(Version::best_up_to(Version(0x3_ffff)), None);
    }

    #[test]
    fn versions_print_as_the_kernel_does() {
        assert_eq!(Version::V5_3.to_string(), "5.3");
        assert_eq!(Version(0x7_0001).to_string(), "7.1");
    }
}
