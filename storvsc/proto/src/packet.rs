// SPDX-License-Identifier: GPL-2.0

//! The packet: the head that every request and answer has, and what may follow it.

use crate::properties::{ChannelProperties, FcWwn, SubChannelCount};
use crate::srb::Srb;
use crate::version::ProtocolVersion;
use bitflags::bitflags;
use hvdef::open_enum;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes as _, FromZeros as _};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

open_enum! {
    /// What a packet asks or answers (`enum vstor_packet_operation`).
    pub enum Operation: u32 {
        /// Host to guest: the answer to every request.
        COMPLETE_IO = 1,
        /// Host to guest, unsolicited: a LUN has gone.
        REMOVE_DEVICE = 2,
        /// Carry out an [`Srb`].
        EXECUTE_SRB = 3,
        /// End what a LUN is doing.
        RESET_LUN = 4,
        /// End what the controller is doing.
        RESET_ADAPTER = 5,
        /// End what all LUNs of a path are doing.
        RESET_BUS = 6,
        /// Start of the handshake.
        BEGIN_INITIALIZATION = 7,
        /// End of the handshake: SRBs may follow.
        END_INITIALIZATION = 8,
        /// Propose a [`ProtocolVersion`].
        QUERY_PROTOCOL_VERSION = 9,
        /// Ask for [`ChannelProperties`].
        QUERY_PROPERTIES = 10,
        /// Host to guest, unsolicited: look for LUNs that have come or gone.
        ENUMERATE_BUS = 11,
        /// Ask for [`FcWwn`]. Fibre Channel only.
        FCHBA_DATA = 12,
        /// Ask for sub-channels, with a [`SubChannelCount`].
        CREATE_SUB_CHANNELS = 13,
    }
}

impl Operation {
    /// The operation of a packet that was received. `None` if it is too short. What the host sends unsolicited may be no
    /// more than that.
    pub(crate) fn view(received: &[u8]) -> Option<Self> {
        let operation = received.first_chunk()?;
        Some(Self(u32::from_le_bytes(*operation)))
    }
}

bitflags! {
    /// Flags of a packet.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct PacketFlags: u32 {
        /// `REQUEST_COMPLETION_FLAG`: the host is to answer.
        const REQUEST_COMPLETION = 1;
    }
}

open_enum! {
    /// What became of a request at the level of the protocol, an `NTSTATUS`. What became of the SCSI command is in the
    /// [`Srb`].
    pub enum NtStatus: u32 {
        /// Done.
        SUCCESS = 0,
        /// Not done; all that hosts say of an SRB that failed.
        UNSUCCESSFUL = 0xc000_0001,
        /// The packet makes no sense.
        INVALID_PARAMETER = 0xc000_000d,
        /// This device does not know the operation.
        INVALID_DEVICE_REQUEST = 0xc000_0010,
        /// The host does not speak this version.
        REVISION_MISMATCH = 0xc000_0059,
        /// Not now: the handshake is not that far.
        INVALID_DEVICE_STATE = 0xc000_0184,
    }
}

/// Size in bytes of a [`Packet`].
pub const PACKET_SIZE: usize = 64;

/// Size in bytes of what follows a packet's head.
pub(crate) const PAYLOAD_SIZE: usize = 52;

/// A request or an answer (`struct vstor_packet`): 64 bytes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Packet {
    /// An [`Operation`].
    operation: U32,
    /// [`PacketFlags`].
    flags: U32,
    /// In an answer, an [`NtStatus`].
    status: U32,
    /// What the operation needs; the rest is zero.
    payload: [u8; PAYLOAD_SIZE],
}
const _: () = assert!(size_of::<Packet>() == PACKET_SIZE);

/// What a packet may carry. Every payload fits a packet; the constant makes that a matter of compilation.
pub trait Payload: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable + Sized {
    /// Proof that the payload fits.
    const FITS: () = assert!(size_of::<Self>() <= PAYLOAD_SIZE);
}

impl Payload for Srb {}
impl Payload for ProtocolVersion {}
impl Payload for ChannelProperties {}
impl Payload for SubChannelCount {}
impl Payload for FcWwn {}

impl Packet {
    /// A request without payload that wants an answer.
    #[must_use]
    #[inline]
    pub fn request(operation: Operation) -> Self {
        Self {
            operation: U32::new(operation.0),
            flags: U32::new(PacketFlags::REQUEST_COMPLETION.bits()),
            ..Self::new_zeroed()
        }
    }

    /// The answer to a request.
    #[must_use]
    pub fn answer(status: NtStatus) -> Self {
        Self {
            operation: U32::new(Operation::COMPLETE_IO.0),
            status: U32::new(status.0),
            ..Self::new_zeroed()
        }
    }

