// SPDX-License-Identifier: GPL-2.0

//! Everything of the host but the devices themselves, which are called with it.

use crate::channel::{Failed, Offered, Open, OwnedPacket, Port, PortId};
use crate::counters::{add, ChannelCounters, HostCounters};
use crate::delivery::Delayed;
use crate::device::Waker;
use crate::fault::{Direction, Faults};
use crate::gpadl::Gpadl;
use crate::host::{Clock, Config, DeviceId, Memory, Output};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use vmbus_proto::{FeatureFlags, Version};
use vmbus_ring::{Control, OutgoingPacket};

/// What has happened that a device is to be told.
#[derive(Debug)]
pub(crate) enum Notice {
    /// The guest has opened a channel.
    Opened(PortId),
    /// A channel is gone.
    Closed(PortId),
    /// A packet that has passed the fault rules.
    Received(PortId, OwnedPacket),
    /// A channel is to be offered, as its device says.
    Offer(PortId),
    /// The guest has got the offers that it asked for.
    OffersDelivered,
}

/// A connection with the guest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection {
    /// The version.
    pub(crate) version: Version,
    /// The options of version 6.0.
    pub(crate) features: FeatureFlags,
    /// The VP that receives messages.
    pub(crate) target_vp: u32,
    /// The SINT for messages and events.
    pub(crate) sint: u8,
    /// The interrupt page; before 5.0 only.
    pub(crate) interrupt_page: Option<u64>,
    /// The monitor page from guest to host.
    pub(crate) monitor_page: Option<u64>,
    /// The connection for the guest's messages.
    pub(crate) message_connection: u32,
    /// Whether the guest has asked for offers.
    pub(crate) offers_requested: bool,
}

/// What is known of a device.
pub(crate) struct Entry {
    /// What the control socket calls it.
    pub(crate) name: String,
    /// Its channels, by index; the first is always there.
    pub(crate) ports: BTreeMap<u16, Port>,
    /// Wakes it.
    pub(crate) waker: Waker,
    /// Whether a wake is on its way.
    pub(crate) woken: Arc<AtomicBool>,
    /// How the next offer differs from what the device says.
    pub(crate) offer_override: OfferOverride,
}

/// What the control socket wants to be different in a device's next offers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OfferOverride {
    /// Instead of [`crate::OfferSpec::monitored`].
    pub(crate) monitored: Option<bool>,
    /// Instead of [`crate::OfferSpec::dedicated_interrupt`].
    pub(crate) dedicated_interrupt: Option<bool>,
}

/// Everything of the host but the devices themselves.
pub(crate) struct Bus {
    /// How the host behaves.
    pub(crate) config: Config,
    /// The guest's memory.
    pub(crate) memory: Memory,
    /// The time.
    pub(crate) clock: Box<dyn Clock>,
    /// Has [`crate::Host::wake`] called.
    pub(crate) wake: Arc<dyn Fn(DeviceId) + Send + Sync>,
    /// What the guest must get to see, in order.
    pub(crate) outputs: VecDeque<Output>,
    /// What the devices are to be told, in order.
    pub(crate) notices: VecDeque<Notice>,
    /// The connection with the guest.
    pub(crate) connection: Option<Connection>,
    /// The devices.
    pub(crate) entries: BTreeMap<DeviceId, Entry>,
    /// Relids that the guest has not given back, and the channels of those that are not withdrawn.
    pub(crate) relids: BTreeMap<u16, Option<PortId>>,
    /// Memory lent by the guest.
    pub(crate) gpadls: BTreeMap<u32, Gpadl>,
    /// Channels that have packets to publish.
    pub(crate) dirty: BTreeSet<PortId>,
    /// Channels that were left with packets to read, so that others get their turn.
    pub(crate) again: BTreeSet<PortId>,
    /// What fault rules keep back, by the time at which it goes on; the number makes it unique.
    pub(crate) delayed: BTreeMap<(Duration, u64), (bool, Delayed)>,
    /// The number of the next of those.
    pub(crate) delayed_count: u64,
    /// Indices to overwrite once everything is published.
    pub(crate) overwrites: Vec<(PortId, Direction, Control, u32)>,
    /// The fault rules.
    pub(crate) faults: Faults,
    /// What is counted.
    pub(crate) counters: HostCounters,
    /// The number of the next device.
    next_device: u32,
}

impl Bus {
    /// A host without devices.
    pub(crate) fn new(
        config: Config,
        memory: Memory,
        clock: Box<dyn Clock>,
        wake: Arc<dyn Fn(DeviceId) + Send + Sync>,
    ) -> Self {
        Self {
            faults: Faults::new(config.seed),
            config,
            memory,
            clock,
            wake,
            outputs: VecDeque::new(),
            notices: VecDeque::new(),
            connection: None,
            entries: BTreeMap::new(),
            relids: BTreeMap::new(),
            gpadls: BTreeMap::new(),
            dirty: BTreeSet::new(),
            again: BTreeSet::new(),
            delayed: BTreeMap::new(),
            delayed_count: 0,
            overwrites: Vec::new(),
            counters: HostCounters::default(),
            next_device: 1,
        }
    }

