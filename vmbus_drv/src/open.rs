// SPDX-License-Identifier: GPL-2.0

//! A channel in the hands of a driver: closed or open, by type.

use crate::channel::{Channel, Direction};
use crate::request::ANSWER_TIMEOUT_MS;
use crate::vmalloc::{Ring, SharedPages};
use crate::workqueue::SoftirqsOff;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use hv_core::{ratelimited, HotplugLock, IrqLock, IrqLockBackend, HV_PAGE_SIZE};
use kernel::error::Error;
use kernel::prelude::*;
use kernel::sync::lock::Guard;
use kernel::sync::{Arc, SpinLock};
use vmbus_proto::{GpadlId, OpenParams, Request};
use vmbus_ring::{
    Control, IncomingPacket, OutgoingPacket, Pending, ReadError, Reader, RingMem, Room, Signal,
    Snapshot, WriteError, Writer,
};

/// Packets that one run takes from one channel, before others have their turn.
const BUDGET: usize = 64;

/// What a driver does with what comes in.
pub trait Handler: Send + Sync {
    /// Packets came: take them all with [`Packets::take`]. Softirq, never twice at a time.
    fn receive(&self, packets: &mut Packets<'_>);

    /// There may be room again after [`SendError::Full`]. Softirq.
    fn room(&self) {}

    /// The device has one more channel. Process context, within a read-side section of RCU: do not sleep.
    fn subchannel(&self, channel: &Arc<Channel>) {
        let _ = channel;
    }

    /// The host withdrew the channel: nothing more comes, and no request will be answered. The device is unbound
    /// after this. Process context, within a read-side section of RCU: do not sleep.
    fn rescinded(&self) {}

    /// The host broke a ring: nothing more comes or goes. Any context, with locks of the channel held: do not send.
    fn failed(&self) {}

    /// The host signalled a channel of [`ClosedChannel::open_external`], of which nothing is received here. Hardirq.
    fn signalled(&self) {}
}

/// Why a packet was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// Not now: [`Handler::room`] will be called, maybe before this is returned. So stop the queue, try once more, and
    /// wait only then; with a limit, for not every host keeps its word.
    Full,
    /// Never: the ring cannot hold it.
    TooLarge,
    /// The channel is gone, or the host broke it.
    Dead,
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Full => EAGAIN,
            SendError::TooLarge => EMSGSIZE,
            SendError::Dead => ENODEV,
        }
    }
}

/// How to open a channel.
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions {
    /// Pages of 4096 bytes of the ring to the host, its control page included; at least 2.
    pub out_pages: usize,
    /// The same for the ring from the host.
    pub in_pages: usize,
    /// The largest packet that the device may send, in bytes without its descriptor.
    pub max_packet: usize,
    /// For the device's own use.
    pub user_data: [u8; 120],
}

/// What a run over the incoming ring found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// All there was; the next packet comes with an event.
    All,
    /// More than one run may take.
    More,
}

/// The incoming ring, and where its packets are copied.
struct Incoming {
    /// The ring.
    reader: Reader<Ring>,
    /// Holds one packet.
    buffer: KVVec<u8>,
}

/// Both rings of an open channel.
#[pin_data]
pub(crate) struct Rings {
    /// To the host.
    #[pin]
    outgoing: IrqLock<Writer<Ring>>,
    /// From the host. Softirq only.
    #[pin]
    incoming: SpinLock<Incoming>,
    /// The same memory, for looks and the mask.
    out_ring: Ring,
    /// As that.
    in_ring: Ring,
    /// Whether somebody waits for room.
    wants_room: AtomicBool,
    /// Whether the host broke a ring.
    broken: AtomicBool,
    /// Whether others read and write the rings.
    external: bool,
    /// Gets what comes in.
    handler: Arc<dyn Handler>,
}