    /// What the host sends on its own.
    #[must_use]
    pub fn notification(operation: Operation) -> Self {
        Self {
            operation: U32::new(operation.0),
            ..Self::new_zeroed()
        }
    }

    /// The same packet with a payload.
    #[must_use]
    #[inline]
    pub fn with<T: Payload>(mut self, payload: &T) -> Self {
        let () = T::FITS;
        let bytes = payload.as_bytes();
        if let Some(place) = self.payload.get_mut(..bytes.len()) {
            place.copy_from_slice(bytes);
        }
        self
    }

    /// The packet that was received, which may be padded. `None` if it is too short.
    #[must_use]
    #[inline]
    pub fn view(received: &[u8]) -> Option<&Self> {
        Self::ref_from_prefix(received)
            .ok()
            .map(|(packet, _)| packet)
    }

    /// The request to carry out a command.
    #[must_use]
    #[inline]
    pub fn execute(srb: Srb) -> Self {
        Self {
            payload: zerocopy::transmute!(srb),
            ..Self::request(Operation::EXECUTE_SRB)
        }
    }

    /// The packet as words, little-endian.
    #[must_use]
    #[inline]
    pub fn words(self) -> [u64; PACKET_SIZE / 8] {
        zerocopy::transmute!(self)
    }

    /// The payload of the answer to that.
    #[must_use]
    #[inline]
    pub fn srb(&self) -> &Srb {
        zerocopy::transmute_ref!(&self.payload)
    }

    /// Copies a packet out of what was received, which may be padded. `None` if it is too short.
    #[must_use]
    #[inline]
    pub fn parse(received: &[u8]) -> Option<Self> {
        Self::read_from_prefix(received)
            .ok()
            .map(|(packet, _)| packet)
    }

    /// What the packet asks or answers.
    #[must_use]
    #[inline]
    pub fn operation(&self) -> Operation {
        Operation(self.operation.get())
    }

    /// The flags, unknown ones included.
    #[must_use]
    pub fn flags(&self) -> PacketFlags {
        PacketFlags::from_bits_retain(self.flags.get())
    }

    /// What became of the request.
    #[must_use]
    #[inline]
    pub fn status(&self) -> NtStatus {
        NtStatus(self.status.get())
    }

    /// Whether this is the answer to a request that was done.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.operation() == Operation::COMPLETE_IO && self.status() == NtStatus::SUCCESS
    }

    /// The payload, seen as `T`. Which `T` it is, the request tells.
    #[must_use]
    #[inline]
    pub fn payload<T: Payload>(&self) -> T {
        let () = T::FITS;
        T::read_from_prefix(&self.payload).map_or_else(|_| T::new_zeroed(), |(payload, _)| payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memoffset::span_of;
    use proptest::prelude::*;
    use zerocopy::IntoBytes as _;

    #[test]
    fn layout() {
        assert_eq!(span_of!(Packet, operation), 0..4);
        assert_eq!(span_of!(Packet, flags), 4..8);
        assert_eq!(span_of!(Packet, status), 8..12);
        assert_eq!(span_of!(Packet, payload), 12..64);
        assert_eq!(size_of::<Srb>(), PAYLOAD_SIZE);
    }

    #[test]
    fn a_request_on_the_wire() {
        let packet = Packet::request(Operation::CREATE_SUB_CHANNELS).with(&SubChannelCount {
            count: 0x0102.into(),
        });
        let mut wire = [0; PACKET_SIZE];
        (wire[0], wire[4]) = (13, 1);
        (wire[12], wire[13]) = (2, 1);
        assert_eq!(packet.as_bytes(), wire);
    }

    #[test]
    fn an_answer_on_the_wire() {
        let packet = Packet::answer(NtStatus::REVISION_MISMATCH);
        assert_eq!(
            packet.as_bytes()[..12],
            [1, 0, 0, 0, 0, 0, 0, 0, 0x59, 0, 0, 0xc0]
        );
        assert_eq!(packet.operation(), Operation::COMPLETE_IO);
        assert_eq!(packet.status(), NtStatus::REVISION_MISMATCH);
    }

    #[test]
    fn a_packet_is_64_bytes_or_more() {
        for (length, usable) in [(0, false), (63, false), (64, true), (72, true)] {
            assert_eq!(
                Packet::parse(&std::vec![7; length]).is_some(),
                usable,
                "{length}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_survive(wire: [u8; PACKET_SIZE]) {
            let packet = Packet::parse(&wire).unwrap();
            prop_assert_eq!(packet.as_bytes(), wire);
            let srb: Srb = packet.payload();
            prop_assert_eq!(packet.with(&srb), packet);
            let _ = std::format!("{:?} {:?}", packet.operation(), packet.status());
        }
    }
}
