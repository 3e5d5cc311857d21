// SPDX-License-Identifier: GPL-2.0

//! Heartbeat: the host sends a number, usually every two seconds, and the guest returns the next one.

use crate::message::read;
use crate::{Malformed, Version};
use zerocopy::little_endian::{U32, U64};
use zerocopy::FromBytes as _;

/// Message versions, the best first.
pub const VERSIONS: [Version; 2] = [Version::new(3, 0), Version::new(1, 0)];

/// The first version in which the answer says how the applications are.
pub const APPLICATION_STATE_VERSION: Version = Version::new(3, 0);

wire! {
    /// The body (`struct heartbeat_msg_data`), 40 bytes. Hosts may send less of the end, but never less than the number.
    pub struct Beat {
        /// Chosen by the host. The guest answers with the next number, 0 after the largest.
        sequence: U64,
        /// The [`ApplicationState`], in answers since [`APPLICATION_STATE_VERSION`].
        application_state: U32,
        /// Zero.
        reserved: [U32; 7],
    }
}

hvdef::open_enum! {
    /// How the guest's applications are.
    pub enum ApplicationState: u32 {
        /// The guest does not say.
        UNKNOWN = 0,
        /// Well.
        HEALTHY = 1,
        /// Not well.
        CRITICAL = 2,
        /// Not running any more.
        STOPPED = 3,
    }
}

/// Makes the body of a request that of its answer, and says how the applications are where the version and the length of
/// the message allow it.
///
/// # Errors
///
/// [`Malformed::Short`] without a number.
pub fn respond(
    version: Version,
    state: ApplicationState,
    body: &mut [u8],
) -> Result<(), Malformed> {
    let length = body.len();
    let (sequence, rest) = U64::mut_from_prefix(body).map_err(|_| Malformed::Short(length))?;
    sequence.set(sequence.get().wrapping_add(1));
    if version >= APPLICATION_STATE_VERSION {
        if let Ok((to, _)) = U32::mut_from_prefix(rest) {
            to.set(state.0);
        }
    }
    Ok(())
}

impl Beat {
    /// Reads the number and, if the message is long enough to have one, the state of the applications.
    ///
    /// # Errors
    ///
    /// [`Malformed::Short`] without a number.
    pub fn parse(body: &[u8]) -> Result<(u64, ApplicationState), Malformed> {
        let (sequence, rest) = read::<U64>(body)?;
        let state = U32::ref_from_prefix(rest).map_or(0, |(state, _)| state.get());
        Ok((sequence.get(), ApplicationState(state)))
    }
}
