// SPDX-License-Identifier: GPL-2.0

//! A controller: its channels, the commands that the host has, and what happens to both.

use self::closing::{LOSS, SILENCE};
use crate::events::{Event, Events};
use crate::link::{Link, Private, Room};
use crate::moduleparam;
use crate::request::Requests;
use crate::scsi::{self, Limits, LunSettings, Luns};
use crate::scsi_cmnd::{Asked, Command, Ending, InFlight, Rejected, Tag};
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use hv_core::compat::eproto;
use hv_core::{ratelimited, synchronize_rcu, Cpu, RcuSlot};
use kernel::device::Core;
use kernel::prelude::*;
use kernel::sync::{new_mutex, rcu, Arc, Mutex, SetOnce};
use kernel::time::delay::fsleep;
use kernel::time::{ClockSource, Delta, Monotonic};
use kernel::workqueue::{impl_has_work, new_work, system_long, Work, WorkItem};
use storvsc_proto::lun::{IDE_LUNS, LUNS, PATHS, TARGETS};
use storvsc_proto::recovery::LOOK_MS;
use storvsc_proto::sizing::{self, Place};
use storvsc_proto::{
    completion, create_sub_channels, succeeded, Action, Address, DataDirection, Deadline,
    Handshake, Late, Log, Packet, Progress, QueueAction, Reset, ScsiStatus, Sent, Srb, SrbFlags,
    Step, Version, Wishes, SENSE_SIZE, SRB_SIZE,
};
use vmbus::{Channel, Device, Guid, OwnQueue, Reply, SendError};
use zerocopy::{FromZeros, IntoBytes};

/// How long the host may take for a step of the handshake, or for a reset if nobody has said, in milliseconds. Azure has
/// been seen to take minutes.
const ANSWER_MS: u32 = 180_000;

/// How long the host may take to offer the sub-channels that it has promised, in milliseconds.
const OFFERS_MS: u32 = 10_000;

/// How long the mid-layer waits before it asks what to do, in milliseconds (`storvsc_timeout`).
const COMMAND_MS: u32 = 180_000;

/// What the host is told that a command may take, in seconds.
const HOST_TIMEOUT_S: u32 = 60;

/// The work item that follows what happens to LUNs.
const EVENTS: u64 = 0;

/// Logs a line about a controller.
macro_rules! say {
    ($log:ident, $controller:expr, $format:literal $(, $argument:expr)*) => {
        $log!("{}\n", format_args!(concat!("{}: ", $format), $controller.instance $(, $argument)*))
    };
}

// Behind the macro, which it uses.
mod closing;

/// What kind of controller it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A SCSI controller.
    Scsi,
    /// The faster way to one disk that an emulated IDE controller has too.
    Ide,
}

/// A channel's place, and which channel a queue's commands go to.
struct Route {
    /// The channel with this number, while it is open.
    link: RcuSlot<Link>,
    /// Whether the host has withdrawn the channel.
    lost: AtomicBool,
}

/// What the handshake and the sub-channels came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Agreed {
    /// The version of the protocol.
    pub(crate) version: Version,
    /// The most bytes of a transfer.
    pub(crate) max_transfer_bytes: u32,
    /// How many channels there are, at least 1.
    pub(crate) channels: u32,
}

