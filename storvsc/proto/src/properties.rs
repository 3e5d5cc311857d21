// SPDX-License-Identifier: GPL-2.0

//! What a VSP tells about itself: in its offer and in the handshake.

use bitflags::bitflags;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

bitflags! {
    /// Flags of a [`ChannelProperties`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ChannelFlags: u32 {
        /// `STORAGE_CHANNEL_SUPPORTS_MULTI_CHANNEL`: sub-channels may be asked for.
        const SUPPORTS_MULTI_CHANNEL = 1;
    }
}

/// What the handshake tells (`struct vmstorage_channel_properties`): 24 bytes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct ChannelProperties {
    /// Zero.
    pub reserved: U32,
    /// How many sub-channels may be asked for (`max_channel_cnt`).
    pub max_channel_count: U16,
    /// Zero.
    pub reserved1: U16,
    /// [`ChannelFlags`].
    pub flags: U32,
    /// The most bytes that one SRB may move.
    pub max_transfer_bytes: U32,
    /// Zero.
    pub reserved2: U64,
}
const _: () = assert!(size_of::<ChannelProperties>() == 24);

impl ChannelProperties {
    /// The flags, unknown ones included.
    #[must_use]
    pub const fn flags(&self) -> ChannelFlags {
        ChannelFlags::from_bits_retain(self.flags.get())
    }
}

/// How many sub-channels are asked for: 2 bytes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct SubChannelCount {
    /// The number.
    pub count: U16,
}
const _: () = assert!(size_of::<SubChannelCount>() == 2);

/// The names of a Fibre Channel adapter's ports (`struct hv_fc_wwn_packet`): 36 bytes. Names are big-endian.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct FcWwn {
    /// Whether the primary names are those in use; else the secondary ones are.
    pub primary_active: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// Port name of the primary.
    pub primary_port: [u8; 8],
    /// Node name of the primary.
    pub primary_node: [u8; 8],
    /// Port name of the secondary.
    pub secondary_port: [u8; 8],
    /// Node name of the secondary.
    pub secondary_node: [u8; 8],
}
const _: () = assert!(size_of::<FcWwn>() == 36);

/// The start of the user data in an IDE accelerator's offer: 12 bytes.
///
/// The names are those that `vmstorage_channel_properties` had before the handshake carried them (Linux 2.6.32,
/// `drivers/staging/hv/vstorage.h`). Newer drivers take the target from bytes 4 and 5 of the instance GUID.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct OfferProperties {
    /// Zero.
    pub reserved: U16,
    /// Which IDE controller.
    pub path_id: u8,
    /// Which disk of it.
    pub target_id: u8,
    /// Zero: the guest numbers its ports.
    pub port_number: U32,
    /// `STORAGE_CHANNEL_EMULATED_IDE_FLAG` (2) or `STORAGE_CHANNEL_REMOVABLE_FLAG` (1).
    pub flags: U32,
}
const _: () = assert!(size_of::<OfferProperties>() == 12);

impl OfferProperties {
    /// `STORAGE_CHANNEL_EMULATED_IDE_FLAG`: the disk also shows at an emulated IDE controller.
    pub const EMULATED_IDE: u32 = 2;
}

#[cfg(test)]
mod tests {
    use super::*;
    use memoffset::span_of;

    #[test]
    fn layout() {
        assert_eq!(span_of!(ChannelProperties, reserved), 0..4);
        assert_eq!(span_of!(ChannelProperties, max_channel_count), 4..6);
        assert_eq!(span_of!(ChannelProperties, reserved1), 6..8);
        assert_eq!(span_of!(ChannelProperties, flags), 8..12);
        assert_eq!(span_of!(ChannelProperties, max_transfer_bytes), 12..16);
        assert_eq!(span_of!(ChannelProperties, reserved2), 16..24);

        assert_eq!(span_of!(SubChannelCount, count), 0..2);

        assert_eq!(span_of!(FcWwn, primary_active), 0..1);
        assert_eq!(span_of!(FcWwn, reserved), 1..4);
        assert_eq!(span_of!(FcWwn, primary_port), 4..12);
        assert_eq!(span_of!(FcWwn, primary_node), 12..20);
        assert_eq!(span_of!(FcWwn, secondary_port), 20..28);
        assert_eq!(span_of!(FcWwn, secondary_node), 28..36);

        assert_eq!(span_of!(OfferProperties, reserved), 0..2);
        assert_eq!(span_of!(OfferProperties, path_id), 2..3);
        assert_eq!(span_of!(OfferProperties, target_id), 3..4);
        assert_eq!(span_of!(OfferProperties, port_number), 4..8);
        assert_eq!(span_of!(OfferProperties, flags), 8..12);
    }
}
