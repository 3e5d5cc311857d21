// SPDX-License-Identifier: GPL-2.0

//! The connection to the host: from contact to unload, and the messages in between.

use crate::acpi::AcpiDevice;
use crate::affinity::Affinity;
use crate::bus::Bus;
use crate::channel::{Channel, Channels};
use crate::enumeration::Enumeration;
use crate::mshyperv::Handlers;
use crate::request::{post, post_once, request_errno, Answer, State, ANSWER_TIMEOUT_MS};
use crate::workqueue::OwnQueue;
use crate::{delay, moduleparam};
use hv_core::compat::{enotconn, eprotonosupport};
use hv_core::{
    partition, ratelimited, Cpu, Delivery, HostPage, InterruptHandler, IrqLock, MessageCopy, NoIo,
    Partition, PostError,
};
use hvdef::synic::Message;
use kernel::prelude::*;
use kernel::sync::atomic::{Acquire, Atomic, Full, Relaxed, Release};
use kernel::sync::{rcu, Arc, Mutex};
use kernel::workqueue::{impl_has_work, new_work, Work, WorkItem};
use vmbus_proto::{
    is_unload_response, unload_message, Class, Contact, Event, Inbox, InboxFull, Outgoing, Relid,
    Request, Version,
};

/// How many messages can wait for the worker. More stay in the SynIC's slot and with the hypervisor.
const INBOX_SIZE: usize = 64;

/// The connection to the host.
#[pin_data]
pub(crate) struct Connection {
    /// The protocol client and its requests.
    #[pin]
    pub(crate) state: Mutex<State>,
    /// Which CPU has how many channels.
    #[pin]
    pub(crate) affinity: Mutex<Affinity>,
    /// The channels that are offered.
    pub(crate) channels: Channels,
    /// Makes devices of channels, in order.
    pub(crate) enumeration: Arc<Enumeration>,
    /// The CPU that receives messages.
    pub(crate) connect_cpu: Cpu,
    /// The upper half signals the host.
    interrupt_page: HostPage,
    /// From host to guest, and from guest to host.
    pub(crate) monitor_pages: [HostPage; 2],
    /// Messages that wait for the worker.
    #[pin]
    inbox: IrqLock<Inbox<KVVec<MessageCopy>, Cpu>>,
    /// The worker.
    #[pin]
    worker: Work<Self>,
    /// The connection for messages, for the time after a panic; 0 while there is no connection.
    pub(crate) message_connection: Atomic<u32>,
    /// Messages that broke the protocol.
    protocol_errors: Atomic<u64>,
    /// Whether the host may use our pages: from the first proposal until it has refused all, or confirmed the end.
    lent: Atomic<bool>,
    /// Whether the host has confirmed the end.
    unloaded: Atomic<bool>,
    /// Whether the connection is being taken down, so that offers are of no interest any more.
    closing: Atomic<bool>,
    /// Where messages are worked on, which may say that a disk is gone.
    messenger: OwnQueue,
    /// Where devices come and go.
    pub(crate) workers: Arc<OwnQueue>,
}

impl_has_work! {
    impl HasWork<Self> for Connection { self.worker }
}

impl WorkItem for Connection {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        // A disk may wait for this.
        let _no_io = NoIo::new();
        loop {
            let Some((message, stalled)) = this.inbox.lock().pop() else {
                return;
            };
            if let Some(cpu) = stalled {
                // A CPU that is gone keeps its message; the connecting CPU, which gets all of them, cannot go.
                let _ = partition().map(|partition| partition.synic().resume(cpu));
            }
            this.handle_message(&message);
        }
    }
}

impl InterruptHandler for Handle {
    fn message(&self, cpu: Cpu, message: &MessageCopy) -> Delivery {
        // After a panic no worker will look at it.
        if is_answer_to_unload(message) {
            self.0.unloaded.store(true, Release);
        }
        let pushed = self.0.inbox.lock().push(cpu, message);
        let _ = self.0.messenger.enqueue(self.0.clone());
        match pushed {
            Ok(()) => Delivery::Taken,
            Err(InboxFull) => Delivery::Busy,
        }
    }

    fn event(&self, flag: u32, section: &rcu::Guard) {
        self.0.channels.event(flag, section);
    }

    fn offline(&self, cpu: Cpu) -> Result {
        self.0.retarget_from(cpu)
    }
}

/// What the SynIC calls.
struct Handle(Arc<Connection>);