/// A controller.
#[pin_data]
pub(crate) struct Controller {
    /// What kind it is.
    pub(crate) kind: Kind,
    /// The name of its device.
    instance: Guid,
    /// Pages of each ring.
    pub(crate) ring_pages: usize,
    /// Commands of each queue.
    pub(crate) depth: u32,
    /// Queues that are polled.
    polled: u32,
    /// The channels.
    routes: KVec<Route>,
    /// The number of the channel that the queue with this number uses: its own, or the first if that is gone. Those that
    /// are polled, which come behind the others, use the first channels once more.
    queues: KVec<AtomicU32>,
    /// The commands that the host has.
    pub(crate) in_flight: InFlight<Self>,
    /// What was agreed on.
    pub(crate) agreed: SetOnce<Agreed>,
    /// The LUNs.
    luns: SetOnce<Luns>,
    /// Whether no more commands can be sent.
    dead: AtomicBool,
    /// Whether events are not followed any more.
    stopping: AtomicBool,
    /// Commands that were waited for longer than the mid-layer would.
    pub(crate) late: AtomicU64,
    /// A sub-channel came.
    came: Arc<Reply<()>>,
    /// The mid-layer's host is gone.
    removed: Arc<Reply<()>>,
    /// Requests of the driver's own.
    #[pin]
    pub(crate) requests: Requests,
    /// What is to be done about LUNs.
    #[pin]
    events: Events,
    /// The channels that were closed while the host had commands of theirs, by number, until it has confirmed that.
    #[pin]
    closing: Mutex<KVec<Option<KBox<Link>>>>,
    /// Follows what happens to LUNs.
    #[pin]
    events_work: Work<Self, EVENTS>,
    /// Closes lost channels.
    #[pin]
    loss_work: Work<Self, LOSS>,
    /// Waits for the host's answers.
    #[pin]
    silence_work: Work<Self, SILENCE>,
    /// Where that happens, since it may be what others wait for to get memory. Nobody drops a controller in an item of it:
    /// [`Self::flush`] comes first.
    workers: OwnQueue,
}

impl_has_work! {
    impl HasWork<Self, 0> for Controller { self.events_work }
    impl HasWork<Self, 1> for Controller { self.loss_work }
    impl HasWork<Self, 2> for Controller { self.silence_work }
}

impl WorkItem<EVENTS> for Controller {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let Some(luns) = this.luns.as_ref() else {
            return;
        };
        while !this.stopping.load(Relaxed) {
            match this.events.next() {
                Some(Event::Lun(Action::Remove, address)) => luns.remove(address),
                Some(Event::Lun(Action::Rescan, address)) => luns.rescan(address),
                Some(Event::Scan) => {
                    // A LUN that has gone answers so, and is removed for it.
                    luns.test_all();
                    this.scan(luns);
                }
                None => return,
            }
        }
    }
}

/// The time, in milliseconds.
fn now_ms() -> u64 {
    u64::try_from(Monotonic::ktime_get() / 1_000_000).unwrap_or(0)
}

