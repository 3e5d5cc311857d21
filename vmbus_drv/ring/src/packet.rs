// SPDX-License-Identifier: GPL-2.0

//! Packets: what a ring carries.

use core::fmt;

use bitflags::bitflags;

/// What a packet is (`enum vmbus_packet_type`). A host may send values that have no name here.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct PacketType(pub u16);

impl PacketType {
    /// `VM_PKT_DATA_INBAND`: all data is in the packet.
    pub const IN_BAND: Self = Self(6);
    /// `VM_PKT_DATA_USING_XFER_PAGES`: the data is in ranges of a buffer that both sides know; see
    /// [`crate::transfer`].
    pub const TRANSFER_PAGES: Self = Self(7);
    /// `VM_PKT_DATA_USING_GPADL`: the data is in memory named by a GPADL. Not used by any known
    /// device.
    pub const GPADL: Self = Self(8);
    /// `VM_PKT_DATA_USING_GPA_DIRECT`: the data is in guest pages that the packet lists; see
    /// [`crate::gpa`].
    pub const GPA_DIRECT: Self = Self(9);
    /// `VM_PKT_CANCEL_REQUEST`: withdraws an earlier packet.
    pub const CANCEL: Self = Self(0xa);
    /// `VM_PKT_COMP`: answers the packet that has the same transaction id.
    pub const COMPLETION: Self = Self(0xb);
}

impl fmt::Debug for PacketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::IN_BAND => "IN_BAND",
            Self::TRANSFER_PAGES => "TRANSFER_PAGES",
            Self::GPADL => "GPADL",
            Self::GPA_DIRECT => "GPA_DIRECT",
            Self::CANCEL => "CANCEL",
            Self::COMPLETION => "COMPLETION",
            Self(other) => return write!(f, "PacketType({other:#x})"),
        })
    }
}

bitflags! {
    /// Flags of a packet descriptor.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct PacketFlags: u16 {
        /// `VMBUS_DATA_PACKET_FLAG_COMPLETION_REQUESTED`: the receiver must answer with a
        /// completion packet.
        const COMPLETION_REQUESTED = 1;
    }
}

/// The start of every packet (`struct vmpacket_descriptor`): 16 bytes, little-endian.
///
/// The first four fields are one word of the ring, from its lowest bits on; the fifth is the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptor {
    /// A [`PacketType`].
    pub(crate) packet_type: u16,
    /// Length of descriptor and extension, in units of 8 bytes.
    pub(crate) offset8: u16,
    /// Length of the packet without its trailer, in units of 8 bytes.
    pub(crate) length8: u16,
    /// [`PacketFlags`].
    pub(crate) flags: u16,
    /// Chosen by the sender of a request and returned in its completion; 0 if no answer is
    /// expected.
    pub(crate) transaction_id: u64,
}

/// Words of a packet that are neither extension nor payload: two of the descriptor before them, and the trailer behind.
pub const HEAD_WORDS: usize = 2;
/// See [`HEAD_WORDS`].
pub const TRAILER_WORDS: usize = 1;

/// The first words of a request that is made as a whole, for [`crate::Writer::stage_whole`]: so many words of
/// extension follow, and so many of payload. `None` if a descriptor cannot express that.
#[inline]
pub fn request_head(
    transaction_id: u64,
    extension: usize,
    payload: usize,
) -> Option<[u64; HEAD_WORDS]> {
    let offset8 = extension.checked_add(HEAD_WORDS)?;
    let length8 = u16::try_from(offset8.checked_add(payload)?).ok()?;
    let descriptor = Descriptor {
        packet_type: match extension {
            0 => PacketType::IN_BAND,
            _ => PacketType::GPA_DIRECT,
        }
        .0,
        // The smaller of the two.
        offset8: u16::try_from(offset8).unwrap_or(length8),
        length8,
        flags: PacketFlags::COMPLETION_REQUESTED.bits(),
        transaction_id,
    };
    Some(descriptor.words())
}

/// Size in bytes of a [`Descriptor`].
pub(crate) const DESCRIPTOR_SIZE: usize = 16;

