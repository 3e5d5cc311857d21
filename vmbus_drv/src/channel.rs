// SPDX-License-Identifier: GPL-2.0

//! One offered channel, from its offer to its rescind.

use crate::acpi::AcpiDevice;
use crate::connection::Connection;
use crate::device::{Device, NewDevice, RegisteredDevice};
use crate::open::Rings;
use crate::request::{post, request_errno};
use crate::workqueue;
use core::mem;
use core::sync::atomic::{AtomicBool, Ordering};
use hv_core::{partition, ratelimited, Counter, Cpu, NoIo, RcuSlot};
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::{rcu, Arc, Mutex};
use kernel::workqueue::{impl_has_work, new_work, system_bh, Work, WorkItem};
use vmbus_proto::{Offer, Relid, Request};
use vmbus_ring::monitor::{connection_id, Monitor};
use vmbus_ring::Snapshot;

/// The work item that takes packets from the ring, in softirq context.
const RECEIVE: u64 = 0;
/// The work item that follows offers and rescinds, in process context.
const LIFECYCLE: u64 = 1;

/// A direction of a channel, as the guest sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Guest to host.
    Out,
    /// Host to guest.
    In,
}

/// What a monitor page says of a channel.
#[derive(Clone, Copy, Debug)]
pub struct MonitorState {
    /// Pending bits of the channel's group.
    pub pending: u32,
    /// How long the host may take to notice, in 100 ns.
    pub latency: u16,
    /// The connection that the host signals.
    pub connection_id: u32,
}

/// Counts of a channel, never decreasing.
#[derive(Default)]
pub struct Counters {
    /// Signals sent to the host.
    pub interrupts_out: Counter,
    /// Events taken from the host.
    pub events: Counter,
    /// Signals sent because the inbound ring was full and now has room.
    pub in_full: Counter,
    /// Signals sent because the outbound ring was empty.
    pub out_empty: Counter,
    /// Times that the outbound ring became full.
    pub out_full_first: Counter,
    /// Times that a packet found the outbound ring full.
    pub out_full_total: Counter,
}

/// The device of a device's first channel.
enum DeviceState {
    /// There is none: this is a sub-channel, or the device is yet to be made, gone, or never to be.
    Absent,
    /// Made, and not yet on the bus.
    New(NewDevice),
    /// On the bus until this is dropped.
    Registered {
        /// Removes the device from the bus.
        _device: RegisteredDevice,
    },
}

/// An offered channel.
#[pin_data]
pub struct Channel {
    /// What the host offered.
    offer: Offer,
    /// The connection over which it did.
    pub(crate) connection: Arc<Connection>,
    /// The device's first channel, if this is not it.
    primary: Option<Arc<Channel>>,
    /// Its counts.
    counters: Counters,
    /// The CPU that its events interrupt.
    target: Atomic<u32>,
    /// Whether the host withdrew it, or the connection ends.
    gone: AtomicBool,
    /// Whether a driver has it.
    taken: Atomic<bool>,
    /// Bytes of both rings while sysfs shows a file of that size, else 0.
    ring_file: Atomic<usize>,
    /// Its rings, while it is open.
    pub(crate) rings: RcuSlot<Arc<Rings>>,
    /// Its device. The lock is held while a driver is bound or unbound.
    #[pin]
    device: Mutex<DeviceState>,
    /// The same device, for sub-channels that come meanwhile.
    #[pin]
    handle: Mutex<Option<ARef<Device>>>,
    /// Takes packets.
    #[pin]
    receive: Work<Channel, RECEIVE>,
    /// Follows offer and rescind.
    #[pin]
    lifecycle: Work<Channel, LIFECYCLE>,
}

impl_has_work! {
    impl HasWork<Self, 0> for Channel { self.receive }
    impl HasWork<Self, 1> for Channel { self.lifecycle }
}

impl WorkItem<RECEIVE> for Channel {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        if this.rings.with(|rings| rings.receive(&this)) == Some(crate::open::Received::More) {
            this.schedule_receive();
        }
    }
}

impl WorkItem<LIFECYCLE> for Channel {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        if this.is_gone() {
            let _no_io = NoIo::new();
            this.retire();
        } else if let Some(primary) = &this.primary {
            primary.attach(&this);
        }
    }
}

