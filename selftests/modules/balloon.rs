// SPDX-License-Identifier: GPL-2.0

//! viridian_balloon.ko: a driver for tests. It binds the Dynamic Memory device, the one device that QEMU's VMBus
//! offers, agrees on version and capabilities, and reports status ten times a second until it is unbound.
//!
//! It declares that it can neither balloon nor add memory, so that the host asks for nothing. What it proves is the
//! channel: GPADL, open, both directions of the ring, interrupts and close, against a host that is not ours. Where the
//! host offers sub-channels, version and capabilities are agreed on over each of them, too.

use core::fmt;
use hv_core::compat::eproto;
use hv_core::partition;
use kernel::debugfs::File;
use kernel::device::Core;
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::{new_mutex, Arc, Mutex};
use kernel::time::delay::fsleep;
use kernel::time::Delta;
use kernel::workqueue::{impl_has_work, new_work, system_long, Work, WorkItem};
use vmbus::{
    class, Channel, ClosedChannel, Device, Handler, OpenChannel, OpenOptions, OutgoingPacket,
    Packets, Reply, SharedPages,
};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, IntoBytes};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

vmbus::vmbus_device_table!(TABLE, (), [(class::DM.id, ())]);

vmbus::module_vmbus_driver! {
    type: Balloon,
    name: "viridian_balloon",
    authors: ["The Viridian developers"],
    description: "Selftest: talks to the Dynamic Memory device",
    license: "GPL",
}

/// Version 2.0 of the protocol (`DYNMEM_PROTOCOL_VERSION_WIN10`).
const VERSION_2_0: u32 = 2 << 16;

/// How long the host may take to answer, in milliseconds.
const ANSWER_MS: u32 = 10_000;

/// Time between two reports, in milliseconds.
const REPORT_MS: i64 = 100;

/// Pages that are lent to the host and taken back at every probe: enough for a header and many bodies.
const LENT_PAGES: usize = 2000;

/// Types of messages (`enum dm_message_type`).
mod message {
    /// The guest proposes a version.
    pub(super) const VERSION_REQUEST: u16 = 1;
    /// The host answers that.
    pub(super) const VERSION_RESPONSE: u16 = 2;
    /// The guest says what it can do.
    pub(super) const CAPABILITIES_REPORT: u16 = 3;
    /// The host answers that.
    pub(super) const CAPABILITIES_RESPONSE: u16 = 4;
    /// The guest says how it is.
    pub(super) const STATUS_REPORT: u16 = 5;
}

/// The start of every message.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    /// See [`message`].
    message_type: U16,
    /// Size of the message, header included, in bytes.
    size: U16,
    /// Chosen by the guest, ascending.
    transaction: U32,
}

/// The guest proposes a version.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct VersionRequest {
    /// Start.
    header: Header,
    /// Major number in the upper half, minor in the lower.
    version: U32,
    /// Bit 0: there will be no other proposal.
    last: U32,
}

/// The guest says what it can do.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct Capabilities {
    /// Start.
    header: Header,
    /// Bit 0: balloon; bit 1: hot add.
    capabilities: U64,
    /// Smallest number of pages.
    min_pages: U64,
    /// Largest number of pages.
    max_page: U64,
}

/// The guest says how it is.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct Status {
    /// Start.
    header: Header,
    /// Available, committed, page files, zeroed: in pages.
    pages: [U64; 4],
    /// Writes to page files, and page faults less reads.
    activity: [U32; 2],
}

/// The answer to a proposal or to a report of capabilities.
#[derive(Clone, Copy, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Response {
    /// Start.
    header: Header,
    /// Bit 0: yes.
    accepted: U64,
}

/// What comes in, and what is counted.
struct Inbox {
    /// The answer to the proposal of a version.
    version: Arc<Reply<bool>>,
    /// The answer to the report of capabilities.
    capabilities: Arc<Reply<bool>>,
    /// Packets from the host.
    received: Atomic<u64>,
    /// Packets that made no sense.
    nonsense: Atomic<u64>,
}

