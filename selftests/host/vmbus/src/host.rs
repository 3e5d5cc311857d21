// SPDX-License-Identifier: GPL-2.0

//! The host: server and devices.

use crate::bus::{Bus, Notice};
use crate::channel::{OwnedPacket, PortId};
use crate::counters::{add, ChannelCounters, HostCounters};
use crate::device::{Context, Device, Packet};
use crate::fault::Faults;
use crate::memory::{take_bits, GpaList};
use crate::server::{EVENT_CONNECTION, INTERRUPT_PAGE_TO_HOST};
use core::time::Duration;
use hvdef::synic::{EVENT_FLAGS, PAYLOAD_SIZE};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use vm_memory::GuestMemoryMmap;
use vmbus_proto::message::wire::AllOffersDelivered;
use vmbus_proto::Version;
use vmbus_ring::monitor::{Monitor, MONITOR_COUNT};
use vmbus_ring::{IncomingPacket, PacketType, Pending, ReadError, Signal};

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
    /// The newest version that it speaks. 3.0: it claims that one alone, to see a guest refuse it.
    pub max_version: Version,
    /// How many virtual processors the guest has.
    pub vps: u32,
    /// Seed of everything random; printed at the start.
    pub seed: u64,
}

/// What a hypercall returns to the guest (`HV_STATUS_*`).
pub use hvdef::hypercall::Status as HypercallStatus;

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

/// The most outputs that wait to be carried out, before posts are refused for the time being.
const MAX_OUTPUTS: usize = 4096;

/// The most packets that are taken from one channel before others get their turn.
const BATCH: usize = 1024;

/// How often the monitor pages are looked at while a channel uses them.
const MONITOR_INTERVAL: Duration = Duration::from_micros(500);

/// The type that the messages of VMBus have for the hypervisor.
const MESSAGE_TYPE: u32 = 1;

/// The host: server and devices.
pub struct Host {
    /// All but the devices.
    pub(crate) bus: Bus,
    /// The devices.
    pub(crate) devices: BTreeMap<DeviceId, Box<dyn Device>>,
    /// Where packets are copied to. It grows to the largest packet that came, at most 512 KiB.
    scratch: Vec<u8>,
    /// When the monitor pages are looked at next.
    next_monitor: Duration,
}

impl Host {
    /// A host without devices. `wake` is called from any thread when [`Host::wake`] is to be called for a device.
    pub fn new(
        config: Config,
        memory: Memory,
        clock: Box<dyn Clock>,
        wake: Arc<dyn Fn(DeviceId) + Send + Sync>,
    ) -> Self {
        Self {
            bus: Bus::new(config, memory, clock, wake),
            devices: BTreeMap::new(),
            scratch: vec![0; 0x4000],
            next_monitor: Duration::ZERO,
        }
    }

    /// Adds a device and, if the guest is connected, offers it. `name` is what the control socket calls it.
    ///
    /// # Errors
    ///
    /// The name is taken.
    pub fn add(&mut self, name: &str, device: Box<dyn Device>) -> Result<DeviceId, String> {
        let id = self.bus.add(name)?;
        self.devices.insert(id, device);
        self.offer(id);
        self.settle();
        Ok(id)
    }

    /// Offers a device's first channel, if the guest wants offers and does not have this one.
    pub(crate) fn offer(&mut self, device: DeviceId) {
        self.bus
            .notices
            .push_back(Notice::Offer(PortId { device, channel: 0 }));
    }

    /// The guest posts a message (`HVCALL_POST_MESSAGE`).
    pub fn post_message(
        &mut self,
        connection_id: u32,
        message_type: u32,
        payload: &[u8],
    ) -> HypercallStatus {
        let status = if !self.bus.has_message_connection(connection_id) {
            HypercallStatus::INVALID_CONNECTION_ID
        } else if message_type != MESSAGE_TYPE || payload.len() > PAYLOAD_SIZE {
            HypercallStatus::INVALID_PARAMETER
        } else if self.bus.outputs.len() > MAX_OUTPUTS {
            HypercallStatus::INSUFFICIENT_BUFFERS
        } else {
            self.bus.receive(connection_id, payload);
            self.settle();
            return HypercallStatus::SUCCESS;
        };
        add(&mut self.bus.counters.refused_posts, 1);
        status
    }

    /// The guest has signalled a connection `count` times (`HVCALL_SIGNAL_EVENT`).
    pub fn signal_event(&mut self, connection_id: u32, count: u64) -> HypercallStatus {
        if connection_id == EVENT_CONNECTION {
            let Some(page) = self.bus.connection.and_then(|c| c.interrupt_page) else {
                return self.refuse_signal();
            };
            self.shared_signal(page);
        } else {
            let found = self.bus.offered().find(|(_, _, offer)| {
                !offer.shared && offer.open.is_some() && offer.connection_id == connection_id
            });
            let Some((id, ..)) = found else {
                return self.refuse_signal();
            };
            self.signalled(id, count);
        }
        self.settle();
        HypercallStatus::SUCCESS
    }

