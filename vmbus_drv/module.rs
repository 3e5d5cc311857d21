// SPDX-License-Identifier: GPL-2.0

//! vmbus_drv.ko: the VMBus client and the bus `vmbus`.

use kernel::prelude::*;
use vmbus::{Files, Vmbus};

module! {
    type: VmbusDrv,
    name: "vmbus_drv",
    authors: ["The Viridian developers"],
    description: "VMBus client: channels to a Hyper-V host, and the bus of their devices",
    license: "GPL",
    alias: ["acpi*:VMBUS:*", "acpi*:VMBus:*", "acpi*:MSFT1000:*"],
}

/// The loaded module. Field order is drop order: nobody reads a file of a connection that is gone.
#[pin_data]
struct VmbusDrv {
    /// The files in debugfs.
    #[pin]
    _files: Files,
    /// VMBus.
    vmbus: Vmbus,
}

impl kernel::InPlaceModule for VmbusDrv {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            vmbus: Vmbus::new()?,
            _files <- Files::new(vmbus),
        })
    }
}