impl Controller {
    /// A controller without channels. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(kind: Kind, instance: Guid) -> Result<Arc<Self>> {
        let ring_pages = sizing::ring_pages(moduleparam::ring_bytes());
        let depth = sizing::queue_depth(ring_pages);
        let others = match kind {
            Kind::Scsi => {
                let cpus = Cpu::possible().filter(|cpu| cpu.online()).count();
                let limit = moduleparam::max_channels().map_or(u16::MAX, |limit| {
                    u16::try_from(limit.saturating_sub(1)).unwrap_or(u16::MAX)
                });
                sizing::sub_channels(limit, cpus, moduleparam::cpus_per_channel())
            }
            Kind::Ide => 0,
        };
        let channels = usize::from(others) + 1;
        let polled = moduleparam::poll_queues().min(u32::from(others) + 1);
        let mut routes = KVec::with_capacity(channels, GFP_KERNEL)?;
        for _ in 0..channels {
            let route = Route {
                link: RcuSlot::new(),
                lost: AtomicBool::new(false),
            };
            routes.push(route, GFP_KERNEL)?;
        }
        let mut closing = KVec::with_capacity(channels, GFP_KERNEL)?;
        for _ in 0..channels {
            closing.push(None, GFP_KERNEL)?;
        }
        let mut queues = KVec::new();
        for _ in 0..channels + polled as usize {
            queues.push(AtomicU32::new(0), GFP_KERNEL)?;
        }
        let in_flight = InFlight::new(queues.len(), depth as usize)?;
        let came = Reply::new()?;
        let removed = Reply::new()?;
        let workers = OwnQueue::with_rescuer(c"storvsc")?;
        Arc::pin_init(
            pin_init!(Self {
                kind,
                instance,
                ring_pages,
                depth,
                polled,
                routes,
                queues,
                in_flight,
                agreed: SetOnce::new(),
                luns: SetOnce::new(),
                dead: AtomicBool::new(false),
                stopping: AtomicBool::new(false),
                late: AtomicU64::new(0),
                came,
                removed,
                requests <- Requests::new(),
                events <- Events::new(),
                closing <- new_mutex!(closing),
                events_work <- new_work!("storvsc/events"),
                loss_work <- new_work!("storvsc/loss"),
                silence_work <- new_work!("storvsc/silence"),
                workers,
            }),
            GFP_KERNEL,
        )
    }

    /// Opens the channels and agrees with the host on how to use them. Process context.
    ///
    /// # Errors
    ///
    /// - `ENODEV` if the host withdraws the device, `ETIMEDOUT` if it does not answer, `EPROTO` if it makes no sense.
    /// - `ENOMEM`.
    pub(crate) fn connect(self: &Arc<Self>, device: &Device<Core<'_>>) -> Result {
        self.open(device.channel(), 0)?;
        let agreed = self.handshake()?;
        let max_transfer_bytes =
            sizing::max_transfer_bytes(agreed.max_transfer_bytes, self.ring_pages);
        let mut channels = 1;
        for channel in &self.widen(device, agreed.max_sub_channels)? {
            match self.open(channel, channels) {
                Ok(()) => channels += 1,
                Err(error) => {
                    let relid = channel.offer().relid.get();
                    say!(
                        pr_warn,
                        self,
                        "sub-channel {} is not used: {:?}",
                        relid,
                        error
                    );
                }
            }
        }
        let pages = sizing::max_pages(max_transfer_bytes);
        for route in self.routes.iter().take(channels.into()) {
            // It stays here, where memory may be freed, if the channel has just gone.
            let mut room = Some(Room::new(pages)?);
            let furnish = |link: &Link| room.take().map(|room| link.furnish(room));
            let _ = route.link.with(furnish);
        }
        for (queue, channel) in self.queues.iter().zip((0..u32::from(channels)).cycle()) {
            queue.store(channel, SeqCst);
        }
        // Those that the host has withdrawn before they had their place, or a queue.
        self.close_lost();
        self.agreed.populate(Agreed {
            version: agreed.version,
            max_transfer_bytes,
            channels: channels.into(),
        });
        Ok(())
    }

    /// Opens a channel as the one with this number.
    fn open(self: &Arc<Self>, channel: &Arc<Channel>, index: u16) -> Result {
        let route = self.routes.get(usize::from(index)).ok_or(EINVAL)?;
        // It may be set of a channel that was to have this number, and went before it was open.
        route.lost.store(false, SeqCst);
        let link = Link::open(channel, self, index, self.ring_pages)?;
        drop(route.link.replace(Some(link)));
        Ok(())
    }

    /// Agrees with the host on how to speak.
    fn handshake(&self) -> Result<storvsc_proto::Controller> {
        let wishes = Wishes {
            max_version: Version::V6_2,
            fibre_channel: false,
        };
        let (mut handshake, mut packet) = Handshake::new(wishes).ok_or(EINVAL)?;
        loop {
            let answer = self.ask(&packet, ANSWER_MS)?;
            match handshake.answered(answer.as_bytes()) {
                Ok(Step::Send(next)) => packet = next,
                Ok(Step::Ready(agreed)) => return Ok(agreed),
                Err(error) => {
                    say!(pr_err, self, "the handshake failed: {:?}", error);
                    return Err(eproto());
                }
            }
        }
    }

    /// Asks for sub-channels, and returns those that the host has offered.
    fn widen(&self, device: &Device<Core<'_>>, granted: u16) -> Result<KVec<Arc<Channel>>> {
        let wanted = u16::try_from(self.routes.len() - 1).unwrap_or(u16::MAX);
        let count = granted.min(wanted);
        if count == 0 {
            return Ok(KVec::new());
        }
        // Those of an earlier driver, which the host withdraws with the first channel's close, and maybe has not yet.
        let old = Self::offered(device, &[])?;
        let answer = self.ask(&create_sub_channels(count), ANSWER_MS)?;
        if !answer.is_success() {
            let status = answer.status();
            say!(pr_warn, self, "no sub-channels: {:?}", status);
            return Ok(KVec::new());
        }
        self.sub_channels(device, &old, count.into())
    }

    /// The sub-channels that the host has offered, but for those that are `old`.
    fn offered(device: &Device<Core<'_>>, old: &[Arc<Channel>]) -> Result<KVec<Arc<Channel>>> {
        let mut channels = KVec::new();
        device.for_each_channel(|channel| {
            let known = old.iter().any(|old| Arc::ptr_eq(old, channel));
            if !channel.is_primary() && !channel.is_gone() && !known {
                channels.push(channel.clone(), GFP_KERNEL)?;
            }
            Ok(())
        })?;
        Ok(channels)
    }

    /// Waits until the host has offered so many sub-channels that are not `old`, and returns those that it has.
    fn sub_channels(
        &self,
        device: &Device<Core<'_>>,
        old: &[Arc<Channel>],
        count: usize,
    ) -> Result<KVec<Arc<Channel>>> {
        let deadline = Deadline::after(OFFERS_MS, now_ms());
        loop {
            let mut channels = Self::offered(device, old)?;
            channels.truncate(count);
            let late = deadline.left_ms(now_ms()) == 0;
            if late && channels.len() < count {
                let offered = channels.len();
                say!(
                    pr_warn,
                    self,
                    "the host offers {} sub-channels of {}",
                    offered,
                    count
                );
            }
            if late || channels.len() == count || self.is_dead() {
                return Ok(channels);
            }
            // An earlier channel may have left a signal, so this may return early.
            let _ = self.came.wait(1000);
        }
    }

    /// A sub-channel came. Any context.
    pub(crate) fn sub_channel_came(&self) {
        self.came.complete(());
    }

    /// Makes a request of the driver's own on the first channel.
    fn ask(&self, packet: &Packet, timeout_ms: u32) -> Result<Packet> {
        self.requests.ask(timeout_ms, |id| {
            self.routes
                .first()
                .filter(|_| !self.dead.load(Relaxed))
                .and_then(|route| route.link.with(|link| link.request(id, packet)))
                .unwrap_or(Err(SendError::Dead))
        })
    }

    /// Whether no more commands can be sent. Any context.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Relaxed)
    }

    /// The limits of the mid-layer's host.
    pub(crate) fn limits(&self) -> Result<Limits> {
        let agreed = self.agreed.as_ref().ok_or(ENODEV)?;
        let (paths, targets, luns) = match self.kind {
            Kind::Scsi => (PATHS, TARGETS, LUNS),
            Kind::Ide => (1, 1, IDE_LUNS),
        };
        Ok(Limits {
            queue_depth: self.depth,
            lun_depth: sizing::lun_depth(self.depth, agreed.channels),
            max_transfer_bytes: agreed.max_transfer_bytes,
            max_pages: sizing::max_pages(agreed.max_transfer_bytes),
            paths,
            targets,
            luns,
        })
    }

    /// The mid-layer knows the controller: LUNs can be looked for.
    pub(crate) fn found(self: &Arc<Self>, luns: Luns) {
        self.luns.populate(luns);
        self.note(Event::Scan);
    }

    /// Looks for LUNs.
    fn scan(&self, luns: &Luns) {
        match self.kind {
            Kind::Scsi => luns.scan(),
            Kind::Ide => {
                // The disk's place is in the name of the device: a target, of which the protocol has 256.
                let name = self.instance.to_bytes();
                let disk = Address {
                    path: 0,
                    target: name[4],
                    lun: 0,
                };
                let added = match name[5] {
                    0 => luns.add(disk),
                    _ => Err(EINVAL),
                };
                if let Err(error) = added {
                    say!(pr_err, self, "no disk at {}: {:?}", disk, error);
                }
            }
        }
    }

    /// Notes what happened to a LUN, to be followed soon. Any context.
    pub(crate) fn note(self: &Arc<Self>, event: Event) {
        self.events.note(event);
        self.follow_events();
    }

    /// Has events followed. Any context.
    fn follow_events(self: &Arc<Self>) {
        // Already queued is as good.
        let _ = system_long().enqueue::<Arc<Self>, EVENTS>(self.clone());
    }

    /// Calls `function` with each channel that is open, in the order of their numbers.
    pub(crate) fn for_each_link(&self, mut function: impl FnMut(usize, &Link)) {
        for (index, route) in self.routes.iter().enumerate() {
            let _ = route.link.with(|link| function(index, link));
        }
    }

    /// The channel of a queue, which is `None` if nothing can be sent.
    #[inline]
    fn link<'a>(&'a self, section: &'a rcu::Guard, queue: usize) -> Option<&'a Link> {
        if self.dead.load(Relaxed) {
            return None;
        }
        let to = self.queues.get(queue)?.load(Relaxed);
        let link = self.routes.get(to as usize)?.link.get(section)?;
        Some(link)
    }

    /// The packet of a command; `None` if the protocol has no such.
    #[inline]
    pub(crate) fn packet(command: &Asked<'_>, lun: Address) -> Option<Packet> {
        let direction = command.direction()?;
        let (cdb, cdb_length) = command.cdb()?;
        let mut flags = SrbFlags::DISABLE_SYNCH_TRANSFER;
        match direction {
            DataDirection::READ => flags |= SrbFlags::DATA_IN,
            DataDirection::WRITE => flags |= SrbFlags::DATA_OUT,
            _ => {}
        }
        let Address { path, target, lun } = lun;
        let mut srb = Srb {
            length: SRB_SIZE.into(),
            path_id: path,
            target_id: target,
            lun,
            cdb_length,
            sense_info_length: SENSE_SIZE as u8,
            data_in: direction.0,
            data_transfer_length: command.length().into(),
            time_out_value: HOST_TIMEOUT_S.into(),
            ..Srb::new_zeroed()
        };
        if command.tagged() {
            flags |= SrbFlags::QUEUE_ACTION_ENABLE | SrbFlags::NO_QUEUE_FREEZE;
            srb.queue_tag = u8::MAX;
            srb.queue_action = QueueAction::SIMPLE_TAG.0;
        }
        srb.srb_flags = flags.bits().into();
        *srb.cdb_or_sense.first_chunk_mut()? = cdb;
        Some(Packet::execute(srb))
    }

    /// Ends a command as the host says. Softirq.
    #[inline]
    pub(crate) fn complete(self: &Arc<Self>, command: Command<Self>, answer: &Srb) {
        match succeeded(command.asked().length(), answer) {
            Some(residual) => command.complete(&Ending::success(residual)),
            None => self.sort_out(command, answer),
        }
    }

    /// Ends a command that did not simply succeed.
    #[cold]
    fn sort_out(self: &Arc<Self>, command: Command<Self>, answer: &Srb) {
        let sent = Sent {
            opcode: command.asked().opcode(),
            length: command.asked().length(),
            fibre_channel: false,
        };
        let done = completion(sent, answer);
        if done.log != Log::Nothing {
            self.log(&command, answer, done.log);
        }
        if let Some(action) = done.action {
            self.note(Event::Lun(action, command.address()));
        }
        if command.timed_out() {
            return command.lapse();
        }
        command.complete(&Ending {
            host: done.host.0,
            status: done.scsi.0,
            sense: done.sense.unwrap_or_default(),
            residual: done.residual,
        });
    }

    /// Says that a command failed.
    fn log(&self, command: &Command<Self>, answer: &Srb, level: Log) {
        if moduleparam::logs(level) {
            ratelimited!(
                pr_warn,
                "{}\n",
                format_args!(
                    "{} {}: command {:#04x} ended with SCSI {:?}, SRB {:?}",
                    self.instance,
                    command.address(),
                    command.asked().opcode(),
                    ScsiStatus(answer.scsi_status),
                    answer.status()
                )
            );
        }
    }
}