impl Handler for Inbox {
    fn receive(&self, packets: &mut Packets<'_>) {
        while let Some(packet) = packets.take() {
            self.received.fetch_add(1, Relaxed);
            let reply =
                Response::read_from_prefix(packet.payload)
                    .ok()
                    .and_then(|(response, _)| {
                        let reply = match response.header.message_type.get() {
                            message::VERSION_RESPONSE => &self.version,
                            message::CAPABILITIES_RESPONSE => &self.capabilities,
                            _ => return None,
                        };
                        Some((reply, response.accepted.get() & 1 == 1))
                    });
            match reply {
                Some((reply, accepted)) => reply.complete(accepted),
                None => {
                    self.nonsense.fetch_add(1, Relaxed);
                }
            }
        }
    }
}

/// The conversation over one channel.
struct Conversation {
    /// The channel.
    channel: OpenChannel,
    /// What comes in.
    inbox: Arc<Inbox>,
    /// The last transaction.
    transaction: Atomic<u32>,
}

impl Conversation {
    /// Opens a channel.
    fn open(channel: &Arc<Channel>) -> Result<Self> {
        let inbox = Arc::new(
            Inbox {
                version: Reply::new()?,
                capabilities: Reply::new()?,
                received: Atomic::new(0),
                nonsense: Atomic::new(0),
            },
            GFP_KERNEL,
        )?;
        // As large as the stock driver's: rings of 16 KiB, packets of up to two pages.
        let options = OpenOptions {
            out_pages: 5,
            in_pages: 5,
            max_packet: 2 * 4096,
            user_data: [0; 120],
        };
        Ok(Self {
            channel: ClosedChannel::take(channel)?.open(&options, inbox.clone())?,
            inbox,
            transaction: Atomic::new(0),
        })
    }

    /// Sends one message.
    fn send(&self, payload: &[u8]) -> Result {
        Ok(self.channel.send(&OutgoingPacket::in_band(&[payload]))?)
    }

    /// The start of a message of this type and size.
    fn header<T>(&self, message_type: u16) -> Result<Header> {
        let transaction = self.transaction.fetch_add(1, Relaxed).wrapping_add(1);
        Ok(Header {
            message_type: message_type.into(),
            size: u16::try_from(size_of::<T>()).map_err(|_| EINVAL)?.into(),
            transaction: transaction.into(),
        })
    }

    /// Agrees on version and capabilities.
    fn negotiate(&self) -> Result {
        let request = VersionRequest {
            header: self.header::<VersionRequest>(message::VERSION_REQUEST)?,
            version: VERSION_2_0.into(),
            last: 1.into(),
        };
        self.send(request.as_bytes())?;
        Self::accepted(&self.inbox.version)?;
        let capabilities = Capabilities {
            header: self.header::<Capabilities>(message::CAPABILITIES_REPORT)?,
            capabilities: 0.into(),
            min_pages: 0.into(),
            max_page: u64::MAX.into(),
        };
        self.send(capabilities.as_bytes())?;
        Self::accepted(&self.inbox.capabilities)
    }

    /// Waits for a yes.
    fn accepted(reply: &Reply<bool>) -> Result {
        match reply.wait(ANSWER_MS) {
            Some(true) => Ok(()),
            Some(false) => Err(eproto()),
            None => Err(ETIMEDOUT),
        }
    }

    /// Sends a report.
    fn report(&self) -> Result {
        let status = Status {
            header: self.header::<Status>(message::STATUS_REPORT)?,
            pages: [1000.into(), 2000.into(), 0.into(), 0.into()],
            activity: [0.into(); 2],
        };
        self.send(status.as_bytes())
    }
}

