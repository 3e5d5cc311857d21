// SPDX-License-Identifier: GPL-2.0

//! Layouts of the message bodies (`struct vmbus_channel_*`), without the header that they share.
//!
//! All integers are little-endian, and no field is aligned.

use super::MessageType;
use hvdef::Guid;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Size of the data that offers and open requests carry for the device's own use, in bytes.
pub const USER_DATA_SIZE: usize = 120;

/// Gives wire structures the traits that they share.
macro_rules! wire {
    ($($(#[$attr:meta])* pub struct $name:ident { $($(#[$field_attr:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$attr])*
            #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
            #[repr(C)]
            pub struct $name {
                $($(#[$field_attr])* pub $field: $type,)*
            }
        )*
    };
}

wire! {
    /// Starts every message, 8 bytes.
    pub struct Header {
        /// The [`MessageType`].
        message_type: U32,
        /// Reserved, zero.
        reserved: U32,
    }

    /// An offer, 188 bytes.
    pub struct OfferChannel {
        /// The kind of device (`if_type`).
        class: Guid,
        /// The device (`if_instance`).
        instance: Guid,
        /// Reserved.
        reserved: [U64; 2],
        /// See [`OfferFlags`](crate::OfferFlags).
        flags: U16,
        /// Address space that the device wants, in MiB.
        mmio_megabytes: U16,
        /// For the device's own use.
        user_data: [u8; USER_DATA_SIZE],
        /// 0 for the device's first channel, others for its sub-channels.
        sub_channel_index: U16,
        /// Reserved.
        reserved2: U16,
        /// The channel's number.
        relid: U32,
        /// Which bit of the monitor pages signals the host, if one is allocated.
        monitor_id: u8,
        /// Bit 0: a monitor bit is allocated.
        monitor_allocated: u8,
        /// Bit 0: the channel has a connection of its own, and its bit in the interrupt page must stay clear.
        dedicated_interrupt: U16,
        /// The connection that signals the host.
        connection_id: U32,
    }

    /// A withdrawn offer, 4 bytes.
    pub struct RescindChannelOffer {
        /// The channel.
        relid: U32,
    }

    /// Nothing.
    pub struct RequestOffers {}

    /// Nothing.
    pub struct AllOffersDelivered {}

    /// A request to open, 140 bytes.
    pub struct OpenChannel {
        /// The channel.
        relid: U32,
        /// Chosen by the guest, and repeated in the answer.
        open_id: U32,
        /// The memory of the rings.
        ring_gpadl: U32,
        /// The VP to interrupt.
        target_vp: U32,
        /// Where the ring from host to guest begins, in pages.
        downstream_page_offset: U32,
        /// For the device's own use.
        user_data: [u8; USER_DATA_SIZE],
    }

    /// The answer to that, 12 bytes.
    pub struct OpenResult {
        /// The channel.
        relid: U32,
        /// As in the request.
        open_id: U32,
        /// 0 for success.
        status: U32,
    }

    /// A request to close, 4 bytes.
    pub struct CloseChannel {
        /// The channel.
        relid: U32,
    }

    /// The start of a description of memory, 12 bytes; a [`GpaRange`] and its PFNs follow.
    pub struct GpadlHeader {
        /// The channel.
        relid: U32,
        /// Chosen by the guest.
        gpadl: U32,
        /// Bytes of all ranges and their PFNs, those in later messages included.
        range_buffer_len: U16,
        /// How many ranges there are.
        range_count: U16,
    }

    /// A range of memory, 8 bytes; its PFNs follow, as many as the bytes touch.
    pub struct GpaRange {
        /// How many bytes.
        byte_count: U32,
        /// Where they begin in the first page.
        byte_offset: U32,
    }

    /// More PFNs, 8 bytes; they follow.
    pub struct GpadlBody {
        /// Numbers the bodies in C; hosts ignore it.
        message_number: U32,
        /// As in the header.
        gpadl: U32,
    }

    /// The answer to a description of memory, 12 bytes.
    pub struct GpadlCreated {
        /// The channel.
        relid: U32,
        /// As in the request.
        gpadl: U32,
        /// 0 for success.
        status: U32,
    }

    /// A request to give memory back, 8 bytes.
    pub struct GpadlTeardown {
        /// The channel.
        relid: U32,
        /// Which memory.
        gpadl: U32,
    }

    /// The answer to that, 4 bytes.
    pub struct GpadlTorndown {
        /// Which memory.
        gpadl: U32,
    }

    /// A relid given back, 4 bytes.
    pub struct RelidReleased {
        /// The channel.
        relid: U32,
    }

    /// The first message, 32 bytes.
    pub struct InitiateContact {
        /// The [`Version`](crate::Version) that is proposed.
        version: U32,
        /// The VP that receives messages.
        target_vp: U32,
        /// Address of the interrupt page before 5.0. Since then: SINT, VTL, two zero bytes, features.
        interrupt_page_or_target: [u8; 8],
        /// Address of the monitor page from host to guest.
        parent_to_child_monitor_page: U64,
        /// Address of the monitor page from guest to host.
        child_to_parent_monitor_page: U64,
    }

    /// The answer to that, 8 bytes.
    pub struct VersionResponse {
        /// Not 0 if the host speaks the version.
        version_supported: u8,
        /// See [`ConnectionState`].
        connection_state: u8,
        /// Reserved.
        reserved: U16,
        /// Since 5.0: the connection for all later messages.
        message_connection_id: U32,
    }

    /// Nothing.
    pub struct Unload {}

    /// Nothing.
    pub struct UnloadResponse {}

    /// A request to connect a socket, 32 bytes.
    pub struct TlConnectRequest {
        /// The guest's end.
        endpoint: Guid,
        /// The host's end.
        service: Guid,
    }

    /// A request to move an interrupt, 8 bytes.
    pub struct ModifyChannel {
        /// The channel.
        relid: U32,
        /// The VP to interrupt.
        target_vp: U32,
    }

    /// The answer to a request for a socket, 36 bytes.
    pub struct TlConnectResult {
        /// The guest's end.
        endpoint: Guid,
        /// The host's end.
        service: Guid,
        /// 0 for success.
        status: U32,
    }

    /// The answer to a request to move an interrupt, 8 bytes.
    pub struct ModifyChannelResponse {
        /// The channel.
        relid: U32,
        /// 0 for success.
        status: U32,
    }

    /// New monitor pages, 16 bytes.
    pub struct ModifyConnection {
        /// Address of the page from host to guest.
        parent_to_child_monitor_page: U64,
        /// Address of the page from guest to host.
        child_to_parent_monitor_page: U64,
    }

    /// The answer to that, 1 byte.
    pub struct ModifyConnectionResponse {
        /// See [`ConnectionState`].
        connection_state: u8,
    }
}

impl Header {
    /// The header of a message of this type.
    pub(super) fn new(message_type: MessageType) -> Self {
        Self {
            message_type: message_type.0.into(),
            reserved: 0.into(),
        }
    }
}

hvdef::open_enum! {
    /// Whether a host that speaks the version also accepts the connection.
    pub enum ConnectionState: u8 {
        /// It does.
        SUCCESSFUL = 0,
        /// It lacks resources.
        LOW_RESOURCES = 1,
        /// It does not say why not.
        UNKNOWN_FAILURE = 2,
    }
}

hvdef::open_enum! {
    /// How a request ended, as the host tells it (`NTSTATUS`).
    pub enum Status: u32 {
        /// It was carried out.
        SUCCESS = 0,
        /// It was not.
        UNSUCCESSFUL = 0xc000_0001,
        /// A parameter is invalid.
        INVALID_PARAMETER = 0xc000_000d,
        /// The host lacks resources.
        INSUFFICIENT_RESOURCES = 0xc000_009a,
    }
}
