// SPDX-License-Identifier: GPL-2.0

//! The synthetic interrupt controller: message slots and event flags (TLFS section 11).

use crate::open_enum;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::FromBytes as _;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// SINTs of one VP, and so slots in its message page and arrays in its event flags page.
pub const SINT_COUNT: usize = 16;
/// The SINT that VMBus uses.
pub const VMBUS_SINT: u8 = 2;
/// Size of one message slot, in bytes.
pub const MESSAGE_SIZE: usize = 256;
/// Size of the payload of a message, in bytes.
pub const PAYLOAD_SIZE: usize = 240;
/// Event flags of one SINT.
pub const EVENT_FLAGS: u32 = 2048;
/// 64-bit words that hold the event flags of one SINT.
pub const EVENT_FLAG_WORDS: usize = 32;
/// Size of the event flags of one SINT, in bytes.
pub const EVENT_FLAGS_SIZE: usize = 256;

/// Offset in a slot of the [`MessageType`], which the guest sets to `NONE` to free the slot.
pub const TYPE_OFFSET: usize = 0;
/// Offset in a slot of the flags byte; see [`FLAG_PENDING`].
pub const FLAGS_OFFSET: usize = 5;
/// Set in the flags byte when more messages wait for the slot: write the EOM register after freeing it.
pub const FLAG_PENDING: u8 = 1;

open_enum! {
    /// What a message slot holds. Bit 31 is set in those of the hypervisor itself.
    pub enum MessageType: u32 {
        /// The slot is free.
        NONE = 0,
        /// A VMBus channel message, from the parent partition or to it.
        CHANNEL = 1,
        /// A synthetic timer expired.
        TIMER_EXPIRED = 0x8000_0010,
    }
}

/// The header of a message slot (`HV_MESSAGE_HEADER`), 16 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct MessageHeader {
    /// The [`MessageType`].
    pub message_type: U32,
    /// Bytes of the payload that count, at most 240.
    pub payload_size: u8,
    /// Bit 0: [`FLAG_PENDING`].
    pub flags: u8,
    /// Reserved.
    pub reserved: U16,
    /// The sending partition, or the port on which the message came.
    pub sender: U64,
}

/// A message whose payload size claims more than the slot has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPayloadSize(pub u8);

/// A message in a private copy of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is, never [`MessageType::NONE`].
    pub message_type: MessageType,
    /// The sending partition, or the port on which it came.
    pub sender: u64,
    /// The bytes that count.
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a private copy of a slot; `None` if the slot is free.
    ///
    /// # Errors
    ///
    /// [`BadPayloadSize`] if the payload size is above 240.
    pub fn parse(slot: &'a [u8; MESSAGE_SIZE]) -> Result<Option<Self>, BadPayloadSize> {
        // The array is longer than the header, so that there is always one.
        let Ok((header, payload)) = MessageHeader::read_from_prefix(slot) else {
            return Ok(None);
        };
        let message_type = MessageType(header.message_type.get());
        if message_type == MessageType::NONE {
            return Ok(None);
        }
        let payload = payload
            .get(..usize::from(header.payload_size))
            .ok_or(BadPayloadSize(header.payload_size))?;
        Ok(Some(Self {
            message_type,
            sender: header.sender.get(),
            payload,
        }))
    }
}

/// The numbers of the flags that are set in word `index` of a SINT's event flags; nothing for an index above 31.
///
/// VMBus gives each channel the flag of its relid. Flag 0 stands for no channel.
#[must_use]
pub fn event_flags(index: usize, word: u64) -> SetFlags {
    match u32::try_from(index) {
        Ok(index) if index < EVENT_FLAGS / u64::BITS => SetFlags {
            base: index.wrapping_mul(u64::BITS),
            word,
        },
        _ => SetFlags { base: 0, word: 0 },
    }
}

/// The iterator of [`event_flags`], in ascending order.
#[derive(Clone, Debug)]
pub struct SetFlags {
    /// Number of the flag in bit 0 of the word.
    base: u32,
    /// The flags that are still to come.
    word: u64,
}

impl Iterator for SetFlags {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        if self.word == 0 {
            return None;
        }
        let bit = self.word.trailing_zeros();
        self.word &= self.word.wrapping_sub(1);
        Some(self.base.wrapping_add(bit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    /// A slot with this type and this payload size.
    fn slot(message_type: MessageType, payload_size: u8) -> [u8; MESSAGE_SIZE] {
        let mut slot = [0x5a; MESSAGE_SIZE];
        slot[..4].copy_from_slice(&message_type.0.to_le_bytes());
        slot[4] = payload_size;
        slot
    }

    #[test]
    fn layout() {
        assert_eq!(size_of::<MessageHeader>() + PAYLOAD_SIZE, MESSAGE_SIZE);
        assert_eq!(
            memoffset::offset_of!(MessageHeader, message_type),
            TYPE_OFFSET
        );
        assert_eq!(memoffset::offset_of!(MessageHeader, payload_size), 4);
        assert_eq!(memoffset::offset_of!(MessageHeader, flags), FLAGS_OFFSET);
        assert_eq!(memoffset::span_of!(MessageHeader, sender), 8..16);
    }

    #[test]
    fn a_payload_is_at_most_240_bytes() {
        for size in [0, 1, 239, 240] {
            let copy = slot(MessageType::CHANNEL, size);
            let message = Message::parse(&copy).unwrap().unwrap();
            assert_eq!(message.payload.len(), usize::from(size));
        }
        for size in [241, 255] {
            assert_eq!(
                Message::parse(&slot(MessageType::CHANNEL, size)),
                Err(BadPayloadSize(size))
            );
        }
    }

    #[test]
    fn a_free_slot_is_no_message_whatever_else_it_says() {
        assert_eq!(Message::parse(&slot(MessageType::NONE, 255)), Ok(None));
    }

    #[test]
    fn flags_are_numbered_across_the_words() {
        assert_eq!(
            event_flags(0, 1 << 63 | 0b101).collect::<Vec<_>>(),
            vec![0, 2, 63]
        );
        assert_eq!(event_flags(31, 1 << 63).collect::<Vec<_>>(), vec![2047]);
        assert_eq!(event_flags(32, u64::MAX).count(), 0);
        assert_eq!(event_flags(usize::MAX, u64::MAX).count(), 0);
    }

    proptest! {
        #[test]
        fn every_set_flag_is_seen_once(index in 0..EVENT_FLAG_WORDS, word: u64) {
            let seen = event_flags(index, word).fold(0, |seen: u64, flag| seen ^ 1u64.wrapping_shl(flag));
            prop_assert_eq!(seen, word);
        }
    }
}