impl Rings {
    /// Sets up both rings in zeroed pages. Process context.
    fn new(
        pages: &Arc<SharedPages>,
        options: &OpenOptions,
        external: bool,
        handler: Arc<dyn Handler>,
    ) -> Result<Arc<Self>> {
        let out_ring = Ring::new(pages.clone(), 0, options.out_pages)?;
        let in_ring = Ring::new(pages.clone(), options.out_pages, options.in_pages)?;
        let writer = Writer::new(out_ring.clone()).map_err(|_| EINVAL)?;
        let reader = Reader::new(in_ring.clone()).map_err(|_| EINVAL)?;
        let buffer = KVVec::from_elem(0, options.max_packet, GFP_KERNEL)?;
        Arc::pin_init(
            pin_init!(Self {
                outgoing <- hv_core::new_irq_lock!(writer),
                incoming <- kernel::new_spinlock!(Incoming { reader, buffer }),
                out_ring,
                in_ring,
                wants_room: AtomicBool::new(false),
                broken: AtomicBool::new(false),
                external,
                handler,
            }),
            GFP_KERNEL,
        )
    }

    /// Who gets what comes in.
    pub(crate) fn handler(&self) -> &dyn Handler {
        &*self.handler
    }

    /// A look at a ring.
    pub(crate) fn snapshot(&self, direction: Direction) -> Snapshot {
        match direction {
            Direction::Out => Snapshot::of(&self.out_ring),
            Direction::In => Snapshot::of(&self.in_ring),
        }
    }

    /// The host signalled: says whether packets are to be taken. Hardirq.
    pub(crate) fn signalled(&self) -> bool {
        if self.external {
            self.handler.signalled();
        } else {
            // No events are needed until the ring was read.
            self.in_ring.store(Control::InterruptMask, 1);
        }
        !self.external
    }

    /// Takes packets from the ring, up to the budget. Softirq.
    pub(crate) fn receive(&self, channel: &Channel) -> Received {
        let mut guard = self.incoming.lock();
        let Incoming { reader, buffer } = &mut *guard;
        if self.wants_room.load(Relaxed) {
            // Under the lock, so that this does not overtake the sender who is just asking for room.
            let writer = self.outgoing.lock();
            self.wants_room.store(false, Relaxed);
            drop(writer);
            self.handler.room();
        }
        let mut left = BUDGET;
        loop {
            let mut packets = Packets {
                reader,
                buffer,
                left: &mut left,
                error: None,
            };
            self.handler.receive(&mut packets);
            if let Some(error) = packets.error {
                self.fail(channel, &error);
                return Received::All;
            }
            // A handler that takes nothing must not hold the CPU.
            left = left.saturating_sub(1);
            if left == 0 {
                self.give_back(channel, reader.commit());
                return Received::More;
            }
            let (signal, pending) = reader.unmask();
            self.give_back(channel, signal);
            match pending {
                Pending::Idle => return Received::All,
                Pending::More => reader.mask(),
            }
        }
    }

    /// Signals a host that waits for room.
    fn give_back(&self, channel: &Channel, signal: Signal) {
        if signal == Signal::Needed {
            channel.counters().in_full.increment();
            channel.signal_host();
        }
    }

    /// Gives the channel up. Any context.
    fn fail(&self, channel: &Channel, error: &dyn core::fmt::Debug) {
        if !self.broken.swap(true, SeqCst) {
            ratelimited!(
                pr_err,
                "channel {}: the host broke the ring: {:?}\n",
                channel.offer().relid.get(),
                format_args!("{error:?}")
            );
            self.handler.failed();
        }
    }

    /// Whether packets can be sent and received.
    #[inline]
    fn is_usable(&self, channel: &Channel) -> bool {
        !channel.is_gone() && !self.broken.load(Relaxed)
    }

    /// Locks the ring to the host. Any context.
    #[inline]
    fn batch<'a>(&'a self, channel: &'a Channel) -> Batch<'a> {
        Batch {
            rings: self,
            channel,
            writer: self.outgoing.lock(),
        }
    }

