// SPDX-License-Identifier: GPL-2.0

//! hv_utils.ko: the integration services, by which the host shuts the guest down, sees that it lives, tells the time,
//! exchanges key-value pairs, has file systems frozen for a backup and copies files into the guest.
//!
//! Each is a device with one channel. A [`link`](mod@link) carries the messages of all but the last to a
//! [`service`](mod@service), of which there is one file each. What the messages say is decided in the pure crate
//! [`hv_utils_proto`].

mod daemon;
mod driver;
mod fcopy;
mod heartbeat;
mod kobject;
mod kvp;
mod link;
mod miscdevice;
mod moduleparam;
mod mshyperv;
mod ptp_clock_kernel;
mod reboot;
mod service;
mod shutdown;
mod timekeeping;
mod timesync;
mod uio_driver;
mod umh;
mod vss;
mod workqueue;

use crate::driver::Services;
use crate::fcopy::Fcopy;
use kernel::driver::Registration;
use kernel::prelude::*;

module! {
    type: HvUtils,
    name: "hv_utils",
    authors: ["The Viridian developers"],
    description: "Integration services of Hyper-V",
    license: "GPL",
}

/// The loaded module.
#[pin_data]
struct HvUtils {
    /// The driver of services that a link carries.
    #[pin]
    _services: Registration<vmbus::Adapter<Services>>,
    /// The driver of file copy.
    #[pin]
    _fcopy: Registration<vmbus::Adapter<Fcopy>>,
}

impl kernel::InPlaceModule for HvUtils {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _services <- Registration::new(c"hv_utils", module),
            _fcopy <- Registration::new(c"hv_utils", module),
        })
    }
}
