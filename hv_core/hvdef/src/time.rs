// SPDX-License-Identifier: GPL-2.0

//! Reference time: the partition's clock in units of 100 ns, computed from the TSC and a page of the hypervisor's.

use zerocopy::little_endian::{I64, U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Reference time units in one second.
pub const UNITS_PER_SECOND: u64 = 10_000_000;

/// Layout of the first 24 bytes of the reference TSC page (TLFS section 12.6, `HV_REFERENCE_TSC_PAGE`).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct TscPage {
    /// Changes with every update of the other fields; 0 says that the page is not to be used.
    pub sequence: U32,
    /// Reserved.
    pub reserved: U32,
    /// Fixed-point factor from TSC ticks to 100 ns units, scaled by 2^64.
    pub scale: U64,
    /// Added after scaling, in 100 ns units.
    pub offset: I64,
}

/// What one attempt to read the reference TSC page gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Snapshot {
    /// A consistent pair of scale and offset.
    Valid(TscReference),
    /// The hypervisor updated the page meanwhile: read it again.
    Torn,
    /// The page is not in use: read the `TIME_REF_COUNT` MSR instead.
    Unused,
}

/// The linear function from TSC ticks to reference time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TscReference {
    /// Fixed-point factor, scaled by 2^64.
    pub scale: u64,
    /// Added after scaling, in 100 ns units.
    pub offset: i64,
}

impl TscReference {
    /// Judges a reading: `sequence` before and after the other two fields, in that order with read barriers between.
    #[must_use]
    pub const fn snapshot(sequence: u32, scale: u64, offset: i64, sequence_after: u32) -> Snapshot {
        if sequence == 0 {
            Snapshot::Unused
        } else if sequence != sequence_after {
            Snapshot::Torn
        } else {
            Snapshot::Valid(Self { scale, offset })
        }
    }

    /// The reference time, in 100 ns units, at which the TSC read `tsc`.
    ///
    /// The host chooses scale and offset, so the sum wraps rather than overflows.
    #[must_use]
    pub fn time(self, tsc: u64) -> u64 {
        let product = u128::from(tsc).wrapping_mul(u128::from(self.scale));
        // The upper half of a 128-bit number always fits.
        let scaled = u64::try_from(product >> 64).unwrap_or(u64::MAX);
        scaled.wrapping_add_signed(self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn layout() {
        assert_eq!(size_of::<TscPage>(), 24);
        assert_eq!(memoffset::span_of!(TscPage, scale), 8..16);
        assert_eq!(memoffset::span_of!(TscPage, offset), 16..24);
    }

    #[test]
    fn one_second_at_two_gigahertz() {
        let reference = TscReference {
            scale: u64::MAX / 200,
            offset: -5,
        };
        assert_eq!(reference.time(2_000_000_000), UNITS_PER_SECOND - 1 - 5);
    }

    #[test]
    fn extremes_wrap() {
        let reference = TscReference {
            scale: u64::MAX,
            offset: i64::MAX,
        };
        assert_eq!(reference.time(u64::MAX), 0x7fff_ffff_ffff_fffd);
        assert_eq!(
            TscReference {
                scale: 0,
                offset: -1
            }
            .time(0),
            u64::MAX
        );
    }

    #[test]
    fn sequence_zero_is_unused_and_a_changed_one_is_torn() {
        assert_eq!(TscReference::snapshot(0, 1, 2, 0), Snapshot::Unused);
        assert_eq!(TscReference::snapshot(1, 1, 2, 2), Snapshot::Torn);
        assert_eq!(TscReference::snapshot(1, 1, 2, 0), Snapshot::Torn);
        assert_eq!(
            TscReference::snapshot(3, 1, 2, 3),
            Snapshot::Valid(TscReference {
                scale: 1,
                offset: 2
            })
        );
    }

    proptest! {
        #[test]
        fn time_never_goes_back_while_the_page_stands(scale: u64, a: u64, b: u64) {
            let reference = TscReference { scale, offset: 0 };
            prop_assert!(reference.time(a.min(b)) <= reference.time(a.max(b)));
        }
    }
}
