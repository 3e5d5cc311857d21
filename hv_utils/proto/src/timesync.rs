// SPDX-License-Identifier: GPL-2.0

//! Time synchronisation: the host tells its wall clock time, as an order or as a hint.

use crate::message::read;
use crate::{Malformed, Version};
use zerocopy::little_endian::U64;

/// Message versions, the best first.
pub const VERSIONS: [Version; 3] = [Version::new(4, 0), Version::new(3, 0), Version::new(1, 0)];

/// The first version whose body is a [`ReferenceSample`].
pub const REFERENCE_TIME_VERSION: Version = Version::new(4, 0);

/// 1970-01-01 in the host's time, which counts units of 100 ns since 1601-01-01 UTC (`WLTIMEDELTA`).
pub const UNIX_EPOCH: u64 = 116_444_736_000_000_000;

/// Nanoseconds in one unit of the host's time and of reference time.
pub const NANOSECONDS_PER_UNIT: u64 = 100;

/// How old a time may be to be used, in units of 100 ns: ten minutes.
pub const MAX_AGE: u64 = 600 * hvdef::time::UNITS_PER_SECOND;

/// How far the guest's clock may be behind before a hint counts as an order, where hints may, in nanoseconds: five seconds.
pub const IMPLICIT_THRESHOLD: u64 = 5_000_000_000;

wire! {
    /// The body before [`REFERENCE_TIME_VERSION`] (`struct ictimesync_data`), 25 bytes.
    pub struct Sample {
        /// The host's time.
        parent_time: U64,
        /// The guest's time, in probes. Linux leaves it as it is.
        child_time: U64,
        /// How long a probe took, in units of 100 ns.
        round_trip_time: U64,
        /// See [`Flags`].
        flags: u8,
    }

    /// The body since [`REFERENCE_TIME_VERSION`] (`struct ictimesync_ref_data`), 22 bytes.
    pub struct ReferenceSample {
        /// The host's time when the reference time was the next field.
        parent_time: U64,
        /// The guest's reference time, in units of 100 ns.
        reference_time: U64,
        /// See [`Flags`].
        flags: u8,
        /// As NTP's leap indicator.
        leap_flags: u8,
        /// As NTP's stratum.
        stratum: u8,
        /// Zero.
        reserved: [u8; 3],
    }
}

bitflags::bitflags! {
    /// What the guest is to do with the time (`ICTIMESYNCFLAG_*`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Flags: u8 {
        /// Set the clock: the guest was started, restored or resumed.
        const SYNC = 1;
        /// Take note.
        const SAMPLE = 2;
    }
}

/// A time from the host, in either form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostTime {
    /// The host's time, in units of 100 ns since 1601-01-01 UTC.
    pub time: u64,
    /// The reference time that belongs to it; where there is none, that of the moment of receipt is the best guess.
    pub reference_time: Option<u64>,
    /// What to do, unknown bits included.
    pub flags: Flags,
}

impl HostTime {
    /// Reads the body of a message of this version.
    ///
    /// # Errors
    ///
    /// [`Malformed::Short`].
    pub fn parse(version: Version, body: &[u8]) -> Result<Self, Malformed> {
        if version >= REFERENCE_TIME_VERSION {
            let (sample, _) = read::<ReferenceSample>(body)?;
            Ok(Self {
                time: sample.parent_time.get(),
                reference_time: Some(sample.reference_time.get()),
                flags: Flags::from_bits_retain(sample.flags),
            })
        } else {
            let (sample, _) = read::<Sample>(body)?;
            Ok(Self {
                time: sample.parent_time.get(),
                reference_time: None,
                flags: Flags::from_bits_retain(sample.flags),
            })
        }
    }
}

/// The host's clock as the guest knows it: the last time that the host told, carried on by reference time.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostClock {
    /// The last time: units of 100 ns since 1970, and the reference time that belongs to it.
    last: Option<(u64, u64)>,
}

/// Why the host's clock cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// The host has told no time yet, or none that makes sense.
    Unknown,
    /// The last time is older than [`MAX_AGE`], or reference time has gone back since.
    Stale,
}

impl HostClock {
    /// A clock of a host that has told no time.
    #[must_use]
    pub const fn new() -> Self {
        Self { last: None }
    }

    /// Takes a time, `now` being reference time. A time before 1970 is no time.
    pub fn set(&mut self, told: &HostTime, now: u64) {
        // A time cannot come from the future.
        let reference_time = told.reference_time.map_or(now, |time| time.min(now));
        let since_1970 = told.time.checked_sub(UNIX_EPOCH);
        self.last = since_1970.map(|time| (time, reference_time));
    }

    /// What the host's clock shows when reference time is `now`, in nanoseconds since 1970.
    ///
    /// # Errors
    ///
    /// See [`Unusable`].
    pub fn read(&self, now: u64) -> Result<u64, Unusable> {
        let (time, reference_time) = self.last.ok_or(Unusable::Unknown)?;
        let age = now.checked_sub(reference_time).ok_or(Unusable::Stale)?;
        if age > MAX_AGE {
            return Err(Unusable::Stale);
        }
        time.checked_add(age)
            .and_then(|time| time.checked_mul(NANOSECONDS_PER_UNIT))
            .ok_or(Unusable::Unknown)
    }

    /// What the guest's clock is to be set to, in nanoseconds since 1970, after a time with these flags: an order, or a hint
    /// that counts as one because the guest's clock, which shows `implicit_from`, is far behind (`timesync_implicit`).
    #[must_use]
    pub fn step(&self, flags: Flags, now: u64, implicit_from: Option<u64>) -> Option<u64> {
        let host = self.read(now).ok()?;
        let behind = |guest: u64| host.saturating_sub(guest) >= IMPLICIT_THRESHOLD;
        (flags.contains(Flags::SYNC) || implicit_from.is_some_and(behind)).then_some(host)
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "A test may panic.")]
mod tests;