impl Connection {
    /// Allocates what a connection needs. Process context.
    fn new(
        enumeration: Arc<Enumeration>,
        workers: Arc<OwnQueue>,
        connect_cpu: Cpu,
    ) -> Result<Arc<Self>> {
        let slots = KVVec::from_elem([0; size_of::<MessageCopy>()], INBOX_SIZE, GFP_KERNEL)?;
        Arc::pin_init(
            try_pin_init!(Self {
                state <- kernel::new_mutex!(State::new()),
                affinity <- kernel::new_mutex!(Affinity::new()?),
                channels: Channels::new()?,
                enumeration,
                connect_cpu,
                interrupt_page: HostPage::new()?,
                monitor_pages: [HostPage::new()?, HostPage::new()?],
                inbox <- hv_core::new_irq_lock!(Inbox::new(slots)),
                worker <- new_work!("viridian/messages"),
                message_connection: Atomic::new(0),
                protocol_errors: Atomic::new(0),
                lent: Atomic::new(false),
                unloaded: Atomic::new(false),
                closing: Atomic::new(false),
                messenger: OwnQueue::with_rescuer(c"viridian-messages")?,
                workers,
            }? Error),
            GFP_KERNEL,
        )
    }

    /// Signals the host through the interrupt page, if the channel is not one with an interrupt of its own.
    pub(crate) fn set_interrupt_bit(&self, relid: usize) {
        /// Bits in the lower half, where hosts before 5.0 signal the guest.
        const UPPER_HALF: usize = hv_core::HV_PAGE_SIZE * 8 / 2;
        self.interrupt_page
            .set_bit(UPPER_HALF.saturating_add(relid));
    }

    /// Makes contact, and returns the version agreed on. Process context.
    fn contact(&self, partition: &Partition, max_version: Version) -> Result<Version> {
        let target_vp = partition.synic().vp_index(self.connect_cpu).ok_or(ENODEV)?;
        let contact = Contact {
            max_version,
            target_vp,
            interrupt_page: self.interrupt_page.physical_address(),
            parent_to_child_monitor_page: self.monitor_pages[0].physical_address(),
            child_to_parent_monitor_page: self.monitor_pages[1].physical_address(),
        };
        match self.ask_contact(contact)? {
            Answer::Version(version) => Ok(version),
            Answer::NotPosted(error) => Err(error),
            _ => {
                pr_err!(
                    "the host speaks no VMBus version from {} up\n",
                    format_args!("{}", Version::MINIMUM)
                );
                Err(eprotonosupport())
            }
        }
    }

    /// Posts the first proposal and waits for the last answer; those in between are answered by the worker.
    fn ask_contact(&self, contact: Contact) -> Result<Answer> {
        let (message, reply) = {
            let mut state = self.state.lock();
            let message = state.client.initiate_contact(contact);
            let message = message.map_err(request_errno)?;
            let reply = state.wait_for(Request::Contact).inspect_err(|_| {
                let _ = state.client.not_posted(Request::Contact);
            })?;
            (message, reply)
        };
        self.post_contact(message);
        self.wait(Request::Contact, &reply, ANSWER_TIMEOUT_MS)
    }

    /// Posts a proposal; where the host has no such connection, the next one.
    fn post_contact(&self, mut message: Outgoing) {
        loop {
            self.lent.store(true, Relaxed);
            let Err(error) = post(&message) else { return };
            let mut state = self.state.lock();
            if error != ENXIO {
                let _ = state.client.not_posted(Request::Contact);
                return state.answer(Request::Contact, Answer::NotPosted(error));
            }
            match state.client.contact_unreachable() {
                Ok(Event::ContactRetry { message: older, .. }) => message = older,
                _ => {
                    drop(state);
                    return self.refused();
                }
            }
        }
    }

    /// The host speaks no version of ours.
    fn refused(&self) {
        self.lent.store(false, Relaxed);
        self.state.lock().answer(Request::Contact, Answer::Refused);
    }

