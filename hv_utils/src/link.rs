// SPDX-License-Identifier: GPL-2.0

//! The channel of a service: messages come in, go to the service one at a time, and are answered in place.
//!
//! A packet is copied in softirq context and handled in a work item, so that services may sleep. A host has one request
//! outstanding at a time; one that sends more than [`BACKLOG`] without waiting has the rest dropped.

use crate::service::Service;
use hv_core::{ratelimited, IrqLock};
use hv_utils_proto as proto;
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex};
use kernel::workqueue::{impl_has_work, new_work, system_long, Work, WorkItem};
use proto::guest::{Endpoint, Incoming};
use proto::{Prefix, Status, Version};
use vmbus::{
    ClosedChannel, Device, Handler, OpenChannel, OpenOptions, OutgoingPacket, Packets, Sender,
};

/// Pages of each ring: as many as the stock driver's.
const RING_PAGES: usize = 4;

/// Bytes of the largest message: what fits into a ring.
const MAX_MESSAGE: usize = 3 * hv_core::HV_PAGE_SIZE;

/// Messages that wait to be handled.
const BACKLOG: usize = 16;

/// A message of the host, in our memory.
struct Message {
    /// The packet's payload.
    payload: KVec<u8>,
    /// Chosen by the host, and repeated in the answer.
    transaction_id: u64,
}

impl Message {
    /// Copies a packet. Any context.
    fn new(payload: &[u8], transaction_id: u64) -> Result<Self> {
        let mut copy = KVec::with_capacity(payload.len(), GFP_ATOMIC)?;
        copy.extend_from_slice(payload, GFP_ATOMIC)?;
        Ok(Self {
            payload: copy,
            transaction_id,
        })
    }

    /// Sends the message back.
    fn send(&self, to: &Sender) {
        let payload: [&[u8]; 1] = [&self.payload];
        let packet = OutgoingPacket {
            transaction_id: self.transaction_id,
            ..OutgoingPacket::in_band(&payload)
        };
        // A channel that is gone has nobody who waits. A host that leaves the ring full does not want an answer.
        let _ = to.send(&packet);
    }
}

/// The answer to an offer of versions. It is not sent unless it is accepted.
pub(crate) struct Offer {
    /// The answer.
    message: Message,
    /// Where it goes.
    to: Sender,
}

impl Offer {
    /// Lets the host have the answer. Any context.
    pub(crate) fn accept(self) {
        self.message.send(&self.to);
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
    /// Where the answer goes.
    to: Sender,
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
            self.message.send(&self.to);
        }
    }
}

/// The guest's end of a service's channel.
#[pin_data]
struct Line {
    /// Which service.
    name: &'static str,
    /// The service.
    service: Arc<dyn Service>,
    /// Where answers go.
    sender: Sender,
    /// Chooses versions, and tells what messages are.
    #[pin]
    endpoint: Mutex<Endpoint>,
    /// What came and is not handled yet, the oldest first.
    #[pin]
    inbox: IrqLock<KVec<Message>>,
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
        self.inbox.lock().remove(0).ok()
    }

    /// Handles a message.
    fn handle(&self, mut message: Message) {
        let to = self.sender.clone();
        let mut endpoint = self.endpoint.lock();
        let incoming = endpoint.handle(&mut message.payload);
        match incoming {
            Ok(Incoming::Negotiated(versions)) => {
                drop(endpoint);
                match versions {
                    Some((_, version)) => {
                        ratelimited!(
                            pr_info,
                            "{}: version {}\n",
                            self.name,
                            format_args!("{version}")
                        );
                    }
                    None => {
                        ratelimited!(pr_warn, "{}: no version in common\n", self.name);
                    }
                }
                self.service.offered(Offer { message, to });
            }
            Ok(Incoming::Request(request)) => {
                let version = request.version;
                drop(endpoint);
                self.service.requested(Request {
                    message,
                    version,
                    status: Status::FAIL,
                    to,
                });
            }
            Ok(Incoming::Refused(message_type)) => {
                ratelimited!(
                    pr_warn,
                    "{}: refused {}\n",
                    self.name,
                    format_args!("{message_type:?}")
                );
                message.send(&to);
            }
            Err(malformed) => {
                ratelimited!(
                    pr_warn,
                    "{}: bad message: {}\n",
                    self.name,
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
            // Without memory, or with too many of them, the message is lost, and the host gives up waiting.
            let Ok(message) = Message::new(packet.payload, packet.transaction_id) else {
                continue;
            };
            let mut inbox = self.0.inbox.lock();
            if inbox.len() < BACKLOG {
                let _ = inbox.push(message, GFP_ATOMIC);
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
        let sender = channel.sender();
        let line = Arc::pin_init(
            pin_init!(Line {
                name: kind.name(),
                service,
                sender,
                endpoint <- new_mutex!(Endpoint::new(kind)),
                inbox <- hv_core::new_irq_lock!(KVec::new()),
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
        self.line.inbox.lock().clear();
        vmbus::flush(&self.line.work);
        self.line.service.closed();
    }
}
