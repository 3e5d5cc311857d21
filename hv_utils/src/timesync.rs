// SPDX-License-Identifier: GPL-2.0

//! Time synchronisation: the host tells the time, which sets the guest's clock, or is there to be read as a PTP clock.

use crate::link::Request;
use crate::ptp_clock_kernel::{self, PtpClock};
use crate::service::Service;
use crate::{moduleparam, timekeeping};
use hv_core::compat::estale;
use hv_core::{ratelimited, reference_time};
use hv_utils_proto::timesync::{HostClock, HostTime};
use hv_utils_proto::Status;
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex};

/// The host's clock.
#[pin_data]
struct Clock {
    /// What the host told.
    #[pin]
    told: Mutex<HostClock>,
}

impl ptp_clock_kernel::Clock for Clock {
    fn nanoseconds(&self) -> Result<u64> {
        // In this order: a time that is told meanwhile is not one of the future.
        let told = self.told.lock();
        let now = reference_time()?;
        told.read(now).map_err(|_| estale())
    }
}

impl Clock {
    /// Takes a time, and returns what the guest's clock is to be set to, if it is.
    fn take(&self, told: &HostTime) -> Option<u64> {
        let mut clock = self.told.lock();
        let now = reference_time().ok()?;
        clock.set(told, now);
        let implicit = moduleparam::timesync_implicit();
        let guest = implicit.then(timekeeping::real_time).flatten();
        clock.step(told.flags, now, guest)
    }
}

/// The service.
pub(crate) struct Timesync {
    /// The host's clock.
    clock: Arc<Clock>,
    /// The same for user space. The driver is of use without it, too.
    _ptp: Option<PtpClock<Clock>>,
}

impl Timesync {
    /// The service, with a PTP clock. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        let clock = Arc::pin_init(
            pin_init!(Clock { told <- new_mutex!(HostClock::new()) }),
            GFP_KERNEL,
        )?;
        let ptp = PtpClock::new(c"hyperv", clock.clone())
            .inspect_err(|error| pr_err!("timesync: there is no PTP clock: {:?}\n", error));
        Ok(Self {
            clock,
            _ptp: ptp.ok(),
        })
    }
}

impl Service for Timesync {
    fn requested(&self, mut request: Request) {
        let version = request.version;
        let Ok(told) = HostTime::parse(version, request.body()) else {
            return;
        };
        let step = self.clock.take(&told);
        request.answer(Status::OK);
        if let Some(Err(error)) = step.map(timekeeping::set_real_time) {
            ratelimited!(pr_warn, "timesync: the clock cannot be set: {:?}\n", error);
        }
    }
}
