// SPDX-License-Identifier: GPL-2.0

//! What every message starts with.

use crate::Service;
use core::fmt;
use zerocopy::little_endian::{U16, U32};
use zerocopy::FromBytes as _;

wire! {
    /// A version of the framework or of a service's messages (`struct ic_version`), 4 bytes.
    #[derive(PartialOrd, Ord)]
    pub struct Version {
        /// Counts incompatible changes.
        major: U16,
        /// Counts compatible ones.
        minor: U16,
    }

    /// Frames a message on its pipe (`struct vmbuspipe_hdr`), 8 bytes. Guests send back what they got.
    pub struct PipeHeader {
        /// What follows; [`PipeHeader::DATA`] (`flags` in `hyperv.h`).
        packet_type: U32,
        /// Bytes that follow, without the padding of the packet.
        length: U32,
    }

    /// Starts every message (`ICMSG_HDR`: `struct vmbuspipe_hdr` and `struct icmsg_hdr`), 28 bytes.
    pub struct Prefix {
        /// Frames the message.
        pipe: PipeHeader,
        /// The framework version in use; zero while it is negotiated.
        framework: Version,
        /// The [`MessageType`].
        message_type: U16,
        /// The message version in use; zero while it is negotiated.
        message: Version,
        /// Bytes of the body. Guests leave it as it was, and say 16 in the answer of a negotiation.
        body_length: U16,
        /// The [`Status`]; 0 in requests.
        status: U32,
        /// Chosen by the host and repeated in the answer.
        transaction_id: u8,
        /// See [`Flags`].
        flags: u8,
        /// Zero.
        reserved: [u8; 2],
    }
}

hvdef::open_enum! {
    /// What a message is about (`ICMSGTYPE_*`).
    pub enum MessageType: u16 {
        /// The choice of versions.
        NEGOTIATE = 0,
        /// See [`crate::heartbeat`].
        HEARTBEAT = 1,
        /// See [`crate::kvp`].
        KVP_EXCHANGE = 2,
        /// See [`crate::shutdown`].
        SHUTDOWN = 3,
        /// See [`crate::timesync`].
        TIMESYNC = 4,
        /// See [`crate::vss`].
        VSS = 5,
        /// See [`crate::fcopy`].
        FCOPY = 7,
    }
}

hvdef::open_enum! {
    /// How a request ended: an `HRESULT` (`HV_S_*`, `HV_E_*`, `HV_ERROR_*`).
    pub enum Status: u32 {
        /// Done.
        OK = 0,
        /// Not done.
        FAIL = 0x8000_4005,
        /// There are no more items, or no such one (`HV_S_CONT`).
        NO_MORE_ITEMS = 0x8007_0103,
        /// The guest cannot do that.
        NOT_SUPPORTED = 0x8007_0032,
        /// The guest is locked.
        MACHINE_LOCKED = 0x8007_04f7,
        /// The service is not there.
        DEVICE_NOT_CONNECTED = 0x8007_048f,
        /// The request makes no sense.
        INVALID_ARGUMENT = 0x8007_0057,
        /// There is no such network adapter (`HV_GUID_NOTFOUND`).
        NOT_FOUND = 0x8004_1002,
        /// The file exists.
        ALREADY_EXISTS = 0x8007_0050,
        /// The disk is full.
        DISK_FULL = 0x8007_0070,
    }
}

bitflags::bitflags! {
    /// Flags of a message (`ICMSGHDRFLAG_*`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Flags: u8 {
        /// The message belongs to a transaction: it is answered, or is an answer.
        const TRANSACTION = 1;
        /// The host asks.
        const REQUEST = 2;
        /// The guest answers.
        const RESPONSE = 4;
    }
}

/// What is wrong with a message from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It ends after this many bytes, before its fields do.
    Short(usize),
    /// It claims a body of this many bytes, which is more than it has.
    BodyLength(u16),
    /// It claims so many framework and message versions.
    VersionCount(u16, u16),
    /// A field's size is odd, or larger than the field.
    FieldSize(u32),
    /// A text is not UTF-16.
    Text,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(length) => write!(f, "it ends after {length} bytes"),
            Self::BodyLength(length) => write!(f, "it claims a body of {length} bytes"),
            Self::VersionCount(framework, message) => {
                write!(
                    f,
                    "it claims {framework} framework and {message} message versions"
                )
            }
            Self::FieldSize(size) => write!(f, "a field claims a size of {size} bytes"),
            Self::Text => f.write_str("a text is not UTF-16"),
        }
    }
}

