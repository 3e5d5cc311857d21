// SPDX-License-Identifier: GPL-2.0

//! The channel of a service: messages come in, go to the service one at a time, and are answered in place.
//!
//! A packet is copied in softirq context and handled in a work item, so that services may sleep. The memory for that is there
//! before the channel is: what the host asks is answered, also where there is no more memory to be had. A host has one
//! request outstanding at a time; one that sends more than [`MESSAGES`] without waiting has the rest refused.

use crate::service::Service;
use hv_core::{ratelimited, IrqLock};
use hv_utils_proto as proto;
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex};
use kernel::workqueue::{impl_has_work, new_work, system_long, Work, WorkItem};
use proto::fifo::Fifo;
use proto::guest::{Endpoint, Incoming};
use proto::{Prefix, Status, Version};
use vmbus::{
    ClosedChannel, Device, Handler, OpenChannel, OpenOptions, OutgoingPacket, Packets, SendError,
    Sender,
};

/// Pages of each ring: as many as the stock driver's.
const RING_PAGES: usize = 4;

/// Bytes of the largest message: what fits into a ring.
const MAX_MESSAGE: usize = 3 * hv_core::HV_PAGE_SIZE;

/// Messages that are ours at a time: those that wait to be handled, and those that a service keeps, which are six at most.
const MESSAGES: usize = 8;

/// Where messages are copied, and answered from.
#[pin_data]
struct Store {
    /// Memory that holds no message.
    #[pin]
    free: IrqLock<Fifo<KVVec<u8>, MESSAGES>>,
    /// Where answers go.
    sender: Sender,
}

impl Store {
    /// With room for [`MESSAGES`] messages of `size` bytes. Process context.
    fn new(size: usize, sender: Sender) -> Result<Arc<Self>> {
        let mut free = Fifo::new();
        for _ in 0..MESSAGES {
            let memory = KVVec::with_capacity(size, GFP_KERNEL)?;
            free.push(memory).map_err(|_| ENOSPC)?;
        }
        Arc::pin_init(
            pin_init!(Self {
                free <- hv_core::new_irq_lock!(free),
                sender,
            }),
            GFP_KERNEL,
        )
    }

    /// Sends a message back. Any context.
    fn send(&self, transaction_id: u64, payload: &[&[u8]]) {
        let packet = OutgoingPacket {
            transaction_id,
            ..OutgoingPacket::in_band(payload)
        };
        // A channel that is gone has nobody who waits. A host that leaves the ring full does not want an answer.
        let _: Result<(), SendError> = self.sender.send(&packet);
    }
}

/// A message of the host, in our memory, which is free again when this is dropped. Any context.
struct Message {
    /// The packet's payload.
    payload: KVVec<u8>,
    /// Chosen by the host, and repeated in the answer.
    transaction_id: u64,
    /// Whose memory this is.
    store: Arc<Store>,
}

impl Message {
    /// Copies a packet; `None` if there is no memory for it. Any context.
    fn new(store: &Arc<Store>, payload: &[u8], transaction_id: u64) -> Option<Self> {
        let mut message = Self {
            payload: store.free.lock().pop()?,
            transaction_id,
            store: store.clone(),
        };
        message.payload.clear();
        if payload.len() > message.payload.capacity() {
            return None;
        }
        // Since there is room, nothing is allocated.
        let copied = message.payload.extend_from_slice(payload, GFP_ATOMIC);
        copied.is_ok().then_some(message)
    }

    /// Sends the message back.
    fn send(&self) {
        self.store.send(self.transaction_id, &[&self.payload]);
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        let memory = core::mem::replace(&mut self.payload, KVVec::new());
        // There is room for what was taken.
        let _ = self.store.free.lock().push(memory);
    }
}

/// The answer to an offer of versions. It is not sent unless it is accepted.
pub(crate) struct Offer(Message);

impl Offer {
    /// Lets the host have the answer. Any context.
    pub(crate) fn accept(self) {
        self.0.send();
    }
}

/// A request of the host, answered with [`Status::FAIL`] if it is dropped.
pub(crate) struct Request {
    /// The request.
    message: Message,
    /// The message version in use.
    pub(crate) version: Version,
    /// How it is answered.
    status: Status,
}

impl Request {
    /// What the host said, and the answer will say. The end may be the packet's padding.
    pub(crate) fn body(&mut self) -> &mut [u8] {
        Prefix::parse_mut(&mut self.message.payload).map_or(&mut [], |(_, body)| body)
    }

    /// Answers. Any context.
    pub(crate) fn answer(mut self, status: Status) {
        self.status = status;
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if let Ok((prefix, _)) = Prefix::parse_mut(&mut self.message.payload) {
            prefix.answer(self.status);
            self.message.send();
        }
    }
}