    /// Makes room for what a batch could not take where that helps, so that it makes sense to try again.
    #[cold]
    fn make_room(
        &self,
        channel: &Channel,
        writer: &mut Writer<Ring>,
        error: WriteError,
    ) -> Result<(), SendError> {
        let dead = |corrupt| {
            self.fail(channel, &corrupt);
            SendError::Dead
        };
        let needed = match error {
            WriteError::TooLarge => return Err(SendError::TooLarge),
            WriteError::Corrupt(corrupt) => return Err(dead(corrupt)),
            WriteError::Full { needed } => needed,
        };
        channel.counters().out_full_total.increment();
        // What the host has not seen it cannot make room by.
        if writer.publish() == Signal::Needed {
            channel.counters().out_empty.increment();
            channel.signal_host();
        }
        let others_wait = self.wants_room.swap(true, SeqCst);
        if !others_wait {
            channel.counters().out_full_first.increment();
        }
        match writer.arm_pending_send(needed) {
            Ok(Room::Now) => {
                self.wants_room.swap(others_wait, SeqCst);
                Ok(())
            }
            Ok(Room::Later) => Err(SendError::Full),
            Err(corrupt) => Err(dead(corrupt)),
        }
    }

    /// Sends one packet, and what was added before. Any context.
    fn send(&self, channel: &Channel, packet: &OutgoingPacket<'_>) -> Result<(), SendError> {
        let mut batch = self.batch(channel);
        let added = batch.add(packet);
        batch.publish();
        added
    }
}

/// The packets that came, one after the other.
pub struct Packets<'a> {
    /// The ring.
    reader: &'a mut Reader<Ring>,
    /// Holds one packet.
    buffer: &'a mut [u8],
    /// How many this run may still take.
    left: &'a mut usize,
    /// Why the channel fails, if it does.
    error: Option<ReadError>,
}

impl Packets<'_> {
    /// Copies the next packet; `None` if there is none, or it is another channel's turn.
    #[inline]
    pub fn take(&mut self) -> Option<IncomingPacket<'_>> {
        if self.error.is_some() || *self.left <= 1 {
            return None;
        }
        *self.left = self.left.saturating_sub(1);
        match self.reader.next(self.buffer) {
            Ok(packet) => Some(packet),
            Err(ReadError::Empty) => None,
            Err(error) => {
                self.error = Some(error);
                None
            }
        }
    }
}

/// Packets that the host gets to see together, with at most one signal.
///
/// While there is this, nobody else sends on the channel, and interrupts are off; it nests as the guard of an [`IrqLock`]. The
/// host sees a packet by [`Batch::publish`], or earlier if a later one finds the ring full. What is not published when this is
/// dropped waits for the next time.
#[must_use]
pub struct Batch<'a> {
    /// The rings.
    rings: &'a Rings,
    /// Their channel.
    channel: &'a Channel,
    /// The ring to the host.
    writer: Guard<'a, Writer<Ring>, IrqLockBackend>,
}

impl Batch<'_> {
    /// Adds a packet.
    ///
    /// # Errors
    ///
    /// See [`SendError`]; the packet is not added.
    pub fn add(&mut self, packet: &OutgoingPacket<'_>) -> Result<(), SendError> {
        self.try_to(|writer| writer.stage(packet))
    }

    /// Adds a packet that was made as a whole, see [`Writer::stage_whole`].
    ///
    /// # Errors
    ///
    /// As [`Batch::add`].
    #[inline]
    pub fn add_whole(&mut self, packet: &mut [u64]) -> Result<(), SendError> {
        self.try_to(|writer| writer.stage_whole(packet))
    }

    /// Does something for which there may be no room yet.
    #[inline]
    fn try_to(
        &mut self,
        mut stage: impl FnMut(&mut Writer<Ring>) -> Result<(), WriteError>,
    ) -> Result<(), SendError> {
        if !self.rings.is_usable(self.channel) {
            return Err(SendError::Dead);
        }
        while let Err(error) = stage(&mut self.writer) {
            self.rings
                .make_room(self.channel, &mut self.writer, error)?;
        }
        Ok(())
    }

    /// Lets the host see all that was added, be it before.
    #[inline]
    pub fn publish(mut self) {
        let signal = self.writer.publish();
        let Self { rings, channel, .. } = self;
        drop(self);
        // The number of a channel that is gone may be another's.
        if signal == Signal::Needed && rings.is_usable(channel) {
            channel.counters().out_empty.increment();
            channel.signal_host();
        }
    }
}

/// A channel that a driver has and that is not open. It goes back when this is dropped.
pub struct ClosedChannel(Arc<Channel>);