impl Version {
    /// No version, as in negotiation messages.
    pub const NONE: Self = Self::new(0, 0);

    /// A version.
    #[must_use]
    pub const fn new(major: u16, minor: u16) -> Self {
        Self {
            major: U16::new(major),
            minor: U16::new(minor),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl PipeHeader {
    /// A message (`VmbusPipeMessageData`); anything else is for the pipe itself.
    pub const DATA: u32 = 1;
}

impl Prefix {
    /// Its size in bytes.
    pub const SIZE: usize = size_of::<Self>();

    /// The prefix of a request with a body of `body_length` bytes, in the versions `framework` and `message`.
    #[must_use]
    pub fn request(
        message_type: MessageType,
        framework: Version,
        message: Version,
        body_length: u16,
        transaction_id: u8,
    ) -> Self {
        let header = u32::try_from(Self::SIZE.saturating_sub(size_of::<PipeHeader>()));
        Self {
            pipe: PipeHeader {
                packet_type: U32::new(PipeHeader::DATA),
                length: U32::new(header.unwrap_or(0).saturating_add(u32::from(body_length))),
            },
            framework,
            message_type: U16::new(message_type.0),
            message,
            body_length: U16::new(body_length),
            status: U32::new(Status::OK.0),
            transaction_id,
            flags: (Flags::TRANSACTION | Flags::REQUEST).bits(),
            reserved: [0; 2],
        }
    }

    /// Splits a packet's payload into prefix and body. The body may end in the packet's padding.
    ///
    /// # Errors
    ///
    /// [`Malformed::Short`].
    pub fn parse(payload: &[u8]) -> Result<(&Self, &[u8]), Malformed> {
        Self::ref_from_prefix(payload).map_err(|_| Malformed::Short(payload.len()))
    }

    /// As [`Self::parse`], to answer in place.
    ///
    /// # Errors
    ///
    /// [`Malformed::Short`].
    pub fn parse_mut(payload: &mut [u8]) -> Result<(&mut Self, &mut [u8]), Malformed> {
        let length = payload.len();
        Self::mut_from_prefix(payload).map_err(|_| Malformed::Short(length))
    }

    /// The prefix of a message's refusal, and the rest of the message, which goes back with it: for a message that there is
    /// no memory to answer in place.
    ///
    /// # Errors
    ///
    /// [`Malformed::Short`].
    pub fn refusal(payload: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let (prefix, body) = Self::parse(payload)?;
        let mut prefix = *prefix;
        prefix.answer(Status::FAIL);
        Ok((prefix, body))
    }

    /// What the message is about.
    #[must_use]
    pub fn message_type(&self) -> MessageType {
        MessageType(self.message_type.get())
    }

    /// How the request ended.
    #[must_use]
    pub fn status(&self) -> Status {
        Status(self.status.get())
    }

    /// The flags, unknown ones included.
    #[must_use]
    pub fn flags(&self) -> Flags {
        Flags::from_bits_retain(self.flags)
    }

    /// Makes the prefix of a request that of its answer.
    pub fn answer(&mut self, status: Status) {
        self.status = U32::new(status.0);
        self.flags = (Flags::TRANSACTION | Flags::RESPONSE).bits();
    }
}

impl From<Service> for MessageType {
    fn from(service: Service) -> Self {
        match service {
            Service::Shutdown => Self::SHUTDOWN,
            Service::Heartbeat => Self::HEARTBEAT,
            Service::Timesync => Self::TIMESYNC,
            Service::Kvp => Self::KVP_EXCHANGE,
            Service::Vss => Self::VSS,
            Service::Fcopy => Self::FCOPY,
        }
    }
}

/// Reads a structure from the start of a body.
///
/// # Errors
///
/// [`Malformed::Short`].
pub(crate) fn read<T>(body: &[u8]) -> Result<(&T, &[u8]), Malformed>
where
    T: zerocopy::FromBytes + zerocopy::KnownLayout + zerocopy::Immutable + zerocopy::Unaligned,
{
    T::ref_from_prefix(body).map_err(|_| Malformed::Short(body.len()))
}