    /// Sends UNLOAD and waits for the answer, with interrupts and scheduler dead. Any context; takes no lock and
    /// allocates nothing. Only the first call does something.
    pub(crate) fn crash_unload(&self) {
        /// How long the host may take: Azure hosts have been seen to flush disks for 50 s.
        const PATIENCE_MS: u32 = 100_000;
        /// Between two looks.
        const STEP_MS: u32 = 10;
        /// Between two lines in the log.
        const NOTICE_MS: u32 = 5_000;
        let connection_id = self.message_connection.xchg(0, Full);
        let Some(partition) = partition().filter(|_| connection_id != 0) else {
            return;
        };
        let message = unload_message(connection_id);
        let mut posted = post_once(&message);
        for _ in 0..PATIENCE_MS / STEP_MS {
            match posted {
                Err(PostError::Refused(status)) if status.is_transient_for_post() => {
                    delay::spin(STEP_MS);
                    posted = post_once(&message);
                }
                _ => break,
            }
        }
        if posted.is_err() {
            return;
        }
        for waited in (0..PATIENCE_MS).step_by(STEP_MS as usize) {
            // Where the CPU that receives messages still runs, its interrupt handler has taken the answer.
            if self.unloaded.load(Acquire) || partition.synic().poll(is_answer_to_unload) {
                return;
            }
            if waited % NOTICE_MS == NOTICE_MS - STEP_MS {
                pr_notice!("waiting for the host to end the VMBus connection\n");
            }
            delay::spin(STEP_MS);
        }
        pr_err!("the host did not confirm the end of the connection; going on\n");
    }

    /// Carries out what a message of the host's means. Process context, one at a time.
    fn handle_message(self: &Arc<Self>, copy: &MessageCopy) {
        let Ok(Some(message)) = Message::parse(copy) else {
            return self.count_error(&"a message with a bad size");
        };
        let event = self.state.lock().client.handle_message(message.payload);
        match event {
            Ok(event) => self.handle_event(event),
            Err(error) => self.count_error(&error),
        }
    }

    /// How many messages broke the protocol.
    pub(crate) fn protocol_errors(&self) -> u64 {
        self.protocol_errors.load(Relaxed)
    }

    /// Counts a message that broke the protocol.
    fn count_error(&self, error: &dyn core::fmt::Debug) {
        self.protocol_errors.fetch_add(1, Relaxed);
        ratelimited!(
            pr_warn,
            "the host broke the protocol: {:?}\n",
            format_args!("{error:?}")
        );
    }

    /// Posts what the protocol client wants posted; without an answer there is nobody to tell of a failure.
    fn post_or_warn(&self, message: &Outgoing) {
        if let Err(error) = post(message) {
            ratelimited!(pr_warn, "a message to the host was lost: {error:?}\n");
        }
    }

    /// Carries out an event.
    fn handle_event(self: &Arc<Self>, event: Event) {
        match event {
            Event::VersionAccepted {
                version,
                connection_id,
            } => {
                self.message_connection.store(connection_id, Relaxed);
                self.state
                    .lock()
                    .answer(Request::Contact, Answer::Version(version));
            }
            Event::ContactRetry { message, .. } => self.post_contact(message),
            Event::Refused { .. } => self.refused(),
            Event::Offered { relid } => self.handle_offer(relid, None),
            Event::SubchannelOffered { primary, relid } => self.handle_offer(relid, Some(primary)),
            Event::OfferRefused { reason, release } => {
                ratelimited!(
                    pr_warn,
                    "channel {} refused: {reason:?}\n",
                    release.relid().get()
                );
                self.post_or_warn(&release.message());
            }
            Event::AllOffersDelivered => self.state.lock().answer(Request::Offers, Answer::SUCCESS),
            Event::Rescinded { relid, pending } => {
                let mut state = self.state.lock();
                pending
                    .iter()
                    .for_each(|request| state.answer(request, Answer::Rescinded));
                state.end_loans_of(relid);
                drop(state);
                self.channels.rescind(relid);
            }
            Event::OpenResult { relid, status } => {
                self.state
                    .lock()
                    .answer(Request::Open(relid), Answer::Status(status));
            }
            Event::LateOpen { relid, ring, close } => {
                if let Some(message) = close {
                    self.post_or_warn(&message);
                }
                // Nobody waits for this teardown; the loan ends with its answer.
                let _ = self.tell(|client| client.teardown_gpadl(relid, ring));
            }
            Event::GpadlCreated {
                relid,
                gpadl,
                status,
            } => {
                let mut state = self.state.lock();
                if Answer::Status(status).ok().is_err() {
                    state.end_loan(gpadl);
                }
                state.answer(Request::CreateGpadl(relid, gpadl), Answer::Status(status));
            }
            Event::LateGpadl { teardown, .. } => self.post_or_warn(&teardown),
            Event::GpadlTorndown { relid, gpadl } => {
                let mut state = self.state.lock();
                state.end_loan(gpadl);
                state.answer(Request::TeardownGpadl(relid, gpadl), Answer::SUCCESS);
            }
            Event::ModifyResponse { relid, status } => {
                self.state
                    .lock()
                    .answer(Request::ModifyChannel(relid), Answer::Status(status));
            }
            Event::Unloaded => {
                self.message_connection.store(0, Relaxed);
                self.lent.store(false, Relaxed);
                let mut state = self.state.lock();
                state.answer(Request::Unload, Answer::SUCCESS);
                state.disconnected();
            }
            Event::Ignored(_) => {}
        }
    }