impl Descriptor {
    /// As words of the ring.
    #[inline]
    pub(crate) fn words(self) -> [u64; 2] {
        let first = u64::from(self.packet_type)
            | u64::from(self.offset8) << 16
            | u64::from(self.length8) << 32
            | u64::from(self.flags) << 48;
        [first, self.transaction_id]
    }

    /// From words of the ring.
    #[inline]
    pub(crate) fn from_words([first, transaction_id]: [u64; 2]) -> Self {
        let [a, b, c, d, e, f, g, h] = first.to_le_bytes();
        Self {
            packet_type: u16::from_le_bytes([a, b]),
            offset8: u16::from_le_bytes([c, d]),
            length8: u16::from_le_bytes([e, f]),
            flags: u16::from_le_bytes([g, h]),
            transaction_id,
        }
    }
}

/// The end of a packet that starts at index `start` (`VMBUS_PKT_TRAILER`): a word of the ring whose upper half is that
/// index. No receiver is known to read it.
#[inline]
pub(crate) fn trailer(start: u32) -> u64 {
    u64::from(start) << 32
}

/// Size in bytes of a trailer.
pub(crate) const TRAILER_SIZE: usize = 8;

/// A packet to be sent, in pieces that are copied into the ring one after the other.
#[derive(Clone, Copy, Debug)]
pub struct OutgoingPacket<'a> {
    /// What the packet is.
    pub packet_type: PacketType,
    /// Flags of the packet.
    pub flags: PacketFlags,
    /// From [`crate::inflight::Table::insert`], or the request's own in a completion; 0 if no
    /// completion is wanted.
    pub transaction_id: u64,
    /// What lies between descriptor and payload: ranges from [`crate::gpa`]. Zero padded to a
    /// multiple of 8 bytes.
    pub extension: &'a [&'a [u8]],
    /// What the device gets. Zero padded to a multiple of 8 bytes.
    pub payload: &'a [&'a [u8]],
}

impl<'a> OutgoingPacket<'a> {
    /// A packet that carries all its data and is not answered.
    #[inline]
    pub const fn in_band(payload: &'a [&'a [u8]]) -> Self {
        Self {
            packet_type: PacketType::IN_BAND,
            flags: PacketFlags::empty(),
            transaction_id: 0,
            extension: &[],
            payload,
        }
    }

    /// A packet that carries all its data and is answered by a completion with `transaction_id`.
    #[inline]
    pub const fn request(transaction_id: u64, payload: &'a [&'a [u8]]) -> Self {
        Self {
            flags: PacketFlags::COMPLETION_REQUESTED,
            transaction_id,
            ..Self::in_band(payload)
        }
    }

    /// A request whose data is in the guest pages that `extension` lists, made by
    /// [`crate::gpa::GpaDirect`].
    #[inline]
    pub const fn gpa_direct(
        transaction_id: u64,
        extension: &'a [&'a [u8]],
        payload: &'a [&'a [u8]],
    ) -> Self {
        Self {
            packet_type: PacketType::GPA_DIRECT,
            extension,
            ..Self::request(transaction_id, payload)
        }
    }

    /// The answer to the peer's request that has `transaction_id`.
    #[inline]
    pub const fn completion(transaction_id: u64, payload: &'a [&'a [u8]]) -> Self {
        Self {
            packet_type: PacketType::COMPLETION,
            transaction_id,
            ..Self::in_band(payload)
        }
    }
}

/// A received packet, in the reader's private memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IncomingPacket<'a> {
    /// What the packet is.
    pub packet_type: PacketType,
    /// Flags of the packet.
    pub flags: PacketFlags,
    /// Names the request that this packet completes, or that its completion must name. Chosen by
    /// the host.
    pub transaction_id: u64,
    /// What lies between descriptor and payload, a multiple of 8 bytes; see [`crate::transfer`].
    pub extension: &'a [u8],
    /// What the device sent, padded by the sender to a multiple of 8 bytes.
    pub payload: &'a [u8],
}