impl ClosedChannel {
    /// Takes a channel for a driver: its device's own, or a sub-channel.
    ///
    /// # Errors
    ///
    /// `EBUSY` if it is taken, `ENODEV` if the host withdrew it.
    pub fn take(channel: &Arc<Channel>) -> Result<Self> {
        channel.take()?;
        Ok(Self(channel.clone()))
    }

    /// The channel.
    #[must_use]
    pub fn channel(&self) -> &Arc<Channel> {
        &self.0
    }

    /// What sends on the channel once it is open, for a handler, which is there before the open channel is.
    #[must_use]
    pub fn sender(&self) -> Sender {
        Sender(self.0.clone())
    }

    /// Opens the channel: from then on `handler` gets what comes in. Process context.
    ///
    /// # Errors
    ///
    /// - `EINVAL` for rings that cannot be.
    /// - `ENODEV` if the host withdrew the channel, `EIO` if it refuses, `ETIMEDOUT` if it does not answer.
    /// - `ENOMEM`.
    pub fn open(self, options: &OpenOptions, handler: Arc<dyn Handler>) -> Result<OpenChannel> {
        let count = options
            .out_pages
            .checked_add(options.in_pages)
            .ok_or(EINVAL)?;
        let pages = SharedPages::new(count, self.0.target_cpu())?;
        self.open_in(Arc::new(pages, GFP_KERNEL)?, options, false, handler)
    }

    /// Opens the channel for others, such as a program, who read and write the rings: the first half of `pages` is the one
    /// to the host. `handler` is told of signals and of the rescind only. Process context.
    ///
    /// # Errors
    ///
    /// Those of [`Self::open`].
    pub fn open_external(
        self,
        pages: &Arc<SharedPages>,
        handler: Arc<dyn Handler>,
    ) -> Result<ExternalChannel> {
        let half = pages.count() / 2;
        // What is left of the last time would be found invalid.
        pages.clear(0, HV_PAGE_SIZE).ok_or(EINVAL)?;
        pages
            .clear(half.saturating_mul(HV_PAGE_SIZE), HV_PAGE_SIZE)
            .ok_or(EINVAL)?;
        let options = OpenOptions {
            out_pages: half,
            in_pages: half,
            max_packet: 0,
            user_data: [0; 120],
        };
        self.open_in(pages.clone(), &options, true, handler)
            .map(ExternalChannel)
    }

    /// Opens the channel with rings in `pages`.
    fn open_in(
        self,
        pages: Arc<SharedPages>,
        options: &OpenOptions,
        external: bool,
        handler: Arc<dyn Handler>,
    ) -> Result<OpenChannel> {
        let channel = self.0.clone();
        let rings = Rings::new(&pages, options, external, handler)?;
        let relid = channel.offer().relid;
        let params = OpenParams {
            ring: channel.connection.lend(relid, pages)?,
            target_vp: 0,
            downstream_page_offset: u32::try_from(options.out_pages).map_err(|_| EINVAL)?,
            user_data: options.user_data,
        };
        // From here on dropping this undoes everything.
        let open = OpenChannel {
            closed: self,
            rings: rings.clone(),
            ring: params.ring,
        };
        // The host may send before its answer is here.
        let rings = KBox::new(rings, GFP_KERNEL)?;
        // A CPU that goes offline sees the channel closed, and chooses another one for it; or with its rings, and then stays,
        // since what is not open yet cannot be moved. So the host may take its time with hotplug going on.
        let no_hotplug = HotplugLock::new();
        channel.leave_offline_cpu();
        let target_vp = channel.target_vp();
        drop(channel.rings.replace(Some(rings)));
        drop(no_hotplug);
        let params = OpenParams {
            target_vp,
            ..params
        };
        let answer = channel
            .connection
            .ask(|client| Ok((Request::Open(relid), client.open(relid, &params)?)));
        answer.and_then(|answer| answer.ok())?;
        Ok(open)
    }
}

impl Drop for ClosedChannel {
    fn drop(&mut self) {
        self.0.put();
    }
}

/// Sends on a channel for as long as it is open.
#[derive(Clone)]
pub struct Sender(Arc<Channel>);

