// SPDX-License-Identifier: GPL-2.0

//! Latencies, sorted into buckets that double.

/// How many buckets there are: up to a quarter of a millisecond in steps that matter, and the rest up to 4 s.
pub const BUCKETS: usize = 20;

/// The end of the first bucket, in nanoseconds, as a power of 2: about 8 µs.
const FIRST: u32 = 13;

/// The bucket of a latency in nanoseconds, below [`BUCKETS`].
#[must_use]
#[inline]
pub fn bucket(nanoseconds: u64) -> usize {
    let bits = u64::BITS.wrapping_sub(nanoseconds.leading_zeros());
    let bucket = usize::try_from(bits.saturating_sub(FIRST)).unwrap_or(usize::MAX);
    bucket.min(BUCKETS.wrapping_sub(1))
}

/// The end of a bucket in nanoseconds; `None` for the last, which has none.
#[must_use]
pub fn end(bucket: usize) -> Option<u64> {
    if bucket >= BUCKETS.wrapping_sub(1) {
        return None;
    }
    let shift = u32::try_from(bucket).ok()?.checked_add(FIRST)?;
    1u64.checked_shl(shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_meet() {
        assert_eq!((bucket(0), bucket(1)), (0, 0));
        for index in 0..BUCKETS - 1 {
            let end = end(index).unwrap();
            assert_eq!((bucket(end - 1), bucket(end)), (index, index + 1));
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(end(0), Some(8192));
        assert_eq!((end(BUCKETS - 1), end(usize::MAX)), (None, None));
    }
}
