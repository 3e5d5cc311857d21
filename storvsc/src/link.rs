// SPDX-License-Identifier: GPL-2.0

//! One channel of a controller: commands go out, answers come in.

use crate::controller::Controller;
use crate::events::Event;
use crate::scsi_cmnd::{Command, Ending, InFlight, Rejected, Segments};
use hv_core::IrqLock;
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::Arc;
use kernel::time::{ClockSource, Monotonic};
use storvsc_proto::histogram::{self, BUCKETS};
use storvsc_proto::{Incoming, Packet, PageNumbers};
use vmbus::gpa::{self, GpaDirect};
use vmbus::{
    Batch, Channel, ClosedChannel, Handler, OpenChannel, OpenOptions, OutgoingPacket, Packets,
    SendError,
};
use zerocopy::IntoBytes;
use zerocopy_derive::FromZeros;

/// Pages of the largest transfer whose list is made in the command's own memory: 256 KiB that start inside a page.
const SMALL_PAGES: usize = 65;

/// Bytes of such a list.
const SMALL_LIST: usize = gpa::extension_size(1, SMALL_PAGES);

/// Of how many commands one has its latency measured, since reading the clock is not for nothing.
const SAMPLE: u64 = 8;

/// Memory of ours in each command.
#[derive(FromZeros)]
#[repr(C)]
pub(crate) struct Private {
    /// When the command was sent in nanoseconds, if its latency is measured, else 0.
    started: i64,
    /// The page list.
    list: [u8; SMALL_LIST],
}

/// What is counted on one channel.
#[derive(Default)]
pub(crate) struct Statistics {
    /// Commands that were to be sent.
    pub(crate) submitted: Atomic64,
    /// Of these, commands that found the ring full.
    pub(crate) ring_full: Atomic64,
    /// Of these, commands that could not be sent at all.
    pub(crate) failed: Atomic64,
    /// Commands that the host has answered.
    pub(crate) completed: Atomic64,
    /// Answers to nothing that we had asked.
    pub(crate) unknown: Atomic64,
    /// Packets that made no sense.
    pub(crate) nonsense: Atomic64,
    /// Latencies of every eighth command, see [`histogram::end`].
    pub(crate) latency: [Atomic64; BUCKETS],
}

/// A count.
pub(crate) struct Atomic64(Atomic<u64>);

impl Default for Atomic64 {
    fn default() -> Self {
        Self(Atomic::new(0))
    }
}

impl Atomic64 {
    /// Counts one, and returns how many there were. Any context.
    fn count(&self) -> u64 {
        self.0.fetch_add(1, Relaxed)
    }

