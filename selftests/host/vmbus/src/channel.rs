// SPDX-License-Identifier: GPL-2.0

//! One channel: its offer, and its rings while it is open.

use crate::counters::{add, ChannelCounters};
use crate::host::DeviceId;
use crate::memory::RingPages;
use std::collections::VecDeque;
use vmbus_ring::{
    IncomingPacket, OutgoingPacket, PacketFlags, PacketType, Reader, Room, Signal, WriteError,
    Writer,
};

/// The most packets that wait for room in the guest's ring.
const MAX_QUEUED: usize = 4096;

/// The most bytes that wait for room in the guest's ring.
const MAX_QUEUED_BYTES: usize = 8 << 20;

/// One channel of one device: 0 is the first, others are sub-channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PortId {
    /// The device.
    pub(crate) device: DeviceId,
    /// Which of its channels.
    pub(crate) channel: u16,
}

/// A packet that owns what it carries.
#[derive(Clone, Debug)]
pub(crate) struct OwnedPacket {
    /// What the packet is.
    pub(crate) packet_type: PacketType,
    /// Flags of the packet.
    pub(crate) flags: PacketFlags,
    /// As in the packet.
    pub(crate) transaction_id: u64,
    /// What lies between descriptor and payload.
    pub(crate) extension: Vec<u8>,
    /// The payload.
    pub(crate) payload: Vec<u8>,
    /// What a fault rule wants the request to end with.
    pub(crate) forced_status: Option<u32>,
}

impl OwnedPacket {
    /// A copy of a packet to be sent.
    pub(crate) fn outgoing(packet: &OutgoingPacket<'_>) -> Self {
        Self {
            packet_type: packet.packet_type,
            flags: packet.flags,
            transaction_id: packet.transaction_id,
            extension: packet.extension.concat(),
            payload: packet.payload.concat(),
            forced_status: None,
        }
    }

    /// A copy of a packet that was received.
    pub(crate) fn incoming(packet: &IncomingPacket<'_>) -> Self {
        Self {
            packet_type: packet.packet_type,
            flags: packet.flags,
            transaction_id: packet.transaction_id,
            extension: packet.extension.to_vec(),
            payload: packet.payload.to_vec(),
            forced_status: None,
        }
    }

    /// Bytes of extension and payload.
    fn len(&self) -> usize {
        self.extension.len().saturating_add(self.payload.len())
    }

    /// Calls `send` with the packet.
    pub(crate) fn with<R>(&self, send: impl FnOnce(&OutgoingPacket<'_>) -> R) -> R {
        send(&OutgoingPacket {
            packet_type: self.packet_type,
            flags: self.flags,
            transaction_id: self.transaction_id,
            extension: &[&self.extension],
            payload: &[&self.payload],
        })
    }
}

/// What there is of a channel, offered or not.
#[derive(Debug, Default)]
pub(crate) struct Port {
    /// What is counted.
    pub(crate) counters: ChannelCounters,
    /// Its offer, if the guest has one that is not withdrawn.
    pub(crate) offer: Option<Offered>,
    /// How often it was opened, to tell what belongs to an earlier opening.
    pub(crate) generation: u64,
    /// Whether the device knows it to be open.
    pub(crate) told_open: bool,
}

/// An offer that the guest has.
#[derive(Debug)]
pub(crate) struct Offered {
    /// The relid.
    pub(crate) relid: u16,
    /// The connection that signals the host.
    pub(crate) connection_id: u32,
    /// Whether signals come through the interrupt page and the shared connection.
    pub(crate) shared: bool,
    /// Its bit in the monitor pages.
    pub(crate) monitor_id: Option<u8>,
    /// Its rings, while it is open.
    pub(crate) open: Option<Open>,
}

/// The rings of an open channel.
#[derive(Debug)]
pub(crate) struct Open {
    /// The VP to interrupt.
    pub(crate) target_vp: u32,
    /// The GPADL in which the rings lie.
    pub(crate) ring_gpadl: u32,
    /// From the guest.
    pub(crate) reader: Reader<RingPages>,
    /// To the guest.
    pub(crate) writer: Writer<RingPages>,
    /// Packets that wait for room.
    queue: VecDeque<OwnedPacket>,
    /// Bytes of those.
    queued_bytes: usize,
    /// Completions to swallow: their requests are never answered.
    pub(crate) never_answered: Vec<u64>,
}

/// The channel has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed;

impl Open {
    /// A channel that was just opened.
    pub(crate) fn new(
        target_vp: u32,
        ring_gpadl: u32,
        reader: Reader<RingPages>,
        writer: Writer<RingPages>,
    ) -> Self {
        Self {
            target_vp,
            ring_gpadl,
            reader,
            writer,
            queue: VecDeque::new(),
            queued_bytes: 0,
            never_answered: Vec::new(),
        }
    }

