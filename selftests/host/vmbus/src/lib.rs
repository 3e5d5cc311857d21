// SPDX-License-Identifier: GPL-2.0

//! The host end of VMBus, over guest memory and nothing else.
//!
//! [`Host`] holds the server and the devices. Whoever runs it feeds it what the guest does (messages, signals), the
//! time and requests of the control socket, and carries out the [`Output`]s that it returns. It has no thread, no clock
//! and no file of its own, so the same devices serve a guest in a VM and a VSC in the memory of a test, in simulated time.
//!
//! The guest is not trusted: whatever it posts or writes into a ring, the host neither panics nor spins nor reads outside
//! the guest's memory, and what it keeps for the guest is bounded.

#![forbid(unsafe_code)]

pub mod balloon;
mod bus;
mod channel;
mod control;
mod counters;
mod delivery;
pub mod device;
pub mod fault;
mod gpadl;
pub mod host;
pub mod memory;
mod server;
pub mod sim;

pub use balloon::Balloon;
pub use control::parse_version;
pub use counters::{ChannelCounters, HostCounters};
pub use device::{Context, Control, Device, OfferSpec, Packet, Reply, Waker};
pub use host::{Clock, Config, DeviceId, Host, HypercallStatus, Memory, Output};
pub use memory::{GpaList, GuestBuffer, OutOfBounds};
