// SPDX-License-Identifier: GPL-2.0

//! VMBus: the connection to the host, channels, and the Linux bus `vmbus` on which their devices are.
//!
//! This crate has no `module!`: it is linked into vmbus_drv.ko, whose `module.rs` owns the one [`Vmbus`], and its
//! symbols are exported to the drivers of devices. A driver implements [`Driver`]; its probe takes the device's
//! [`ClosedChannel`], opens it with a [`Handler`] for what comes in, and sends through the [`OpenChannel`].
//!
//! Protocol decisions are taken in the pure crates [`vmbus_proto`] and [`vmbus_ring`]; this crate carries them out.

mod acpi;
mod affinity;
mod bus;
mod channel;
mod completion;
mod connection;
mod debugfs;
mod delay;
mod device;
mod driver;
mod enumeration;
mod isolation;
mod kobject;
mod moduleparam;
mod mshyperv;
mod notifier;
mod open;
mod request;
mod sysfs;
mod vmalloc;
mod workqueue;

pub use self::channel::{Channel, Counters, Direction, MonitorState};
pub use self::completion::Reply;
pub use self::connection::Vmbus;
pub use self::debugfs::Files;
pub use self::device::Device;
pub use self::driver::{Adapter, DeviceId, Driver, IdTable};
pub use self::mshyperv::RESUMES;
pub use self::open::{
    Batch, ClosedChannel, ExternalChannel, Handler, Lent, OpenChannel, OpenOptions, Packets,
    SendError, Sender,
};
pub use self::vmalloc::SharedPages;
pub use self::workqueue::{flush, OwnQueue};

pub use hvdef::Guid;
pub use vmbus_proto::{class, Offer, Version};
pub use vmbus_ring::{
    gpa, inflight, packet, transfer, IncomingPacket, OutgoingPacket, PacketFlags, PacketType,
};

/// What `pr_*!` print in front of each line; `module!` makes this for crates that have it.
const __LOG_PREFIX: &[u8] = b"vmbus_drv\0";