impl Channel {
    /// The channel of an offer. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(
        connection: Arc<Connection>,
        offer: Offer,
        primary: Option<Arc<Channel>>,
        cpu: Cpu,
    ) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                offer,
                connection,
                primary,
                counters: Counters::default(),
                target: Atomic::new(cpu.number()),
                gone: AtomicBool::new(false),
                taken: Atomic::new(false),
                ring_file: Atomic::new(0),
                rings: RcuSlot::new(),
                device <- kernel::new_mutex!(DeviceState::Absent),
                handle <- kernel::new_mutex!(None),
                receive <- new_work!("viridian/receive"),
                lifecycle <- new_work!("viridian/lifecycle"),
            }),
            GFP_KERNEL,
        )
    }

    /// What the host offered.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// Its counts.
    #[inline]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether the host withdrew it. Any context.
    #[inline]
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Whether it is open. Any context.
    pub fn is_open(&self) -> bool {
        self.rings.with(|_| ()).is_some()
    }

    /// Its state as the kernel numbers it (`enum vmbus_channel_state`): 2 can be opened, 3 is open.
    pub fn state_number(&self) -> u32 {
        if self.is_open() {
            3
        } else {
            2
        }
    }

    /// The CPU that its events interrupt. Any context.
    pub fn target_cpu(&self) -> Cpu {
        Cpu::new(self.target.load(Relaxed)).unwrap_or(Cpu::FIRST)
    }

    /// The hypervisor's number for [`Channel::target_cpu`].
    pub fn target_vp(&self) -> u32 {
        let vp = partition().and_then(|partition| partition.synic().vp_index(self.target_cpu()));
        vp.unwrap_or(0)
    }

    /// Notes that `cpu` is interrupted from now on, or will be once the channel is open.
    pub(crate) fn set_target(&self, cpu: Cpu) {
        let mut affinity = self.connection.affinity.lock();
        affinity.remove(self.target_cpu());
        affinity.add(cpu);
        self.target.store(cpu.number(), Relaxed);
    }

    /// Chooses another CPU for a channel that is not open, if its own is offline. Process context, hotplug locked out.
    pub(crate) fn leave_offline_cpu(&self) {
        let cpu = self.target_cpu();
        if !cpu.online() {
            let other = self
                .connection
                .affinity
                .lock()
                .reassign(cpu, self.connection.connect_cpu);
            self.set_target(other);
        }
    }

    /// Moves its events to `cpu`. From version 5.3 on none comes to the old one any more when this returns. Process
    /// context; hotplug must be locked out, or `cpu` be known to stay.
    ///
    /// # Errors
    ///
    /// - `EINVAL` if `cpu` is offline.
    /// - `EOPNOTSUPP` if the protocol version has no such message.
    /// - `ENODEV` after a rescind, `EIO` if the host refuses, `ETIMEDOUT`.
    pub(crate) fn retarget(&self, cpu: Cpu) -> Result {
        if cpu == self.target_cpu() {
            return Ok(());
        }
        let vp = partition()
            .and_then(|partition| partition.synic().vp_index(cpu))
            .filter(|_| cpu.online());
        let (vp, relid) = (vp.ok_or(EINVAL)?, self.offer.relid);
        if self.connection.state.lock().client.answers_retarget() {
            let answer = self.connection.ask(|client| {
                Ok((
                    Request::ModifyChannel(relid),
                    client.modify_channel(relid, vp)?,
                ))
            })?;
            answer.ok()?;
        } else {
            let message = self
                .connection
                .state
                .lock()
                .client
                .modify_channel(relid, vp)
                .map_err(request_errno)?;
            post(&message)?;
        }
        self.set_target(cpu);
        Ok(())
    }

    /// A look at a ring, if the channel is open. Any context.
    pub fn ring(&self, direction: Direction) -> Option<Snapshot> {
        self.rings.with(|rings| rings.snapshot(direction))
    }

    /// The size of the file `ring` in sysfs, in bytes; 0 if there is none. See [`Device::show_ring`].
    pub(crate) fn ring_file(&self) -> usize {
        self.ring_file.load(Relaxed)
    }

    /// Notes the size of that file.
    pub(crate) fn set_ring_file(&self, bytes: usize) {
        self.ring_file.store(bytes, Relaxed);
    }

    /// Where its monitor is in the monitor pages, if it has one.
    pub(crate) fn monitor_position(&self) -> Option<Monitor> {
        Monitor::new(self.offer.monitor_id?)
    }

    /// What the host's (`In`) or the guest's (`Out`) monitor page says; `None` without a monitor.
    pub fn monitor(&self, direction: Direction) -> Option<MonitorState> {
        let position = self.monitor_position()?;
        let [from_host, to_host] = &self.connection.monitor_pages;
        let page = if direction == Direction::In {
            from_host
        } else {
            to_host
        };
        let word = |offset: usize| {
            page.word32(offset / 4)
                .map_or(0, |word| word.load(Ordering::Relaxed))
        };
        let latency = word(position.latency_offset()).to_le_bytes();
        let [low, high] = if position.latency_offset() % 4 == 0 {
            [latency[0], latency[1]]
        } else {
            [latency[2], latency[3]]
        };
        Some(MonitorState {
            pending: word(position.pending_offset()),
            latency: u16::from_le_bytes([low, high]),
            connection_id: connection_id(word(position.connection_id_offset())),
        })
    }

    /// Signals the host that there is something in the ring. Any context.
    pub(crate) fn signal_host(&self) {
        self.counters.interrupts_out.increment();
        let relid = self.offer.relid.index();
        if !self.offer.dedicated_interrupt {
            self.connection.set_interrupt_bit(relid);
        }
        match self.monitor_position() {
            Some(position) => {
                let [_, to_host] = &self.connection.monitor_pages;
                let bit = position.mask().trailing_zeros() as usize;
                to_host.set_bit(
                    position
                        .pending_offset()
                        .saturating_mul(8)
                        .saturating_add(bit),
                );
            }
            None => {
                let signal = |partition: &hv_core::Partition| {
                    partition
                        .hypercalls()
                        .signal_event(self.offer.connection_id)
                };
                if let Some(Err(status)) = partition().map(signal) {
                    ratelimited!(
                        pr_warn,
                        "signal of channel {} failed: {:?}\n",
                        relid,
                        status
                    );
                }
            }
        }
    }

    /// Has packets taken from the ring, soon and on this CPU. Any context.
    pub(crate) fn schedule_receive(self: &Arc<Self>) {
        // Already queued is as good.
        let _ = system_bh().enqueue::<Arc<Self>, RECEIVE>(self.clone());
    }

    /// Has offer or rescind followed. Any context.
    pub(crate) fn schedule_lifecycle(self: &Arc<Self>) {
        let _ = self
            .connection
            .workers
            .enqueue::<Arc<Self>, LIFECYCLE>(self.clone());
    }

    /// Waits until no packets are being taken. Process context.
    pub(crate) fn flush_receive(&self) {
        workqueue::flush(&self.receive);
    }

    /// Waits until no offer or rescind is being followed. Process context.
    pub(crate) fn flush_lifecycle(&self) {
        workqueue::flush(&self.lifecycle);
    }

    /// An event came. Hardirq.
    fn event(self: &Arc<Self>, section: &rcu::Guard) {
        self.counters.events.increment();
        let rings = self.rings.get(section);
        if rings.is_some_and(|rings| rings.signalled()) {
            self.schedule_receive();
        }
    }

    /// Takes the channel for a driver: no one else gets it until [`Channel::put`].
    ///
    /// # Errors
    ///
    /// `EBUSY` if a driver has it, `ENODEV` if it is gone.
    pub(crate) fn take(&self) -> Result {
        if self.is_gone() {
            return Err(ENODEV);
        }
        if self.taken.xchg(true, kernel::sync::atomic::Full) {
            return Err(EBUSY);
        }
        Ok(())
    }

    /// The driver gives the channel back.
    pub(crate) fn put(&self) {
        self.taken.store(false, kernel::sync::atomic::Release);
    }

    /// Whether this is its device's first channel.
    pub fn is_primary(&self) -> bool {
        self.primary.is_none()
    }

    /// Makes the device of this first channel. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn make_device(self: &Arc<Self>) -> Result {
        let device = NewDevice::new(self.clone())?;
        *self.handle.lock() = Some(device.device());
        *self.device.lock() = DeviceState::New(device);
        Ok(())
    }

    /// Puts the device of this first channel on the bus, unless it is gone. Process context; runs a driver's probe.
    pub(crate) fn register_device(&self, parent: &AcpiDevice) {
        let mut state = self.device.lock();
        if self.is_gone() {
            return;
        }
        *state = match mem::replace(&mut *state, DeviceState::Absent) {
            DeviceState::New(device) => match device.register(parent.as_device()) {
                Ok(registered) => DeviceState::Registered {
                    _device: registered,
                },
                Err(error) => {
                    let relid = self.offer.relid.get();
                    pr_err!(
                        "the device of channel {} cannot be made: {:?}\n",
                        relid,
                        error
                    );
                    DeviceState::Absent
                }
            },
            other => other,
        };
    }

    /// Adds a channel to the device of this first one. Process context.
    fn attach(&self, subchannel: &Arc<Channel>) {
        let device = self.handle.lock().clone();
        let added = device
            .ok_or(ENODEV)
            .and_then(|device| device.add_channel(subchannel));
        if let Err(error) = added {
            let relid = subchannel.offer.relid.get();
            ratelimited!(
                pr_warn,
                "sub-channel {} cannot be used: {:?}\n",
                relid,
                error
            );
            return;
        }
        self.rings
            .with(|rings| rings.handler().subchannel(subchannel));
    }

    /// Undoes [`Channel::attach`].
    fn detach(&self, subchannel: &Arc<Channel>) {
        let device = self.handle.lock().clone();
        if let Some(device) = device {
            device.remove_channel(subchannel);
        }
    }

    /// Takes the device, and with it the driver, from the channel. Process context.
    pub(crate) fn remove_device(&self) {
        self.gone.store(true, Ordering::Relaxed);
        let device = mem::replace(&mut *self.device.lock(), DeviceState::Absent);
        drop(device);
        drop(self.handle.lock().take());
    }

    /// Ends a rescinded channel and gives its relid back.
    fn retire(self: &Arc<Self>) {
        match &self.primary {
            Some(primary) => primary.detach(self),
            None => {
                self.connection.enumeration.forget(self);
                self.remove_device();
            }
        }
        let relid = self.offer.relid;
        self.connection.channels.remove(relid);
        // No event finds the channel any more; what an earlier one queued would outlive this module.
        self.flush_receive();
        self.connection.affinity.lock().remove(self.target_cpu());
        // Not connected: the host has forgotten the relid anyway.
        let _ = self.connection.tell(|client| client.release(relid));
    }
}