    /// Makes a device known by this name.
    pub(crate) fn add(&mut self, name: &str) -> Result<DeviceId, String> {
        if self.find(name).is_some() {
            return Err(format!("there is a device {name} already"));
        }
        let device = DeviceId(self.next_device);
        self.next_device = self.next_device.saturating_add(1);
        let woken = Arc::new(AtomicBool::new(false));
        let (flag, wake) = (Arc::clone(&woken), Arc::clone(&self.wake));
        let waker = Waker(Arc::new(move || {
            if !flag.swap(true, Ordering::AcqRel) {
                wake(device);
            }
        }));
        self.entries.insert(
            device,
            Entry {
                name: name.to_owned(),
                ports: BTreeMap::from([(0, Port::default())]),
                waker,
                woken,
                offer_override: OfferOverride::default(),
            },
        );
        Ok(device)
    }

    /// The device with this name.
    pub(crate) fn find(&self, name: &str) -> Option<DeviceId> {
        let mut entries = self.entries.iter();
        entries
            .find(|(_, entry)| entry.name == name)
            .map(|(device, _)| *device)
    }

    /// A channel.
    pub(crate) fn port(&self, id: PortId) -> Option<&Port> {
        self.entries.get(&id.device)?.ports.get(&id.channel)
    }

    /// A channel.
    pub(crate) fn port_mut(&mut self, id: PortId) -> Option<&mut Port> {
        self.entries.get_mut(&id.device)?.ports.get_mut(&id.channel)
    }

    /// A channel's offer.
    pub(crate) fn offered_mut(&mut self, id: PortId) -> Option<&mut Offered> {
        self.port_mut(id)?.offer.as_mut()
    }

    /// Counts and rings of an open channel.
    pub(crate) fn open_mut(&mut self, id: PortId) -> Option<(&mut ChannelCounters, &mut Open)> {
        let port = self.port_mut(id)?;
        let open = port.offer.as_mut()?.open.as_mut()?;
        Some((&mut port.counters, open))
    }

    /// Whether a channel is open.
    pub(crate) fn is_open(&self, id: PortId) -> bool {
        let offer = self.port(id).and_then(|port| port.offer.as_ref());
        offer.is_some_and(|offer| offer.open.is_some())
    }

    /// Whether a channel is signalled through the interrupt page.
    pub(crate) fn is_shared(&self, id: PortId) -> bool {
        let offer = self.port(id).and_then(|port| port.offer.as_ref());
        offer.is_some_and(|offer| offer.shared)
    }

    /// All channels that are offered.
    pub(crate) fn offered(&self) -> impl Iterator<Item = (PortId, &Port, &Offered)> {
        self.entries.iter().flat_map(|(&device, entry)| {
            entry.ports.iter().filter_map(move |(&channel, port)| {
                Some((PortId { device, channel }, port, port.offer.as_ref()?))
            })
        })
    }

    /// Whether any open channel signals through the monitor page.
    pub(crate) fn is_monitoring(&self) -> bool {
        self.offered()
            .any(|(_, _, offer)| offer.monitor_id.is_some() && offer.open.is_some())
    }

    /// Interrupts the guest for a channel.
    pub(crate) fn interrupt(&mut self, id: PortId) {
        let Some(connection) = self.connection else {
            return;
        };
        let Some(port) = self.port_mut(id) else {
            return;
        };
        let Some((flag, vp)) = port
            .offer
            .as_ref()
            .and_then(|offer| Some((offer.relid, offer.open.as_ref()?.target_vp)))
        else {
            return;
        };
        add(&mut port.counters.interrupts, 1);
        self.outputs.push_back(Output::Event {
            vp,
            sint: connection.sint,
            flag,
        });
    }

    /// Fails an open channel: its rings are not used again until the guest opens it anew.
    pub(crate) fn fail(&mut self, id: PortId) {
        if let Some((counters, _)) = self.open_mut(id) {
            add(&mut counters.failures, 1);
            self.close(id);
        }
    }

    /// Closes a channel, and has its device told.
    pub(crate) fn close(&mut self, id: PortId) {
        let Some(offer) = self.offered_mut(id) else {
            return;
        };
        if offer.open.take().is_none() {
            return;
        }
        if !offer.shared {
            let connection_id = offer.connection_id;
            self.outputs
                .push_back(Output::RemoveSignal { connection_id });
        }
        self.notices.push_back(Notice::Closed(id));
    }

    /// Stages a packet, with no regard to fault rules.
    pub(crate) fn stage(&mut self, id: PortId, packet: &OutgoingPacket<'_>) {
        let Some((counters, open)) = self.open_mut(id) else {
            return;
        };
        match open.send(counters, packet) {
            Ok(()) => {
                self.dirty.insert(id);
            }
            Err(Failed) => self.fail(id),
        }
    }

    /// Publishes a channel's packets; returns how many of them had waited for room.
    pub(crate) fn publish(&mut self, id: PortId) -> usize {
        self.dirty.remove(&id);
        let Some((counters, open)) = self.open_mut(id) else {
            return 0;
        };
        match open.publish(counters) {
            Ok((signal, moved)) => {
                if signal {
                    self.interrupt(id);
                }
                moved
            }
            Err(Failed) => {
                self.fail(id);
                0
            }
        }
    }
}
