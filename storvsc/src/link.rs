// SPDX-License-Identifier: GPL-2.0

//! One channel of a controller: commands go out, answers come in.

use crate::controller::Controller;
use crate::events::Event;
use crate::scsi_cmnd::{Asked, Command, Ending, InFlight, Rejected, Segments, Tag};
use hv_core::{Counter, IrqLock};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::time::{ClockSource, Monotonic};
use storvsc_proto::histogram::{self, BUCKETS};
use storvsc_proto::{page_numbers, Address, Incoming, Packet, PACKET_SIZE};
use vmbus::gpa;
use vmbus::packet::{request_head, HEAD_WORDS, TRAILER_WORDS};
use vmbus::{
    Channel, ClosedChannel, Handler, OpenChannel, OpenOptions, OutgoingPacket, Packets, SendError,
};
use zerocopy::IntoBytes;
use zerocopy_derive::FromZeros;

/// Pages of the largest transfer whose list is made in the command's own memory: 256 KiB that start inside a page.
const SMALL_PAGES: usize = 65;

/// Words of a request.
const REQUEST_WORDS: usize = PACKET_SIZE / 8;

/// Words of a packet without its page numbers: the head, what precedes them, the request and the trailer.
const OTHER_WORDS: usize = HEAD_WORDS + 2 + REQUEST_WORDS + TRAILER_WORDS;

/// Of how many commands one has its latency measured, since reading the clock is not for nothing.
const SAMPLE: u32 = 8;

/// Memory of ours in each command.
#[derive(FromZeros)]
#[repr(C)]
pub(crate) struct Private {
    /// When the command was sent in nanoseconds, if its latency is measured, else 0.
    started: i64,
    /// What is sent.
    whole: [u64; OTHER_WORDS + SMALL_PAGES],
}