    /// A signal on a connection that does not exist.
    fn refuse_signal(&mut self) -> HypercallStatus {
        add(&mut self.bus.counters.refused_signals, 1);
        HypercallStatus::INVALID_CONNECTION_ID
    }

    /// A signal on the shared connection: the interrupt page says for which channels.
    fn shared_signal(&mut self, page: u64) {
        let mut any = false;
        for word in 0..EVENT_FLAGS / 32 {
            let offset = INTERRUPT_PAGE_TO_HOST.saturating_add(u64::from(word).saturating_mul(4));
            let bits = take_bits(&self.bus.memory, page.saturating_add(offset));
            for bit in (0..32).filter(|bit| bits >> bit & 1 == 1) {
                let relid = word.saturating_mul(32).saturating_add(bit);
                let found = self.bus.find_relid(relid);
                // Linux sets the bit of a monitored channel too, whose connection is its own.
                if let Some(id) = found.filter(|id| self.bus.is_shared(*id)) {
                    any = true;
                    self.signalled(id, 1);
                }
            }
        }
        if !any {
            add(&mut self.bus.counters.needless_shared_signals, 1);
        }
    }

    /// The guest has signalled a channel.
    fn signalled(&mut self, id: PortId, count: u64) {
        let progress = self.service(id);
        if let Some(port) = self.bus.port_mut(id) {
            add(&mut port.counters.signals, count);
            if !progress {
                add(&mut port.counters.needless_signals, count);
            }
        }
    }

    /// Takes what the guest sent and sends what waited for room; says whether there was any of it.
    fn service(&mut self, id: PortId) -> bool {
        let mut progress = self.bus.publish(id) > 0;
        let mut scratch = core::mem::take(&mut self.scratch);
        if let Some((_, open)) = self.bus.open_mut(id) {
            open.reader.mask();
        }
        let mut taken = 0usize;
        while let Some((counters, open)) = self.bus.open_mut(id) {
            if taken >= BATCH {
                let signal = open.reader.commit();
                self.bus.again.insert(id);
                self.interrupt(id, signal);
                break;
            }
            match open.reader.next(&mut scratch) {
                Ok(packet) => {
                    taken = taken.saturating_add(1);
                    let len = packet.extension.len().saturating_add(packet.payload.len());
                    add(&mut counters.packets_in, 1);
                    add(
                        &mut counters.bytes_in,
                        u64::try_from(len).unwrap_or(u64::MAX),
                    );
                    if self.bus.faults.is_empty() {
                        self.give(id, &packet, None);
                    } else {
                        self.bus.received(id, OwnedPacket::incoming(&packet));
                    }
                }
                Err(ReadError::TooLarge { len }) => scratch.resize(len, 0),
                Err(ReadError::Corrupt(_)) => self.bus.fail(id),
                Err(ReadError::Empty) => {
                    let (signal, pending) = open.reader.unmask();
                    if pending == Pending::More {
                        open.reader.mask();
                    }
                    self.interrupt(id, signal);
                    if pending == Pending::Idle {
                        break;
                    }
                }
            }
        }
        self.scratch = scratch;
        progress |= taken > 0;
        progress
    }

    /// Interrupts the guest if it must be.
    fn interrupt(&mut self, id: PortId, signal: Signal) {
        if signal == Signal::Needed {
            self.bus.interrupt(id);
        }
    }

    /// Gives a packet to its device, unless its list of pages makes no sense.
    fn give(&mut self, id: PortId, packet: &IncomingPacket<'_>, forced_status: Option<u32>) {
        let gpa = if packet.packet_type == PacketType::GPA_DIRECT {
            GpaList::parse(&self.bus.memory, packet.extension)
        } else {
            Ok(GpaList::default())
        };
        let Ok(gpa) = gpa else {
            if let Some(port) = self.bus.port_mut(id) {
                add(&mut port.counters.bad_packets, 1);
            }
            return;
        };
        let packet = Packet {
            packet_type: packet.packet_type,
            flags: packet.flags,
            transaction_id: packet.transaction_id,
            extension: packet.extension,
            payload: packet.payload,
            gpa: &gpa,
            forced_status,
        };
        self.call(id.device, |device, context| {
            device.received(id.channel, &packet, context);
        });
    }

