// SPDX-License-Identifier: GPL-2.0

//! What the hypervisor tells by CPUID, by SynIC messages and in text.

use hvdef::cpuid::Hypervisor;
use hvdef::synic::{event_flags, Message, MessageType};
use hvdef::Guid;

use crate::input::Input;

/// Registers, four for each leaf that is asked for.
pub(crate) fn cpuid(bytes: &[u8]) {
    let mut input = Input(bytes);
    let mut asked = Vec::new();
    let result = Hypervisor::discover(|leaf| {
        asked.push(leaf);
        [input.u32(), input.u32(), input.u32(), input.u32()]
    });
    match result {
        Ok(hypervisor) => {
            assert!(asked
                .iter()
                .all(|leaf| *leaf <= hypervisor.max_leaf || *leaf == 1));
            assert!(!hypervisor.to_string().is_empty());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// A message slot, then a word of event flags.
pub(crate) fn synic_message(bytes: &[u8]) {
    let mut input = Input(bytes);
    let mut slot = [0; hvdef::synic::MESSAGE_SIZE];
    let content = input.bytes(slot.len());
    slot[..content.len()].copy_from_slice(content);
    match Message::parse(&slot) {
        Ok(Some(message)) => {
            assert!(message.payload.len() <= 240 && message.message_type != MessageType::NONE);
        }
        Ok(None) => assert_eq!(slot[..4], [0; 4]),
        Err(bad) => assert!(bad.0 > 240),
    }
    let (index, word) = (usize::from(input.u16()), input.u64());
    let flags: Vec<_> = event_flags(index, word).collect();
    assert!(flags.is_sorted() && flags.iter().all(|flag| *flag < 2048));
}

/// Text that may be a GUID.
pub(crate) fn guid(bytes: &[u8]) {
    if let Some(guid) = Guid::from_ascii(bytes) {
        let text = guid.to_string();
        assert!(text.as_bytes().eq_ignore_ascii_case(bytes));
        assert_eq!(Guid::from_ascii(text.as_bytes()), Some(guid));
    }
}