/// The channels that are offered, by relid, found in any context.
pub(crate) struct Channels(KVVec<RcuSlot<Arc<Channel>>>);

impl Channels {
    /// No channels. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        let mut slots = KVVec::with_capacity(hvdef::synic::EVENT_FLAGS as usize, GFP_KERNEL)?;
        for _ in 0..hvdef::synic::EVENT_FLAGS {
            slots.push(RcuSlot::new(), GFP_KERNEL)?;
        }
        Ok(Self(slots))
    }

    /// Adds a channel. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn insert(&self, channel: Arc<Channel>) -> Result {
        let _ = partition().map(|partition| {
            let synic = partition.synic();
            synic.expect_event(channel.offer.relid.index());
        });
        let slot = self.0.get(channel.offer.relid.index()).ok_or(EINVAL)?;
        drop(slot.replace(Some(KBox::new(channel, GFP_KERNEL)?)));
        Ok(())
    }

    /// The channel with this relid. Any context.
    pub(crate) fn get(&self, relid: Relid) -> Option<Arc<Channel>> {
        self.0.get(relid.index())?.with(Arc::clone)
    }

    /// All channels. Process context.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Arc<Channel>> + '_ {
        self.0.iter().filter_map(|slot| slot.with(Arc::clone))
    }

    /// Forgets a channel; afterwards no event reaches it. Process context.
    pub(crate) fn remove(&self, relid: Relid) {
        if let Some(slot) = self.0.get(relid.index()) {
            drop(slot.replace(None));
        }
    }

    /// The host withdrew a channel. Process context.
    pub(crate) fn rescind(&self, relid: Relid) {
        if let Some(channel) = self.get(relid) {
            channel.gone.store(true, Ordering::Relaxed);
            // At once, since the rest may take long.
            channel.rings.with(|rings| rings.handler().rescinded());
            channel.schedule_lifecycle();
        }
    }

    /// An event came. Hardirq.
    pub(crate) fn event(&self, flag: u32, section: &rcu::Guard) {
        let slot = usize::try_from(flag)
            .ok()
            .and_then(|index| self.0.get(index));
        if let Some(channel) = slot.and_then(|slot| slot.get(section)) {
            channel.event(section);
        }
    }
}