    /// Calls a device.
    pub(crate) fn call<R>(
        &mut self,
        id: DeviceId,
        call: impl FnOnce(&mut dyn Device, &mut Context<'_>) -> R,
    ) -> Option<R> {
        let device = self.devices.get_mut(&id)?;
        let mut context = Context {
            bus: &mut self.bus,
            device: id,
        };
        Some(call(device.as_mut(), &mut context))
    }

    /// Tells the devices what has happened, and publishes what they sent.
    pub(crate) fn settle(&mut self) {
        loop {
            while let Some(notice) = self.bus.notices.pop_front() {
                self.notify(notice);
            }
            while let Some(id) = self.bus.dirty.first().copied() {
                self.bus.publish(id);
            }
            if self.bus.notices.is_empty() {
                return self.bus.overwrite();
            }
        }
    }

    /// Notes what the device is about to be told; false if it knows.
    fn tell_open(&mut self, id: PortId, open: bool) -> bool {
        self.bus
            .port_mut(id)
            .is_some_and(|port| core::mem::replace(&mut port.told_open, open) != open)
    }

    /// Carries out one notice.
    fn notify(&mut self, notice: Notice) {
        match notice {
            // A rescind in between may have made both of no concern to the device.
            Notice::Opened(id) => {
                if self.bus.is_open(id) && self.tell_open(id, true) {
                    self.call(id.device, |device, context| {
                        device.opened(id.channel, context);
                    });
                }
            }
            Notice::Closed(id) => {
                if self.tell_open(id, false) {
                    self.call(id.device, |device, context| {
                        device.closed(id.channel, context);
                    });
                }
            }
            Notice::Received(id, packet) => {
                if self.bus.is_open(id) {
                    let incoming = IncomingPacket {
                        packet_type: packet.packet_type,
                        flags: packet.flags,
                        transaction_id: packet.transaction_id,
                        extension: &packet.extension,
                        payload: &packet.payload,
                    };
                    self.give(id, &incoming, packet.forced_status);
                }
            }
            Notice::Offer(id) => {
                let first = PortId { channel: 0, ..id };
                if id.channel == 0 || self.bus.is_open(first) {
                    if let Some(spec) = self.devices.get(&id.device).map(|device| device.offer()) {
                        self.bus.offer(id, &spec);
                    }
                }
            }
            Notice::OffersDelivered => self.bus.send_message(&AllOffersDelivered {}),
        }
    }

    /// A device's [`Waker`](crate::Waker) was used.
    pub fn wake(&mut self, device: DeviceId) {
        if let Some(entry) = self.bus.entries.get(&device) {
            entry.woken.store(false, Ordering::Release);
            self.call(device, |device, context| device.woken(context));
            self.settle();
        }
    }

    /// When [`Host::run_due`] wants to be called next.
    pub fn deadline(&self) -> Option<Duration> {
        if !self.bus.again.is_empty() {
            return Some(Duration::ZERO);
        }
        let devices = self.devices.values().filter_map(|device| device.deadline());
        let delayed = self.bus.delayed.keys().next().map(|(due, _)| *due);
        let monitor = self.bus.is_monitoring().then_some(self.next_monitor);
        devices.chain(delayed).chain(monitor).min()
    }

    /// Does what is due: timers, monitor pages, delayed packets.
    pub fn run_due(&mut self) {
        for id in core::mem::take(&mut self.bus.again) {
            self.service(id);
        }
        let now = self.bus.clock.now();
        if now >= self.next_monitor && self.bus.is_monitoring() {
            self.next_monitor = now.saturating_add(MONITOR_INTERVAL);
            self.poll_monitor_page();
        }
        self.bus.release_due();
        let due: Vec<DeviceId> = self
            .devices
            .iter()
            .filter(|(_, device)| device.deadline().is_some_and(|deadline| deadline <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.call(id, |device, context| device.timer(context));
        }
        self.settle();
    }

    /// Serves the channels whose bits the guest has set in its monitor page.
    fn poll_monitor_page(&mut self) {
        let Some(page) = self.bus.connection.and_then(|c| c.monitor_page) else {
            return;
        };
        for first in (0..MONITOR_COUNT).step_by(32) {
            let Some(group) = Monitor::new(first) else {
                continue;
            };
            let offset = u64::try_from(group.pending_offset()).unwrap_or(0);
            let bits = take_bits(&self.bus.memory, page.saturating_add(offset));
            for bit in (0..32).filter(|bit| bits >> bit & 1 == 1) {
                let monitor = Some(first.saturating_add(bit));
                let found = self
                    .bus
                    .offered()
                    .find(|(_, _, offer)| offer.monitor_id == monitor);
                let Some((id, ..)) = found else {
                    continue;
                };
                if let Some(port) = self.bus.port_mut(id) {
                    add(&mut port.counters.monitor_triggers, 1);
                }
                self.service(id);
            }
        }
    }

    /// Takes the next thing to do for the guest. To be called until `None` after every other call.
    pub fn next_output(&mut self) -> Option<Output> {
        self.bus.outputs.pop_front()
    }

    /// What is counted of a device's channel.
    pub fn channel_counters(&self, device: DeviceId, channel: u16) -> Option<ChannelCounters> {
        let port = self.bus.port(PortId { device, channel })?;
        Some(port.counters)
    }

    /// What is counted of the connection.
    pub fn counters(&self) -> &HostCounters {
        &self.bus.counters
    }

    /// The fault rules.
    pub fn faults(&mut self) -> &mut Faults {
        &mut self.bus.faults
    }

    /// The guest was reset: all channels are closed and the connection is gone.
    pub fn reset(&mut self) {
        self.bus.disconnect();
        // The guest that these were for is no more.
        self.bus
            .outputs
            .retain(|output| !matches!(output, Output::Message { .. } | Output::Event { .. }));
        self.settle();
    }
}