    /// Counts one, where nobody else does at the same time.
    fn count_alone(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// The count.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What comes in on a channel, and its counts.
pub(crate) struct Port {
    /// Whose channel it is.
    controller: Arc<Controller>,
    /// The number of the channel, 0 for the first.
    index: u16,
    /// What is counted.
    pub(crate) statistics: Statistics,
}

impl Port {
    /// The host has answered a command.
    fn answered(&self, place: u32, generation: u32, answer: Option<&Packet>) {
        let in_flight = &self.controller.in_flight;
        let Some(mut command) = in_flight.take(place, generation, self.index) else {
            self.statistics.unknown.count_alone();
            return;
        };
        self.statistics.completed.count_alone();
        let started = command.parts().0.started;
        if started != 0 {
            let elapsed = Monotonic::ktime_get().saturating_sub(started);
            let bucket = histogram::bucket(u64::try_from(elapsed).unwrap_or(0));
            if let Some(count) = self.statistics.latency.get(bucket) {
                count.count_alone();
            }
        }
        match answer {
            Some(answer) => self.controller.complete(command, &answer.payload()),
            None => {
                self.statistics.nonsense.count_alone();
                command.complete(&Ending::FAILED);
            }
        }
    }
}

impl Handler for Port {
    fn receive(&self, packets: &mut Packets<'_>) {
        while let Some(received) = packets.take() {
            match Incoming::sort(received.transaction_id, received.payload) {
                Incoming::Command {
                    place,
                    generation,
                    answer,
                } => self.answered(place, generation, answer.as_ref()),
                Incoming::Control { generation, answer } => {
                    // The driver's own requests go by the first channel.
                    if self.index != 0 || !self.controller.requests.answer(generation, answer) {
                        self.statistics.unknown.count_alone();
                    }
                }
                Incoming::LunsChanged => self.controller.note(Event::Scan),
                Incoming::Nonsense => self.statistics.nonsense.count_alone(),
            }
        }
    }

    fn subchannel(&self, _channel: &Arc<Channel>) {
        self.controller.sub_channel_came();
    }

    fn rescinded(&self) {
        self.controller.lost(self.index);
    }

    fn failed(&self) {
        self.controller.broken();
    }
}

/// Where the lists of transfers above 256 KiB are made.
pub(crate) struct Room(KVVec<u8>);

impl Room {
    /// Room for transfers of up to so many pages; none if those are small. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(pages: usize) -> Result<Self> {
        let size = match pages {
            ..=SMALL_PAGES => 0,
            _ => gpa::extension_size(1, pages),
        };
        Ok(Self(KVVec::from_elem(0, size, GFP_KERNEL)?))
    }
}

/// An open channel.
#[pin_data]
pub(crate) struct Link {
    /// The channel, which is open as long as this exists.
    channel: OpenChannel,
    /// The same, as the host offered it.
    offered: Arc<Channel>,
    /// What comes in.
    port: Arc<Port>,
    /// See [`Room`]. A list is here until it is in the ring.
    #[pin]
    large: IrqLock<KVVec<u8>>,
}

impl Link {
    /// Opens a channel. Process context.
    ///
    /// # Errors
    ///
    /// As [`ClosedChannel::open`].
    pub(crate) fn open(
        channel: &Arc<Channel>,
        controller: &Arc<Controller>,
        index: u16,
        ring_pages: usize,
    ) -> Result<Pin<KBox<Self>>> {
        let port = Arc::new(
            Port {
                controller: controller.clone(),
                index,
                statistics: Statistics::default(),
            },
            GFP_KERNEL,
        )?;
        let options = OpenOptions {
            out_pages: ring_pages,
            in_pages: ring_pages,
            max_packet: MAX_PACKET,
            user_data: [0; 120],
        };
        let offered = channel.clone();
        let channel = ClosedChannel::take(channel)?.open(&options, port.clone())?;
        KBox::pin_init(
            pin_init!(Self {
                channel,
                offered,
                port,
                large <- hv_core::new_irq_lock!(KVVec::new()),
            }),
            GFP_KERNEL,
        )
    }

    /// Gives the channel room for the lists of large transfers. Any context.
    pub(crate) fn furnish(&self, room: Room) {
        *self.large.lock() = room.0;
    }

    /// Bytes of that room.
    pub(crate) fn room(&self) -> usize {
        self.large.lock().capacity()
    }

    /// What is counted.
    pub(crate) fn statistics(&self) -> &Statistics {
        &self.port.statistics
    }

    /// The channel.
    pub(crate) fn channel(&self) -> &Arc<Channel> {
        &self.offered
    }

    /// Sends a request of the driver's own.
    pub(crate) fn request(&self, id: u64, packet: &Packet) -> Result<(), SendError> {
        self.channel
            .send(&OutgoingPacket::request(id, &[packet.as_bytes()]))
    }

    /// Lets the host see what was sent.
    pub(crate) fn publish(&self) {
        // Where it fails, the commands are ended otherwise.
        let _ = self.channel.batch(|_| Ok(()));
    }