/// What is counted on one channel.
#[derive(Default)]
pub(crate) struct Statistics {
    /// Commands that found the ring full.
    pub(crate) ring_full: Counter,
    /// Commands that could not be sent at all.
    pub(crate) failed: Counter,
    /// Commands that the host has answered.
    pub(crate) completed: Counter,
    /// Answers to nothing that we had asked.
    pub(crate) unknown: Counter,
    /// Packets that made no sense.
    pub(crate) nonsense: Counter,
    /// Latencies of every eighth command, see [`histogram::end`].
    pub(crate) latency: [Counter; BUCKETS],
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
    #[inline]
    fn answered(&self, place: u32, generation: u32, answer: Option<&Packet>) {
        let in_flight = &self.controller.in_flight;
        let Some(mut command) = in_flight.take(place, generation, self.index) else {
            self.statistics.unknown.increment_alone();
            return;
        };
        self.statistics.completed.increment_alone();
        let started = command.parts().0.started;
        if started != 0 {
            let elapsed = Monotonic::ktime_get().saturating_sub(started);
            let bucket = histogram::bucket(u64::try_from(elapsed).unwrap_or(0));
            if let Some(count) = self.statistics.latency.get(bucket) {
                count.increment_alone();
            }
        }
        match answer {
            Some(answer) => self.controller.complete(command, answer.srb()),
            None => {
                self.statistics.nonsense.increment_alone();
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
                } => self.answered(place, generation, answer),
                Incoming::Control { generation, answer } => {
                    // The driver's own requests go by the first channel.
                    if self.index != 0 || !self.controller.requests.answer(generation, *answer) {
                        self.statistics.unknown.increment_alone();
                    }
                }
                Incoming::LunsChanged => self.controller.note(Event::Scan),
                Incoming::Nonsense => self.statistics.nonsense.increment_alone(),
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

/// Where the packets of transfers above 256 KiB are made.
pub(crate) struct Room(KVVec<u64>);

impl Room {
    /// Room for transfers of up to so many pages; none if those are small. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(pages: usize) -> Result<Self> {
        let size = match pages {
            ..=SMALL_PAGES => 0,
            _ => OTHER_WORDS.saturating_add(pages),
        };
        Ok(Self(KVVec::from_elem(0, size, GFP_KERNEL)?))
    }
}

/// An open channel.
pub(crate) struct Link {
    /// The channel, which is open until [`Link::shut`].
    channel: OpenChannel,
    /// The same, as the host offered it.
    offered: Arc<Channel>,
    /// What comes in.
    port: Arc<Port>,
    /// See [`Room`]. A packet is here until it is in the ring.
    large: Pin<KBox<IrqLock<KVVec<u64>>>>,
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
    ) -> Result<KBox<Self>> {
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
        let link = Self {
            channel: ClosedChannel::take(channel)?.open(&options, port.clone())?,
            offered: channel.clone(),
            port,
            large: KBox::pin_init(hv_core::new_irq_lock!(KVVec::new()), GFP_KERNEL)?,
        };
        Ok(KBox::new(link, GFP_KERNEL)?)
    }

    /// Closes the channel; whether the host has confirmed it. See [`OpenChannel::shut`].
    pub(crate) fn shut(&self, timeout_ms: u32) -> bool {
        self.channel.shut(timeout_ms)
    }

    /// Gives the channel room for the packets of large transfers. Any context.
    pub(crate) fn furnish(&self, room: Room) {
        *self.large.lock() = room.0;
    }

    /// Bytes of that room.
    pub(crate) fn room(&self) -> usize {
        self.large.lock().capacity().saturating_mul(8)
    }

    /// Its number, 0 for the first.
    pub(crate) fn index(&self) -> u16 {
        self.port.index
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
        self.channel.batch().publish();
    }

    /// Takes answers that have come, and returns how many.
    pub(crate) fn poll(&self) -> usize {
        let before = self.port.statistics.completed.get();
        self.channel.poll();
        let found = self.port.statistics.completed.get().wrapping_sub(before);
        usize::try_from(found).unwrap_or(0)
    }

    /// Sends a command. If it is not the `last`, the host sees it only with the last, or by [`Self::publish`].
    #[inline]
    pub(crate) fn submit(
        &self,
        in_flight: &InFlight<Controller>,
        mut command: Command<Controller>,
        tag: Tag,
        lun: Address,
        last: bool,
    ) -> Result<(), Rejected> {
        let Some(reserved) = in_flight.reserve(tag) else {
            // An earlier command with this tag is still with the host, which the mid-layer has given up.
            self.fail(command, &Ending::FAILED, last);
            return Ok(());
        };
        let (private, asked) = command.parts();
        let buffer = Buffer::of(&asked);
        private.started = if reserved.is_one_of(SAMPLE) {
            Monotonic::ktime_get()
        } else {
            0
        };
        let mut large = None;
        let room: &mut [u64] = match buffer.pages() {
            ..=SMALL_PAGES => &mut private.whole,
            _ => large.insert(self.large.lock()),
        };
        let packet = || Controller::packet(&asked, lun);
        let Some(whole) = buffer.describe(room, reserved.id(), packet) else {
            drop(large);
            self.fail(command, &Ending::REFUSED, last);
            return Ok(());
        };
        let mut batch = self.channel.batch();
        if let Err(error) = batch.add_whole(whole) {
            // Commands end without a lock held.
            drop(batch);
            drop(large);
            return self.refuse(command, error, last);
        }
        // The host does not see it yet, and so cannot answer.
        in_flight.put(&reserved, self.port.index, lun, command);
        if last {
            batch.publish();
        }
        Ok(())
    }

    /// Ends a command that cannot be sent. If it is the last, those before it need not wait for another.
    #[cold]
    fn fail(&self, command: Command<Controller>, ending: &Ending<'_>, last: bool) {
        self.port.statistics.failed.increment();
        command.complete(ending);
        if last {
            self.publish();
        }
    }

    /// Ends a command that could not be sent, or gives it back. `last` is as in [`Self::fail`].
    #[cold]
    fn refuse(
        &self,
        command: Command<Controller>,
        error: SendError,
        last: bool,
    ) -> Result<(), Rejected> {
        let Port {
            controller,
            index,
            statistics,
        } = &*self.port;
        if last {
            self.publish();
        }
        match error {
            SendError::Full => {
                statistics.ring_full.increment();
                return Err(command.reject());
            }
            // A sub-channel goes alone: the command soon finds the first channel in its place.
            SendError::Dead if *index != 0 && !controller.is_dead() => {
                return Err(command.reject());
            }
            _ => {}
        }
        statistics.failed.increment();
        command.complete(&Ending::GONE);
        Ok(())
    }
}

/// The largest packet of a host: that of 64 bytes, and room for what may come to be.
const MAX_PACKET: usize = 512;

/// The data of a command.
struct Buffer<'a> {
    /// Where it starts in its first page.
    offset: u32,
    /// Its bytes.
    length: u32,
    /// Where it is.
    segments: Segments<'a>,
}

impl<'a> Buffer<'a> {
    /// The data of a command.
    #[inline]
    fn of(asked: &Asked<'a>) -> Self {
        let segments = asked.segments();
        Self {
            offset: segments.first().map_or(0, |first| first.byte_offset()),
            length: asked.length(),
            segments,
        }
    }

    /// How many pages it has.
    #[inline]
    fn pages(&self) -> usize {
        gpa::pages(self.offset, self.length) as usize
    }

    /// Makes the whole packet of a request with this data; `None` if there is no `packet`, the data cannot be described, or
    /// `room` is too small.
    #[inline]
    fn describe<'b>(
        self,
        room: &'b mut [u64],
        id: u64,
        packet: impl FnOnce() -> Option<Packet>,
    ) -> Option<&'b mut [u64]> {
        let pages = self.pages();
        let extension = if pages == 0 { 0 } else { 2 + pages };
        let size = HEAD_WORDS + extension + REQUEST_WORDS + TRAILER_WORDS;
        let whole = room.get_mut(..size)?;
        let (head, rest) = whole.split_first_chunk_mut()?;
        *head = request_head(id, extension, REQUEST_WORDS)?;
        let (list, rest) = rest.split_at_mut_checked(extension)?;
        if let Some((range, numbers)) = list.split_first_chunk_mut() {
            *range = gpa::one_range(self.offset, self.length);
            if let ([number], Some(segment)) = (&mut *numbers, self.segments.only()) {
                *number = segment.first_page();
            } else if page_numbers(self.segments, numbers) != pages {
                return None;
            }
        }
        *rest.first_chunk_mut()? = packet()?.words();
        Some(whole)
    }
}
