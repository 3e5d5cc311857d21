// SPDX-License-Identifier: GPL-2.0

//! storvsc.ko: disks through VMBus, as a SCSI host driver.
//!
//! A [`Controller`] is what the host offers: a SCSI controller or the disk of an IDE one. It has a [`link`](mod@link) for
//! each of its channels, and a queue of the mid-layer's for each of those. A command comes in by [`scsi::Driver::queue`],
//! goes into the table of commands that the host has, and as one packet into the ring; the host's answer takes it out of
//! the table and ends it. What the packets say is decided in the pure crate [`storvsc_proto`].

mod controller;
mod debugfs;
mod events;
mod link;
mod moduleparam;
mod request;
mod scsi;
mod scsi_cmnd;

use crate::controller::{Controller, Kind};
use crate::debugfs::Shown;
use crate::scsi::{Added, Host, Template};
use kernel::device::Core;
use kernel::prelude::*;
use kernel::sync::Arc;
use vmbus::{class, Device};

vmbus::vmbus_device_table!(
    TABLE,
    Kind,
    [(class::SCSI.id, Kind::Scsi), (class::IDE.id, Kind::Ide)]
);

vmbus::module_vmbus_driver! {
    type: Storvsc,
    name: "storvsc",
    authors: ["The Viridian developers"],
    description: "Disks through Hyper-V's VMBus",
    license: "GPL",
}

/// What the mid-layer calls. The names are those of the stock driver.
static TEMPLATE: Template<Controller> = Template::new(c"storvsc_host_t", c"storvsc_host");

/// A bound device.
#[pin_data(PinnedDrop)]
struct Storvsc {
    /// What debugfs shows.
    _shown: Shown,
    /// The host. Gone before the controller is.
    _host: Added<Controller>,
    /// The controller.
    controller: Connected,
}

/// A controller with channels. Dropping this closes them.
struct Connected(Arc<Controller>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.close();
        self.0.flush();
    }
}

#[pinned_drop]
impl PinnedDrop for Storvsc {
    fn drop(self: Pin<&mut Self>) {
        self.controller.0.stop_events();
    }
}

impl vmbus::Driver for Storvsc {
    type IdInfo = Kind;
    type Data<'bound> = Self;
    const NAME: &'static CStr = c"hv_storvsc";
    const ID_TABLE: vmbus::IdTable<Kind> = &TABLE;
    const PROBE_ASYNCHRONOUSLY: bool = true;

    fn probe<'bound>(
        device: &'bound Device<Core<'_>>,
        kind: Option<&'bound Kind>,
    ) -> impl PinInit<Self, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            let kind = *kind.ok_or(ENODEV)?;
            let controller = Connected(Controller::new(kind, device.channel().offer().instance)?);
            controller.0.connect(device)?;
            let limits = controller.0.limits()?;
            let host = Host::new(&TEMPLATE, &limits, controller.0.clone())?;
            let shown = Shown::new(host.number(), &controller.0)?;
            let host = host.add(device.as_ref())?;
            controller.0.found(host.luns());
            Ok(try_pin_init!(Self {
                _shown: shown,
                _host: host,
                controller,
            }? Error))
        })
    }
}