    /// Takes answers that have come, and returns how many.
    pub(crate) fn poll(&self) -> usize {
        let before = self.port.statistics.completed.get();
        self.channel.poll();
        let found = self.port.statistics.completed.get().wrapping_sub(before);
        usize::try_from(found).unwrap_or(0)
    }

    /// Sends a command. If it is not the `last`, the host sees it only with the last, or by [`Self::publish`].
    pub(crate) fn submit(
        &self,
        in_flight: &InFlight<Controller>,
        mut command: Command<Controller>,
        packet: &Packet,
        last: bool,
    ) -> Result<(), Rejected> {
        let statistics = &self.port.statistics;
        let number = statistics.submitted.count();
        let Some(reserved) = in_flight.reserve(&command) else {
            // An earlier command with this tag is still with the host, which the mid-layer has given up.
            statistics.failed.count();
            command.complete(&Ending::FAILED);
            return Ok(());
        };
        let length = command.length();
        let (private, segments) = command.parts();
        private.started = if number % SAMPLE == 0 {
            Monotonic::ktime_get()
        } else {
            0
        };
        let mut large = None;
        let used = match List::of(length, segments) {
            None => 0,
            Some(list) if list.size() <= SMALL_LIST => list.write(&mut private.list),
            Some(list) => list.write(large.insert(self.large.lock())),
        };
        if used == 0 && length != 0 {
            statistics.failed.count();
            command.complete(&Ending::FAILED);
            return Ok(());
        }
        let mut unsent = Some(command);
        let stage = |batch: &mut Batch<'_>| {
            if let Some(command) = &mut unsent {
                let list = match &large {
                    Some(large) => large.get(..used),
                    None => command.parts().0.list.get(..used),
                };
                let payload = [packet.as_bytes()];
                match list.unwrap_or_default() {
                    [] => batch.add(&OutgoingPacket::request(reserved.id(), &payload))?,
                    list => {
                        batch.add(&OutgoingPacket::gpa_direct(
                            reserved.id(),
                            &[list],
                            &payload,
                        ))?;
                    }
                }
            }
            // The host cannot answer before this function has returned.
            if let Some(command) = unsent.take() {
                in_flight.put(&reserved, self.port.index, command);
            }
            Ok(())
        };
        let sent = if last {
            self.channel.batch(stage)
        } else {
            self.channel.stage(stage)
        };
        drop(large);
        match (sent, unsent) {
            (Err(SendError::Full), Some(command)) => {
                statistics.ring_full.count();
                Err(command.reject())
            }
            (Err(_), Some(command)) => {
                statistics.failed.count();
                command.complete(&Ending::GONE);
                Ok(())
            }
            (_, None) | (Ok(()), _) => Ok(()),
        }
    }
}

/// The largest packet of a host: that of 64 bytes, and room for what may come to be.
const MAX_PACKET: usize = 512;

/// A page list to be made.
struct List<'a> {
    /// Where the buffer starts in its first page.
    offset: u32,
    /// Its bytes.
    length: u32,
    /// Where it is.
    segments: Segments<'a>,
}

impl<'a> List<'a> {
    /// The list of a buffer; `None` if there is none.
    #[inline]
    fn of(length: u32, segments: Segments<'a>) -> Option<Self> {
        let first = segments.clone().next()?;
        Some(Self {
            offset: first.byte_offset(),
            length,
            segments,
        })
    }

    /// Bytes of the list.
    #[inline]
    fn size(&self) -> usize {
        gpa::extension_size(1, gpa::pages(self.offset, self.length) as usize)
    }

    /// Makes the list, and returns its bytes; 0 if the buffer cannot be described.
    #[inline]
    fn write(self, buffer: &mut [u8]) -> usize {
        GpaDirect::new(buffer)
            .and_then(|mut list| {
                let pages = PageNumbers::new(self.segments);
                list.push(self.offset, self.length, pages)?;
                Ok(list.finish().len())
            })
            .unwrap_or(0)
    }
}
