// SPDX-License-Identifier: GPL-2.0

//! Tests of the host's clock in the guest.

use super::*;
use proptest::prelude::*;

/// Some day in 2026.
const TIME: u64 = 134_000_000_000_000_000;
const SECOND: u64 = hvdef::time::UNITS_PER_SECOND;

/// The clock at reference time 1000 s, told with this reference time.
fn told(reference_time: Option<u64>) -> HostClock {
    let mut clock = HostClock::new();
    let flags = Flags::SYNC;
    clock.set(
        &HostTime {
            time: TIME,
            reference_time,
            flags,
        },
        1000 * SECOND,
    );
    clock
}

/// The time, so many seconds later, in nanoseconds since 1970.
fn later(seconds: u64) -> u64 {
    (TIME - UNIX_EPOCH) * 100 + seconds * 1_000_000_000
}

#[test]
fn the_clock_goes_on_from_the_moment_that_the_time_was_taken() {
    assert_eq!(told(None).read(1000 * SECOND), Ok(later(0)));
    assert_eq!(told(None).read(1007 * SECOND), Ok(later(7)));
    // Taken two seconds before it arrived.
    assert_eq!(told(Some(998 * SECOND)).read(1000 * SECOND), Ok(later(2)));
    // Taken in the future, as the host says.
    assert_eq!(told(Some(u64::MAX)).read(1000 * SECOND), Ok(later(0)));
}

#[test]
fn an_old_time_is_stale_after_ten_minutes() {
    let clock = told(None);
    assert_eq!(clock.read(1600 * SECOND), Ok(later(600)));
    assert_eq!(clock.read(1600 * SECOND + 1), Err(Unusable::Stale));
    assert_eq!(clock.read(999 * SECOND), Err(Unusable::Stale));
    assert_eq!(told(Some(0)).read(1000 * SECOND), Err(Unusable::Stale));
}

#[test]
fn a_time_that_makes_no_sense_is_none() {
    assert_eq!(HostClock::new().read(0), Err(Unusable::Unknown));
    for (time, good) in [
        (0, false),
        (UNIX_EPOCH - 1, false),
        (UNIX_EPOCH, true),
        (u64::MAX, false),
    ] {
        let mut clock = told(None);
        let flags = Flags::SYNC;
        let reference_time = None;
        clock.set(
            &HostTime {
                time,
                reference_time,
                flags,
            },
            5,
        );
        assert_eq!(clock.read(5).is_ok(), good, "{time}");
        assert_eq!(clock.step(Flags::SYNC, 5, None).is_some(), good);
    }
}

#[test]
fn orders_step_the_clock_and_hints_only_where_the_guest_is_far_behind() {
    let (clock, now) = (told(None), 1000 * SECOND);
    let step = |flags, implicit_from| clock.step(flags, now, implicit_from);
    assert_eq!(step(Flags::SYNC, None), Some(later(0)));
    assert_eq!(step(Flags::SYNC | Flags::SAMPLE, None), Some(later(0)));
    assert_eq!(step(Flags::SAMPLE, None), None);
    assert_eq!(step(Flags::empty(), None), None);
    assert_eq!(
        step(Flags::SAMPLE, Some(later(0) - 5_000_000_000)),
        Some(later(0))
    );
    assert_eq!(step(Flags::SAMPLE, Some(later(0) - 4_999_999_999)), None);
    assert_eq!(step(Flags::SAMPLE, Some(later(3600))), None);
    // Not with a time that is stale.
    assert_eq!(clock.step(Flags::SYNC, 1601 * SECOND, None), None);
}

proptest! {
    #[test]
    fn no_time_breaks_the_clock(time: u64, reference_time: Option<u64>, flags: u8, now: u64, then: u64, guest: Option<u64>) {
        let mut clock = HostClock::new();
        let flags = Flags::from_bits_retain(flags);
        clock.set(&HostTime { time, reference_time, flags }, now);
        let step = clock.step(flags, then, guest);
        prop_assert!(step.is_none() || step == clock.read(then).ok());
    }
}