impl Sender {
    /// Sends one packet. Any context.
    ///
    /// # Errors
    ///
    /// See [`SendError`].
    pub fn send(&self, packet: &OutgoingPacket<'_>) -> Result<(), SendError> {
        self.0
            .rings
            .with(|rings| rings.send(&self.0, packet))
            .ok_or(SendError::Dead)?
    }
}

/// An open channel. Dropping it closes it.
pub struct OpenChannel {
    /// The channel, for when it is closed.
    closed: ClosedChannel,
    /// Its rings.
    rings: Arc<Rings>,
    /// The name of their memory.
    ring: GpadlId,
}

impl OpenChannel {
    /// Sends one packet. Any context.
    ///
    /// # Errors
    ///
    /// See [`SendError`].
    pub fn send(&self, packet: &OutgoingPacket<'_>) -> Result<(), SendError> {
        self.rings.send(&self.closed.0, packet)
    }

    /// Packets that are to be sent together. Any context.
    #[inline]
    pub fn batch(&self) -> Batch<'_> {
        self.rings.batch(&self.closed.0)
    }

    /// Takes packets that have come, without waiting for an event. Process or softirq context.
    pub fn poll(&self) {
        // As in the softirq that does this else: it must not come in between.
        let _off = SoftirqsOff::new();
        if self.rings.receive(&self.closed.0) == Received::More {
            self.closed.0.schedule_receive();
        }
    }

    /// Lends pages to the host, for data that packets only point to. Process context.
    ///
    /// # Errors
    ///
    /// `EINVAL` for more than 8190 pages; `ENODEV`, `EIO`, `ETIMEDOUT`, `ENOMEM`.
    pub fn lend(&self, pages: Arc<SharedPages>) -> Result<Lent> {
        let channel = self.closed.0.clone();
        let gpadl = channel.connection.lend(channel.offer().relid, pages)?;
        Ok(Lent { channel, gpadl })
    }

    /// Closes the channel, and waits up to `timeout_ms` for the host to confirm that; whether it has. From then on it uses
    /// neither the rings nor any memory that packets on the channel pointed to. A rescind, or the end of the connection, is
    /// as good. Process context.
    ///
    /// When this returns, no handler is called any more, and nothing can be sent. If the host has not confirmed, call this
    /// again: that tells whether it has meanwhile, and asks again only where it could not be asked.
    pub fn shut(&self, timeout_ms: u32) -> bool {
        let channel = &self.closed.0;
        // Packets are taken in a read-side section, which is over when this returns.
        drop(channel.rings.replace(None));
        self.rings.broken.store(true, Relaxed);
        let relid = channel.offer().relid;
        channel.connection.close(relid, self.ring, timeout_ms)
    }
}

impl Drop for OpenChannel {
    fn drop(&mut self) {
        self.shut(ANSWER_TIMEOUT_MS);
    }
}

/// An open channel whose rings others read and write. Dropping it closes it.
pub struct ExternalChannel(OpenChannel);

impl ExternalChannel {
    /// Says whether the host is to signal new packets, and if so has it look for those to it. Any context.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the channel is gone.
    pub fn set_signals(&self, wanted: bool) -> Result {
        let channel = &self.0.closed.0;
        if channel.is_gone() {
            return Err(ENODEV);
        }
        let ring = &self.0.rings.in_ring;
        ring.store(Control::InterruptMask, u32::from(!wanted));
        if wanted {
            // The host must not find the mask set after this signal has made it look.
            ring.full_fence();
            channel.signal_host();
        }
        Ok(())
    }
}

/// Pages in the hands of the host. Dropping this takes them back. Process context.
pub struct Lent {
    /// The channel.
    channel: Arc<Channel>,
    /// The name of the memory.
    gpadl: GpadlId,
}

impl Lent {
    /// The number by which packets name the memory.
    #[must_use]
    pub fn gpadl(&self) -> u32 {
        self.gpadl.0
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // The pages stay allocated for as long as the host does not give them back.
        let relid = self.channel.offer().relid;
        let connection = &self.channel.connection;
        let _ = connection.reclaim(relid, self.gpadl, ANSWER_TIMEOUT_MS);
    }
}