/// The guest's end of a service's channel.
#[pin_data]
struct Line {
    /// Which service.
    kind: proto::Service,
    /// The service.
    service: Arc<dyn Service>,
    /// Where messages are.
    store: Arc<Store>,
    /// Chooses versions, and tells what messages are.
    #[pin]
    endpoint: Mutex<Endpoint>,
    /// What came and is not handled yet, the oldest first.
    #[pin]
    inbox: IrqLock<Fifo<Message, MESSAGES>>,
    /// Handles it.
    #[pin]
    work: Work<Line>,
}

impl_has_work! {
    impl HasWork<Self> for Line { self.work }
}

impl WorkItem for Line {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        while let Some(message) = this.next() {
            this.handle(message);
        }
    }
}

impl Line {
    /// The oldest message.
    fn next(&self) -> Option<Message> {
        self.inbox.lock().pop()
    }

    /// Refuses a message that there is no memory for. Any context.
    fn refuse(&self, payload: &[u8], transaction_id: u64) {
        ratelimited!(
            pr_warn,
            "{}: too many messages, or too long\n",
            self.kind.name()
        );
        if let Ok((prefix, body)) = Prefix::refusal(payload) {
            self.store.send(transaction_id, &[prefix.as_bytes(), body]);
        }
    }

    /// Handles a message.
    fn handle(&self, mut message: Message) {
        let mut endpoint = self.endpoint.lock();
        let incoming = endpoint.handle(&mut message.payload);
        match incoming {
            Ok(Incoming::Negotiated(versions)) => {
                drop(endpoint);
                match versions {
                    Some((_, version)) => {
                        ratelimited!(
                            pr_info,
                            "{} IC version {}\n",
                            self.kind.title(),
                            format_args!("{version}")
                        );
                    }
                    None => {
                        ratelimited!(pr_warn, "{}: no version in common\n", self.kind.name());
                    }
                }
                self.service.offered(Offer(message));
            }
            Ok(Incoming::Request(request)) => {
                let version = request.version;
                drop(endpoint);
                self.service.requested(Request {
                    message,
                    version,
                    status: Status::FAIL,
                });
            }
            Ok(Incoming::Refused(message_type)) => {
                ratelimited!(
                    pr_warn,
                    "{}: refused {}\n",
                    self.kind.name(),
                    format_args!("{message_type:?}")
                );
                message.send();
            }
            Err(malformed) => {
                ratelimited!(
                    pr_warn,
                    "{}: bad message: {}\n",
                    self.kind.name(),
                    format_args!("{malformed}")
                );
            }
        }
    }
}

/// Takes packets from the ring.
struct Receiver(Arc<Line>);

impl Handler for Receiver {
    fn receive(&self, packets: &mut Packets<'_>) {
        while let Some(packet) = packets.take() {
            let message = Message::new(&self.0.store, packet.payload, packet.transaction_id);
            match message {
                // There is room for as many as there is memory for.
                Some(message) => drop(self.0.inbox.lock().push(message)),
                None => self.0.refuse(packet.payload, packet.transaction_id),
            }
        }
        let _ = system_long().enqueue(self.0.clone());
    }
}

/// The open channel of a service. Dropping it, in process context, closes it and lets the service go.
pub(crate) struct Link {
    /// The channel, until it is closed.
    channel: Option<OpenChannel>,
    /// Our end.
    line: Arc<Line>,
}

impl Link {
    /// Opens the channel of a device for a service. Process context; the service may be asked before this returns.
    ///
    /// # Errors
    ///
    /// Those of [`ClosedChannel::take`] and [`ClosedChannel::open`].
    pub(crate) fn open<Ctx: kernel::device::DeviceContext>(
        device: &Device<Ctx>,
        kind: proto::Service,
        service: Arc<dyn Service>,
    ) -> Result<Self> {
        let channel = ClosedChannel::take(device.channel())?;
        let size = match kind {
            // What a daemon is for.
            proto::Service::Kvp | proto::Service::Vss => MAX_MESSAGE,
            _ => hv_core::HV_PAGE_SIZE,
        };
        let store = Store::new(size, channel.sender())?;
        let endpoint = Endpoint::new(kind);
        let line = Arc::pin_init(
            pin_init!(Line {
                kind,
                service,
                store,
                endpoint <- new_mutex!(endpoint),
                inbox <- hv_core::new_irq_lock!(Fifo::new()),
                work <- new_work!("hv_utils/line"),
            }),
            GFP_KERNEL,
        )?;
        let mut link = Self {
            channel: None,
            line: line.clone(),
        };
        let options = OpenOptions {
            out_pages: RING_PAGES,
            in_pages: RING_PAGES,
            max_packet: MAX_MESSAGE,
            user_data: [0; 120],
        };
        // Should this fail, dropping `link` ends what may have begun.
        link.channel = Some(channel.open(&options, Arc::new(Receiver(line), GFP_KERNEL)?)?);
        Ok(link)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        drop(self.channel.take());
        while self.line.next().is_some() {}
        vmbus::flush(&self.line.work);
        self.line.service.closed();
    }
}
