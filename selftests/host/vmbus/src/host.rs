// SPDX-License-Identifier: GPL-2.0

//! The host: server and devices.

use crate::device::{Device, Reply, Waker};
use core::time::Duration;
use serde_json::{Map, Value};
use std::sync::Arc;
use vm_memory::GuestMemoryMmap;
use vmbus_proto::Version;

/// The guest's memory.
pub type Memory = Arc<GuestMemoryMmap>;

/// Where the host gets the time from.
pub trait Clock: Send {
    /// Time since the host started.
    fn now(&self) -> Duration;
    /// Wall clock time in units of 100 ns since 1601-01-01 UTC.
    fn wall_clock(&self) -> u64;
    /// The partition's reference time, in units of 100 ns.
    fn reference_time(&self) -> u64;
}

/// A device of this host. Never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId(pub u32);

/// How the host behaves.
pub struct Config {
    /// The newest version that it speaks.
    pub max_version: Version,
    /// How many virtual processors the guest has.
    pub vps: u32,
    /// Seed of everything random; printed at the start.
    pub seed: u64,
}

/// What a hypercall returns to the guest (`HV_STATUS_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HypercallStatus(pub u16);

/// What the guest must get to see, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A message for a slot of a VP's message page. One that finds the slot taken waits for the guest's EOM; order is kept.
    Message {
        /// The VP.
        vp: u32,
        /// The slot.
        sint: u8,
        /// At most 240 bytes.
        payload: Vec<u8>,
    },
    /// A flag to set in a VP's event flags page, and an interrupt.
    Event {
        /// The VP.
        vp: u32,
        /// Whose flags.
        sint: u8,
        /// Which flag: the relid.
        flag: u16,
    },
    /// From now on the guest may signal this connection; [`Host::signal_event`] is to be called for each signal.
    AddSignal {
        /// The connection.
        connection_id: u32,
    },
    /// No longer.
    RemoveSignal {
        /// The connection.
        connection_id: u32,
    },
}

/// The host: server and devices.
pub struct Host {}

#[expect(
    unused_variables,
    clippy::needless_pass_by_value,
    reason = "a sketch of the interface"
)]
impl Host {
    /// A host without devices. `wake` is called from any thread when [`Host::wake`] is to be called for a device.
    pub fn new(
        config: Config,
        memory: Memory,
        clock: Box<dyn Clock>,
        wake: Arc<dyn Fn(DeviceId) + Send + Sync>,
    ) -> Self {
        let _ = Waker(Arc::new(|| ()));
        Self {}
    }

    /// Adds a device and, if the guest is connected, offers it. `name` is what the control socket calls it.
    pub fn add(&mut self, name: &str, device: Box<dyn Device>) -> Result<DeviceId, String> {
        Err("not yet".into())
    }

    /// The guest posts a message (`HVCALL_POST_MESSAGE`).
    pub fn post_message(
        &mut self,
        connection_id: u32,
        message_type: u32,
        payload: &[u8],
    ) -> HypercallStatus {
        HypercallStatus(0)
    }

    /// The guest has signalled a connection `count` times (`HVCALL_SIGNAL_EVENT`).
    pub fn signal_event(&mut self, connection_id: u32, count: u64) -> HypercallStatus {
        HypercallStatus(0)
    }

    /// A device's [`Waker`] was used.
    pub fn wake(&mut self, device: DeviceId) {}

    /// When [`Host::run_due`] wants to be called next.
    pub fn deadline(&self) -> Option<Duration> {
        None
    }

    /// Does what is due: timers, monitor pages, delayed packets.
    pub fn run_due(&mut self) {}

    /// Takes the next thing to do for the guest. To be called until `None` after every other call.
    pub fn next_output(&mut self) -> Option<Output> {
        None
    }

    /// A request of the control socket: `{"command": …, "device": name, …}`.
    pub fn control(&mut self, request: Map<String, Value>, reply: Reply) {}

    /// The guest was reset: all channels are closed and the connection is gone.
    pub fn reset(&mut self) {}
}
