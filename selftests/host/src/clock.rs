// SPDX-License-Identifier: GPL-2.0

//! The time of the machine.

use core::time::Duration;
use kvm_ioctls::VmFd;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// From 1601 to 1970, in units of 100 ns.
const UNIX_EPOCH_IN_FILETIME: u64 = 116_444_736_000_000_000;
/// Nanoseconds in such a unit.
const UNIT: u64 = 100;

/// The clocks that the devices see.
#[derive(Clone)]
pub(crate) struct MachineClock {
    /// When the machine was made.
    start: Instant,
    /// Whose reference time.
    vm: Arc<VmFd>,
}

impl MachineClock {
    /// The clocks of a VM that starts now.
    pub(crate) fn new(vm: Arc<VmFd>) -> Self {
        Self {
            start: Instant::now(),
            vm,
        }
    }
}

impl vmbus_host::Clock for MachineClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall_clock(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, units)
            .saturating_add(UNIX_EPOCH_IN_FILETIME)
    }

    /// KVM derives the reference counter and the reference TSC page from this clock. The MSR itself can't be read: that
    /// would wait for a VP to come out.
    fn reference_time(&self) -> u64 {
        self.vm
            .get_clock()
            .map_or(0, |clock| clock.clock.wrapping_div(UNIT))
    }
}

/// A duration in units of 100 ns.
fn units(duration: Duration) -> u64 {
    let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    nanoseconds.wrapping_div(UNIT)
}
