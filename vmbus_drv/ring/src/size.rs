// SPDX-License-Identifier: GPL-2.0

//! Index arithmetic on a circular data area.

use crate::{Control, RingMem};

/// Unit in which indices and packet lengths count, in bytes.
pub(crate) const UNIT: u32 = 8;

/// Why a ring cannot be set up over a piece of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupError {
    /// The data area is smaller than 64 bytes, larger than 1 GiB or not a multiple of 8 bytes.
    Size(u32),
    /// The peer's index is not 0: the control page was not cleared before it was given to the host.
    NotCleared,
}

/// The size in bytes of a ring's data area, and the arithmetic modulo this size.
///
/// # Invariants
///
/// A multiple of 8 from 64 to 2^30, so that the sum of two indices fits 32 bits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingSize(u32);

impl RingSize {
    /// Checks the size of `mem`, and that the index which the peer owns is still 0.
    pub(crate) fn check<M: RingMem>(mem: &M, peer: Control) -> Result<Self, SetupError> {
        let size = mem.size();
        if !(64..=1 << 30).contains(&size) || size % UNIT != 0 {
            return Err(SetupError::Size(size));
        }
        if mem.load(peer) != 0 {
            return Err(SetupError::NotCleared);
        }
        Ok(Self(size))
    }

    /// Whether `index` points into the data area at a multiple of 8.
    #[inline]
    pub(crate) const fn is_index(self, index: u32) -> bool {
        index < self.0 && index % UNIT == 0
    }

    /// Bytes from `index` to the end of the data area.
    #[inline]
    pub(crate) const fn to_end(self, index: u32) -> u32 {
        self.0.wrapping_sub(index)
    }

    /// The position `by` bytes after `index`; both are less than the size.
    #[inline]
    pub(crate) const fn advance(self, index: u32, by: u32) -> u32 {
        let sum = index.wrapping_add(by);
        if sum >= self.0 {
            sum.wrapping_sub(self.0)
        } else {
            sum
        }
    }

    /// Bytes from index `from` forward to index `to`; 0 if they are equal.
    #[inline]
    pub(crate) const fn distance(self, from: u32, to: u32) -> u32 {
        let difference = to.wrapping_sub(from);
        if to < from {
            difference.wrapping_add(self.0)
        } else {
            difference
        }
    }

    /// Bytes that are left if `used` bytes are in use, at most all.
    #[inline]
    pub(crate) const fn free(self, used: u32) -> u32 {
        self.0.wrapping_sub(used)
    }

    /// The largest packet, trailer included, that this ring can carry.
    ///
    /// One unit stays empty to tell a full ring from an empty one. One more leaves a free-space
    /// threshold above the largest packet: see [`crate::Writer::arm_pending_send`].
    #[inline]
    pub(crate) const fn max_packet(self) -> u32 {
        self.0.wrapping_sub(2 * UNIT)
    }
}

/// The length of a part of a packet, which is less than 2^32 since it fits the ring.
#[inline]
pub(crate) fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(0)
}
