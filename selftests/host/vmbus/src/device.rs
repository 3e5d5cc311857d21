// SPDX-License-Identifier: GPL-2.0

//! What a device model implements, and what it is given.

use crate::bus::{Bus, Notice};
use crate::channel::PortId;
use crate::host::{DeviceId, Memory};
use crate::memory::GpaList;
use core::time::Duration;
use hvdef::Guid;
use serde_json::{Map, Value};
use std::sync::Arc;
use vmbus_proto::{OfferFlags, USER_DATA_SIZE};
use vmbus_ring::{OutgoingPacket, PacketFlags, PacketType};

/// How a device is offered to the guest.
#[derive(Clone, Debug)]
pub struct OfferSpec {
    /// The kind of device.
    pub class: Guid,
    /// The device; unique in a VM, and the same in every boot.
    pub instance: Guid,
    /// Flags of the offer.
    pub flags: OfferFlags,
    /// Address space that the device wants, in MiB.
    pub mmio_megabytes: u16,
    /// For the device's own use.
    pub user_data: [u8; USER_DATA_SIZE],
    /// Whether the guest is to signal through the monitor pages.
    pub monitored: bool,
    /// Whether the channel has a connection of its own, so that its bit in the interrupt page stays clear.
    pub dedicated_interrupt: bool,
}

/// A packet from the guest: a private copy.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// What the packet is.
    pub packet_type: PacketType,
    /// Flags of the packet: whether the guest wants a completion.
    pub flags: PacketFlags,
    /// What a completion must name.
    pub transaction_id: u64,
    /// What lies between descriptor and payload, as it came. For a GPA-direct packet see [`Self::gpa`].
    pub extension: &'a [u8],
    /// What the device gets, padded by the guest to a multiple of 8 bytes.
    pub payload: &'a [u8],
    /// The guest's pages that a GPA-direct packet lists; empty for others.
    pub gpa: &'a GpaList,
    /// What a fault rule (`error-status`) wants the request to end with, in the device's own terms.
    pub forced_status: Option<u32>,
}

/// A device model. All calls come from one thread at a time; none may block.
///
/// Channel 0 is the device's first channel, others are its sub-channels.
pub trait Device: Send {
    /// How to offer it. Asked once for each time that it is offered.
    fn offer(&self) -> OfferSpec;

    /// The guest has opened a channel.
    fn opened(&mut self, channel: u16, context: &mut Context<'_>);

    /// The guest sent a packet. Whatever it holds, the device answers or ignores it.
    fn received(&mut self, channel: u16, packet: &Packet<'_>, context: &mut Context<'_>);

    /// A channel is gone: closed, rescinded, unloaded or reset. What was in flight on it is dropped; what was started must
    /// not touch guest memory after the return.
    fn closed(&mut self, channel: u16, context: &mut Context<'_>);

    /// A [`Waker`] of this device was used.
    fn woken(&mut self, _context: &mut Context<'_>) {}

    /// When [`Self::timer`] wants to be called next, as [`Context::now`] counts.
    fn deadline(&self) -> Option<Duration> {
        None
    }

    /// The deadline has passed.
    fn timer(&mut self, _context: &mut Context<'_>) {}

    /// A request of the control socket. The answer may come later.
    fn control(&mut self, control: Control, _context: &mut Context<'_>) {
        control.reply.error("this device takes no requests");
    }

    /// What the control socket's list shows of the device's own state.
    fn status(&self) -> Value {
        Value::Null
    }
}

/// A request of the control socket to one device.
pub struct Control {
    /// What is asked, for instance `resize`.
    pub command: String,
    /// The other members of the request.
    pub arguments: Map<String, Value>,
    /// Where the answer goes.
    pub reply: Reply,
}

/// What takes the answer.
type Answer = Box<dyn FnOnce(Result<Value, String>) + Send>;

/// Answers one request of the control socket; dropped, it answers with an error.
pub struct Reply(Option<Answer>);

impl Reply {
    /// A way to answer.
    pub fn new(answer: impl FnOnce(Result<Value, String>) + Send + 'static) -> Self {
        Self(Some(Box::new(answer)))
    }

    /// Success, with what was asked for or `Value::Null`.
    pub fn ok(mut self, value: Value) {
        if let Some(answer) = self.0.take() {
            answer(Ok(value));
        }
    }

    /// Failure; the text says what to do.
    pub fn error(mut self, text: impl Into<String>) {
        if let Some(answer) = self.0.take() {
            answer(Err(text.into()));
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(answer) = self.0.take() {
            answer(Err("the device has gone without an answer".into()));
        }
    }
}

/// Has [`Device::woken`] called from any thread, once for any number of calls in the meantime.
#[derive(Clone)]
pub struct Waker(pub(crate) Arc<dyn Fn() + Send + Sync>);

impl Waker {
    /// Wakes the device.
    pub fn wake(&self) {
        (self.0)();
    }
}

/// What a device may do while it is called.
pub struct Context<'a> {
    /// The host, without the devices.
    pub(crate) bus: &'a mut Bus,
    /// The device that is called.
    pub(crate) device: DeviceId,
}

impl Context<'_> {
    /// The guest's memory.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.bus.memory
    }

    /// Time since the host started. Simulated in tests.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.bus.clock.now()
    }

    /// Wall clock time in units of 100 ns since 1601-01-01 UTC.
    #[must_use]
    pub fn wall_clock(&self) -> u64 {
        self.bus.clock.wall_clock()
    }

    /// The partition's reference time (`HV_X64_MSR_TIME_REF_COUNT`), in units of 100 ns.
    #[must_use]
    pub fn reference_time(&self) -> u64 {
        self.bus.clock.reference_time()
    }

    /// How many virtual processors the guest has.
    #[must_use]
    pub fn vps(&self) -> u32 {
        self.bus.config.vps
    }

    /// One of the device's channels.
    fn port(&self, channel: u16) -> PortId {
        PortId {
            device: self.device,
            channel,
        }
    }

    /// Whether a channel is open.
    #[must_use]
    pub fn is_open(&self, channel: u16) -> bool {
        self.bus.is_open(self.port(channel))
    }

    /// Sends a packet, or keeps a copy until the ring has room. Packets to a channel that is not open are dropped. The guest
    /// is signalled once for all packets of one call into the device.
    pub fn send(&mut self, channel: u16, packet: &OutgoingPacket<'_>) {
        self.bus.send(self.port(channel), packet);
    }

    /// Offers sub-channels 1 to `count` of this device, if its first channel is open; those that are offered already stay.
    pub fn offer_sub_channels(&mut self, count: u16) {
        for channel in 1..=count {
            self.bus
                .notices
                .push_back(Notice::Offer(self.port(channel)));
        }
    }

    /// A handle for other threads, for instance those that do a LUN's I/O.
    #[must_use]
    pub fn waker(&self) -> Waker {
        match self.bus.entries.get(&self.device) {
            Some(entry) => entry.waker.clone(),
            None => Waker(Arc::new(|| ())),
        }
    }
}