    /// Stages a packet, or queues a copy behind those that wait. [`Open::publish`] is to follow.
    pub(crate) fn send(
        &mut self,
        counters: &mut ChannelCounters,
        packet: &OutgoingPacket<'_>,
    ) -> Result<(), Failed> {
        if self.queue.is_empty() && self.stage(counters, packet)?.is_none() {
            return Ok(());
        }
        add(&mut counters.ring_full, 1);
        self.enqueue(OwnedPacket::outgoing(packet))
    }

    /// Stages a packet, or says how many bytes of room it takes. One that is larger than the ring is dropped.
    fn stage(
        &mut self,
        counters: &mut ChannelCounters,
        packet: &OutgoingPacket<'_>,
    ) -> Result<Option<u32>, Failed> {
        match self.writer.stage(packet) {
            Ok(()) => {
                let parts = packet.extension.iter().chain(packet.payload);
                let len = parts.fold(0usize, |sum, part| sum.saturating_add(part.len()));
                add(&mut counters.packets_out, 1);
                add(
                    &mut counters.bytes_out,
                    u64::try_from(len).unwrap_or(u64::MAX),
                );
                Ok(None)
            }
            Err(WriteError::Full { needed }) => Ok(Some(needed)),
            Err(WriteError::TooLarge) => Ok(None),
            Err(WriteError::Corrupt(_)) => Err(Failed),
        }
    }

    /// Adds to the packets that wait, of which there may be only so many.
    fn enqueue(&mut self, packet: OwnedPacket) -> Result<(), Failed> {
        self.queued_bytes = self.queued_bytes.saturating_add(packet.len());
        self.queue.push_back(packet);
        if self.queue.len() > MAX_QUEUED || self.queued_bytes > MAX_QUEUED_BYTES {
            return Err(Failed);
        }
        Ok(())
    }

    /// Stages packets that wait, counting them in `moved`, until one finds no room; returns the bytes that it takes.
    fn stage_queue(
        &mut self,
        counters: &mut ChannelCounters,
        moved: &mut usize,
    ) -> Result<Option<u32>, Failed> {
        while let Some(packet) = self.queue.pop_front() {
            let needed = packet.with(|packet| self.stage(counters, packet))?;
            if needed.is_some() {
                self.queue.push_front(packet);
                return Ok(needed);
            }
            self.queued_bytes = self.queued_bytes.saturating_sub(packet.len());
            *moved = moved.saturating_add(1);
        }
        Ok(None)
    }

    /// Stages what waits, publishes, and asks for a signal if some still waits. Says whether the guest must be interrupted,
    /// and how many waiting packets were staged.
    pub(crate) fn publish(
        &mut self,
        counters: &mut ChannelCounters,
    ) -> Result<(bool, usize), Failed> {
        let mut signal = false;
        let mut moved = 0;
        loop {
            let needed = self.stage_queue(counters, &mut moved)?;
            signal |= self.writer.publish() == Signal::Needed;
            let Some(needed) = needed else {
                return Ok((signal, moved));
            };
            // The writer never forgets room that it has seen, so that the packet fits after `Room::Now`.
            match self.writer.arm_pending_send(needed) {
                Ok(Room::Now) => {}
                Ok(Room::Later) => return Ok((signal, moved)),
                Err(_) => return Err(Failed),
            }
        }
    }
}
