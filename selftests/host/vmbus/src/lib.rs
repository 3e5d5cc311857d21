// SPDX-License-Identifier: GPL-2.0

//! The host end of VMBus, over guest memory and nothing else.
//!
//! [`Host`] holds the server and the devices. Whoever runs it feeds it what the guest does (messages, signals), the
//! time and requests of the control socket, and carries out the [`Output`]s that it returns. It has no thread, no clock
//! and no file of its own, so the same devices serve a guest in a VM and a VSC in the memory of a test, in simulated time.

#![forbid(unsafe_code)]

pub mod device;
pub mod host;

pub use device::{Context, Control, Device, OfferSpec, Packet, Reply, Waker};
pub use host::{Clock, Config, DeviceId, Host, HypercallStatus, Memory, Output};
