// SPDX-License-Identifier: GPL-2.0

//! hv_core.ko: the hypervisor interface of a Hyper-V guest.

use hv_core::{Files, Registration};
use kernel::prelude::*;

module! {
    type: HvCore,
    name: "hv_core",
    authors: ["The Viridian developers"],
    description: "Hyper-V guest interface: discovery, hypercalls, SynIC, reference time",
    license: "GPL",
}

/// The loaded module. Field order is drop order: nobody reads a file of a partition that is gone.
#[pin_data]
struct HvCore {
    /// The files in debugfs.
    #[pin]
    _files: Files,
    /// The partition.
    _registration: Registration,
}

impl kernel::InPlaceModule for HvCore {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _registration: Registration::new()?,
            _files <- Files::new(),
        })
    }
}