/// The conversations with the host.
#[pin_data]
struct Session {
    /// The device.
    device: ARef<Device>,
    /// Those over sub-channels; they end before the first one.
    #[pin]
    sub_channels: Mutex<KVec<Conversation>>,
    /// The one over the first channel.
    first: Conversation,
    /// Reports sent.
    reports: Atomic<u64>,
    /// Reports that were not sent, and sub-channels that could not be used.
    failures: Atomic<u64>,
    /// Whether to end.
    stop: Atomic<bool>,
    /// Sends reports.
    #[pin]
    work: Work<Self>,
}

impl_has_work! {
    impl HasWork<Self> for Session { self.work }
}

impl WorkItem for Session {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        while !this.stop.load(Relaxed) {
            match this.first.report() {
                Ok(()) => this.reports.fetch_add(1, Relaxed),
                Err(_) => this.failures.fetch_add(1, Relaxed),
            };
            if this.use_sub_channels().is_err() {
                this.failures.fetch_add(1, Relaxed);
            }
            fsleep(Delta::from_millis(REPORT_MS));
        }
    }
}

impl Session {
    /// Opens the sub-channels that have come since, and agrees on version and capabilities over each.
    fn use_sub_channels(&self) -> Result {
        let mut offered = KVec::new();
        self.device
            .for_each_channel(|channel| Ok(offered.push(channel.clone(), GFP_KERNEL)?))?;
        for channel in &offered {
            match Conversation::open(channel) {
                Ok(conversation) => {
                    conversation.negotiate()?;
                    self.sub_channels.lock().push(conversation, GFP_KERNEL)?;
                }
                // It is in use already.
                Err(error) if error == EBUSY => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Shows the conversations.
fn show(session: &Arc<Session>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "reports   {}", session.reports.load(Relaxed))?;
    writeln!(f, "failures  {}", session.failures.load(Relaxed))?;
    let inbox = &session.first.inbox;
    writeln!(f, "received  {}", inbox.received.load(Relaxed))?;
    writeln!(f, "nonsense  {}", inbox.nonsense.load(Relaxed))?;
    writeln!(f, "sub-channels {}", session.sub_channels.lock().len())
}

/// A bound device. Dropping it ends the conversation and closes the channel.
#[pin_data(PinnedDrop)]
struct Balloon {
    /// `/sys/kernel/debug/viridian/balloon`.
    #[pin]
    _file: File<Arc<Session>>,
    /// The conversations.
    session: Arc<Session>,
}

#[pinned_drop]
impl PinnedDrop for Balloon {
    fn drop(self: Pin<&mut Self>) {
        self.session.stop.store(true, Relaxed);
        vmbus::flush(&self.session.work);
    }
}

impl vmbus::Driver for Balloon {
    type IdInfo = ();
    type Data<'bound> = Self;
    const NAME: &'static CStr = c"viridian_balloon";
    const ID_TABLE: vmbus::IdTable<()> = &TABLE;
    const PROBE_ASYNCHRONOUSLY: bool = false;

    fn probe<'bound>(
        device: &'bound Device<Core<'_>>,
        _info: Option<&'bound ()>,
    ) -> impl PinInit<Self, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            let first = Conversation::open(device.channel())?;
            let pages = Arc::new(
                SharedPages::new(LENT_PAGES, device.channel().target_cpu())?,
                GFP_KERNEL,
            )?;
            drop(first.channel.lend(pages)?);
            first.negotiate()?;
            let session = Arc::pin_init(
                pin_init!(Session {
                    device: device.into(),
                    sub_channels <- new_mutex!(KVec::new()),
                    first,
                    reports: Atomic::new(0),
                    failures: Atomic::new(0),
                    stop: Atomic::new(false),
                    work <- new_work!("viridian_balloon/reports"),
                }),
                GFP_KERNEL,
            )?;
            let _ = system_long().enqueue(session.clone());
            let folder = partition().ok_or(ENODEV)?.debugfs();
            Ok(try_pin_init!(Self {
                _file <- folder.read_callback_file(c"balloon", session.clone(), &show),
                session,
            }? Error))
        })
    }
}