    /// Makes a channel of an offer, or gives it back for want of memory.
    fn handle_offer(self: &Arc<Self>, relid: Relid, primary: Option<Relid>) {
        let offer = self
            .state
            .lock()
            .client
            .channel(relid)
            .map(|channel| channel.offer().clone());
        let Some(offer) = offer.filter(|_| !self.closing.load(Relaxed)) else {
            return;
        };
        let has_one = |cpu| {
            let mut channels = self.channels.iter();
            channels.any(|other| other.target_cpu() == cpu && other.offer().same_device(&offer))
        };
        let cpu = self
            .affinity
            .lock()
            .assign(&offer, self.connect_cpu, has_one);
        let primary = primary.and_then(|primary| self.channels.get(primary));
        let result = Channel::new(self.clone(), offer, primary, cpu).and_then(|channel| {
            self.channels.insert(channel.clone())?;
            if channel.is_primary() {
                channel.make_device()?;
                self.enumeration.add(channel)
            } else {
                channel.schedule_lifecycle();
                Ok(())
            }
        });
        if let Err(error) = result {
            ratelimited!(pr_warn, "channel {} refused: {error:?}\n", relid.get());
            if let Some(channel) = self.channels.get(relid) {
                channel.remove_device();
            }
            self.channels.remove(relid);
            self.affinity.lock().remove(cpu);
            let _ = self.tell(|client| client.release(relid));
        }
    }

    /// Waits until all messages that have come are worked on, and what they have brought. Process context.
    fn flush(&self) {
        self.messenger.flush();
        self.workers.flush();
    }

    /// Takes the devices of all channels from the bus. Process context.
    fn remove_devices(&self) {
        for channel in self.channels.iter() {
            channel.remove_device();
        }
    }

    /// Ends the connection; the host then uses no memory of ours any more. Process context.
    pub(crate) fn disconnect(&self) {
        let answer = self.ask(|client| Ok((Request::Unload, client.unload()?)));
        match answer {
            Ok(_) => {}
            // There was no connection.
            Err(error) if error == enotconn() => {}
            Err(error) => {
                pr_err!("the host did not confirm the end of the connection: {error:?}\n")
            }
        }
    }

    /// Moves the channels of a CPU that goes offline. Process context.
    ///
    /// # Errors
    ///
    /// `EBUSY` if that cannot be done: the CPU receives messages, or the host cannot confirm a move.
    fn retarget_from(&self, cpu: Cpu) -> Result {
        if cpu == self.connect_cpu {
            ratelimited!(
                pr_info,
                "CPU {} stays online: it receives the host's messages\n",
                cpu.number()
            );
            return Err(EBUSY);
        }
        let confirms = self.state.lock().client.answers_retarget();
        for channel in self.channels.iter() {
            if channel.target_cpu() != cpu || channel.is_gone() {
                continue;
            }
            let other = self.affinity.lock().reassign(cpu, self.connect_cpu);
            let moved = if !channel.is_open() {
                channel.set_target(other);
                Ok(())
            } else if confirms {
                channel.retarget(other)
            } else {
                Err(EBUSY)
            };
            if moved.is_err() {
                ratelimited!(
                    pr_info,
                    "CPU {} stays online: the host cannot move channel {}\n",
                    cpu.number(),
                    channel.offer().relid.get()
                );
                return Err(EBUSY);
            }
        }
        Ok(())
    }
}

/// VMBus, for as long as vmbus_drv is loaded. Field order is drop order: the bus outlives its devices.
pub struct Vmbus {
    /// What a crash or a kexec calls.
    handlers: Option<Handlers>,
    /// The connection.
    connection: Arc<Connection>,
    /// The bus.
    bus: Bus,
}

