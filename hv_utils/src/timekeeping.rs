// SPDX-License-Identifier: GPL-2.0

//! The guest's own clock (`linux/timekeeping.h`), in nanoseconds since 1970.

use kernel::bindings::timespec64;
use kernel::error::to_result;
use kernel::ffi;
use kernel::prelude::*;
use kernel::time::{ClockSource, RealTime};
use utils_bindings as raw;

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// A time in the kernel's form.
pub(crate) fn timespec(nanoseconds: u64) -> timespec64 {
    // CAST: At most 2^64 / 10^9 seconds, and less than a second.
    timespec64 {
        tv_sec: (nanoseconds / SECOND) as i64,
        tv_nsec: (nanoseconds % SECOND) as ffi::c_long,
    }
}

/// What the clock shows; `None` before 1970.
pub(crate) fn real_time() -> Option<u64> {
    u64::try_from(RealTime::ktime_get()).ok()
}

/// Sets the clock. Process context.
///
/// # Errors
///
/// `EINVAL` for a time that the kernel's clock cannot show.
pub(crate) fn set_real_time(nanoseconds: u64) -> Result {
    let time = timespec(nanoseconds);
    // SAFETY: The time is valid for the call.
    to_result(unsafe { raw::do_settimeofday64(&raw const time) })
}