impl scsi::Driver for Controller {
    type Private = Private;

    #[inline]
    fn queue(
        &self,
        section: &rcu::Guard,
        command: Command<Self>,
        last: bool,
    ) -> Result<(), Rejected> {
        let lun = command.address();
        let tag = command.tag();
        let Some(link) = self.link(section, tag.queue) else {
            if self.is_dead() {
                // The command is dropped, and so ends.
                return Ok(());
            }
            // The sub-channel has just gone: the command soon finds the first channel in its place.
            return Err(command.reject());
        };
        link.submit(&self.in_flight, command, tag, lun, last)
    }

    fn commit(&self, queue: usize) {
        let section = rcu::read_lock();
        if let Some(link) = self.link(&section, queue) {
            link.publish();
        }
    }

    fn poll(&self, queue: usize) -> usize {
        let section = rcu::read_lock();
        self.link(&section, queue).map_or(0, Link::poll)
    }

    #[inline]
    fn queues(&self) -> [u32; 2] {
        let channels = self.agreed.as_ref().map_or(1, |agreed| agreed.channels);
        [channels, self.polled.min(channels)]
    }

    fn queue_of(&self, cpu: Cpu) -> u32 {
        let place = |cpu: Cpu| Place {
            cpu: cpu.number(),
            node: cpu.node(),
        };
        let channels = self
            .routes
            .iter()
            .filter_map(|route| route.link.with(|link| place(link.channel().target_cpu())));
        let queue = sizing::channel_of(place(cpu), channels);
        u32::try_from(queue).unwrap_or(0)
    }

