// SPDX-License-Identifier: GPL-2.0

//! The choice of versions: the host lists those that it speaks, and the guest answers with one of each kind.

use crate::message::read;
use crate::{Malformed, Service, Version};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes as _, IntoBytes as _};

/// The most versions of one kind that a guest looks at (`IC_VERSION_NEGOTIATION_MAX_VER_COUNT`).
pub const MAX_VERSIONS: u16 = 100;

/// What an answer says in [`Prefix::body_length`](crate::Prefix::body_length): the counts and two versions.
pub const ANSWER_LENGTH: u16 = 16;

wire! {
    /// Starts the body (`struct icmsg_negotiate`), 8 bytes; the framework versions and then the message versions follow.
    pub struct Counts {
        /// How many framework versions follow. In the answer 1, or 0 if none will do.
        framework: U16,
        /// How many message versions follow those. In the answer as the other.
        message: U16,
        /// Zero.
        reserved: U32,
    }

    /// The body of an answer, 16 bytes.
    pub struct Answer {
        /// How many of the versions count: both 1, or both 0.
        counts: Counts,
        /// The framework version from now on.
        framework: Version,
        /// The message version from now on.
        message: Version,
    }
}

/// The versions in a body, in the sender's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions<'a> {
    /// Of the framework.
    pub framework: &'a [Version],
    /// Of the messages.
    pub message: &'a [Version],
}

impl<'a> Versions<'a> {
    /// Reads the body of an offer or of an answer.
    ///
    /// # Errors
    ///
    /// [`Malformed::Short`] and [`Malformed::VersionCount`].
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let (counts, rest) = read::<Counts>(body)?;
        let (framework, message) = (counts.framework.get(), counts.message.get());
        let bad = Malformed::VersionCount(framework, message);
        if framework > MAX_VERSIONS || message > MAX_VERSIONS {
            return Err(bad);
        }
        let (framework, rest) =
            <[Version]>::ref_from_prefix_with_elems(rest, usize::from(framework))
                .map_err(|_| bad)?;
        let (message, _) =
            <[Version]>::ref_from_prefix_with_elems(rest, usize::from(message)).map_err(|_| bad)?;
        Ok(Self { framework, message })
    }

    /// The versions that Linux speaks to a service.
    #[must_use]
    pub const fn of(service: Service) -> Versions<'static> {
        Versions {
            framework: service.framework_versions(),
            message: service.message_versions(),
        }
    }

    /// The first framework and message version of `self` that `peer` has too; order in `peer` does not matter.
    #[must_use]
    pub fn best_common(&self, peer: &Versions<'_>) -> Option<(Version, Version)> {
        let best = |ours: &[Version], theirs: &[Version]| {
            ours.iter()
                .find(|version| theirs.contains(version))
                .copied()
        };
        Some((
            best(self.framework, peer.framework)?,
            best(self.message, peer.message)?,
        ))
    }
}

impl Answer {
    /// The answer with a choice, or that none will do.
    #[must_use]
    pub fn new(chosen: Option<(Version, Version)>) -> Self {
        let count = U16::new(u16::from(chosen.is_some()));
        let (framework, message) = chosen.unwrap_or((Version::NONE, Version::NONE));
        Self {
            counts: Counts {
                framework: count,
                message: count,
                reserved: U32::new(0),
            },
            framework,
            message,
        }
    }

    /// Puts the answer into the body of the offer.
    ///
    /// # Errors
    ///
    /// [`Malformed::Short`] where the offer has less room than an answer takes.
    pub fn write(&self, body: &mut [u8]) -> Result<(), Malformed> {
        let length = body.len();
        self.write_to_prefix(body)
            .map_err(|_| Malformed::Short(length))
    }
}

#[cfg(test)]
mod tests;