impl Vmbus {
    /// Connects to the host and puts its devices on the bus. Process context.
    ///
    /// # Errors
    ///
    /// - `EINVAL` for a maximal version that is none of ours.
    /// - `ENODEV` without interrupts, or if the firmware describes no VMBus.
    /// - `EPROTONOSUPPORT` if the host is too old.
    /// - `ETIMEDOUT` if it does not answer, `EIO`, `ENOMEM`.
    pub fn new() -> Result<Self> {
        let max_version = max_version()?;
        let partition = partition().filter(|partition| partition.has_interrupts());
        let Some(partition) = partition else {
            pr_err!(
                "no interrupts from the hypervisor, so no VMBus; is nopv on the command line?\n"
            );
            return Err(ENODEV);
        };
        let workers = Arc::new(OwnQueue::new(c"viridian")?, GFP_KERNEL)?;
        let enumeration = Enumeration::new(AcpiDevice::find()?, workers.clone())?;
        let connect_cpu = Cpu::possible()
            .find(|cpu| cpu.online())
            .unwrap_or(Cpu::FIRST);
        let connection = Connection::new(enumeration, workers, connect_cpu)?;
        let mut vmbus = Self {
            handlers: None,
            bus: Bus::register()?,
            connection,
        };
        // From here on dropping `vmbus` undoes everything.
        vmbus.connect(partition, max_version)?;
        Ok(vmbus)
    }

    /// Makes contact and waits for the devices that the host has now.
    fn connect(&mut self, partition: &Partition, max_version: Version) -> Result {
        let connection = &self.connection;
        partition
            .synic()
            .set_handler(Some(Arc::new(Handle(connection.clone()), GFP_KERNEL)?))?;
        if !connection.connect_cpu.online() {
            return Err(EAGAIN);
        }
        let version = connection.contact(partition, max_version)?;
        pr_info!(
            "connected to the host, VMBus version {}\n",
            format_args!("{version}")
        );
        self.handlers = Some(Handlers::new(connection.clone())?);
        connection
            .ask(|client| Ok((Request::Offers, client.request_offers()?)))?
            .ok()?;
        connection.flush();
        self.warn_of_undriven()
    }

    /// Says once for each class of devices that nobody drives them.
    fn warn_of_undriven(&self) -> Result {
        let mut warned = KVec::new();
        for channel in self.connection.channels.iter() {
            let class = channel.offer().class;
            if warned.contains(&class) || self.bus.has_driver_for(&class) {
                continue;
            }
            warned.push(class, GFP_KERNEL)?;
            let name = Class::find(&class).map_or("unknown", |class| class.description);
            ratelimited!(
                pr_warn,
                "no driver for devices of class {} ({name}) yet\n",
                format_args!("{class}")
            );
        }
        Ok(())
    }

    /// The connection, for what debugfs shows.
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for Vmbus {
    fn drop(&mut self) {
        let connection = &self.connection;
        self.handlers = None;
        connection.closing.store(true, Relaxed);
        // An offer that is just being followed becomes a device; later ones do not.
        connection.flush();
        connection.remove_devices();
        connection.disconnect();
        if let Some(partition) = partition() {
            // Without a new handler there is nothing to allocate, so that this cannot fail.
            let _ = partition.synic().set_handler(None);
        }
        // Nobody but the workers themselves queues work any more.
        connection.messenger.drain();
        connection.workers.drain();
        connection.remove_devices();
        for channel in connection.channels.iter() {
            connection.channels.remove(channel.offer().relid);
            channel.flush_receive();
        }
        if connection.lent.load(Relaxed) {
            pr_err!("pages that the host may still use are lost until the next boot\n");
            core::mem::forget(connection.clone());
        }
    }
}

/// Whether a message is the host's answer to UNLOAD. Any context.
fn is_answer_to_unload(copy: &MessageCopy) -> bool {
    matches!(Message::parse(copy), Ok(Some(message)) if is_unload_response(message.payload))
}

/// The highest version to propose, as the parameter says.
///
/// # Errors
///
/// `EINVAL` if it is none of ours.
fn max_version() -> Result<Version> {
    let version = Version(moduleparam::max_version());
    if Version::SUPPORTED.contains(&version) {
        return Ok(version);
    }
    let known = Version::SUPPORTED.map(|known| known.0);
    pr_err!(
        "max_version={:#x} is no VMBus version of ours, which are {}\n",
        version.0,
        format_args!("{known:#x?}")
    );
    Err(EINVAL)
}