    fn late(self: &Arc<Self>, address: Address, tag: Tag) -> Late {
        let leaving = self.stopping.load(Relaxed);
        // The host may just have answered it.
        let age_ms = self.in_flight.age_ms(tag).unwrap_or(0);
        let late = Late::of(age_ms, moduleparam::io_timeout_ms(), leaving);
        self.late.fetch_add(1, Relaxed);
        // The mid-layer may have ended the command that it was to be sent with.
        self.for_each_link(|_, link| link.publish());
        let what = match late {
            Late::Wait => "it is waited for",
            Late::Reset => "it is ended by a reset",
            Late::Close => "it is not waited for, since the controller is removed",
        };
        ratelimited!(
            pr_warn,
            "{}\n",
            format_args!(
                "{} {}: a command takes long; {}",
                self.instance, address, what
            )
        );
        if late == Late::Close {
            self.broken();
        }
        late
    }

    fn reset(&self, lun: Option<Address>) -> Result {
        let timeout = moduleparam::io_timeout_ms().unwrap_or(ANSWER_MS);
        match lun {
            Some(lun) => say!(pr_warn, self, "{}: reset", lun),
            None => say!(pr_warn, self, "reset"),
        }
        let answer = self.ask(&Reset::request(lun), timeout)?;
        let mut reset = Reset::answered(&answer, timeout).ok_or(EIO)?;
        loop {
            match reset.progress(self.in_flight.busy(lun), self.dead.load(Relaxed)) {
                Progress::Look => fsleep(Delta::from_millis(LOOK_MS.into())),
                Progress::Done => break,
                Progress::Failed => return Err(ETIMEDOUT),
            }
        }
        // Who took a command out of the table may still be about to end it: answers are taken in a read-side section, and
        // all else under this lock.
        drop(self.closing.lock());
        synchronize_rcu();
        if self.is_dead() {
            return Err(ENODEV);
        }
        Ok(())
    }

    fn give_up(&self) {
        say!(pr_err, self, "resets do not help; given up");
        self.close();
        if let Some(luns) = self.luns.as_ref().filter(|_| self.kept() != 0) {
            // The mid-layer does so only when this returns.
            luns.take_offline();
        }
        self.settle();
    }

    fn settings(&self, vendor: &[u8]) -> LunSettings {
        let version = self.agreed.as_ref().map(|agreed| agreed.version);
        let ours = vendor.starts_with(b"Msft");
        LunSettings {
            timeout_ms: moduleparam::io_timeout_ms().unwrap_or(COMMAND_MS),
            spc_3: ours && version == Some(Version::V6_0),
            write_same: ours && version >= Some(Version::V6_2),
        }
    }
}
