// SPDX-License-Identifier: GPL-2.0

//! A writer whose host writes any word at any time.

use std::collections::VecDeque;

use vmbus_ring::{Control, OutgoingPacket, Room, WriteError, Writer};

use crate::input::Input;
use crate::memory::{Memory, SIZE};

/// Steps: 0 the host writes a word, 1 stage a packet, 2 publish, 3 arm, 4 disarm and look for room,
/// 5 the host reads.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    let memory = Memory::new();
    let mut writer = Writer::new(&memory).unwrap();
    let mut corrupt = None;
    // Until the host writes a word that is not its own, what it reads must be what was sent.
    let mut honest = Some(Host::default());
    while !input.is_empty() {
        let failed = match input.u8() % 6 {
            0 => {
                memory.hostile_word(&mut input);
                honest = None;
                continue;
            }
            1 => {
                let (extension, payload) = (input.u8(), input.u8());
                let extension = input.bytes(usize::from(extension));
                let payload = input.bytes(usize::from(payload) * 2);
                let id = u64::from(input.u8());
                let (ranges, parts) = ([extension], [payload]);
                match writer.stage(&OutgoingPacket::gpa_direct(id, &ranges, &parts)) {
                    Ok(()) => {
                        if let Some(host) = &mut honest {
                            host.staged.push_back(encoded(id, extension, payload));
                        }
                        None
                    }
                    Err(WriteError::Full { needed }) => {
                        assert!(needed <= SIZE - 16);
                        None
                    }
                    Err(WriteError::TooLarge) => {
                        let body =
                            extension.len().next_multiple_of(8) + payload.len().next_multiple_of(8);
                        assert!(body + 24 > usize::try_from(SIZE).unwrap() - 16);
                        continue;
                    }
                    Err(WriteError::Corrupt(corrupt)) => Some(corrupt),
                }
            }
            2 => {
                let _ = writer.publish();
                if let Some(host) = &mut honest {
                    host.sent.append(&mut host.staged);
                }
                continue;
            }
            3 => {
                let needed = u32::from(input.u16());
                match writer.arm_pending_send(needed) {
                    Ok(Room::Now) => {
                        // Whoever waits for more goes on waiting.
                        let pending = memory.get(Control::PendingSendSize);
                        assert!(pending == 0 || pending > needed.saturating_add(8));
                        None
                    }
                    Ok(Room::Later) => None,
                    Err(corrupt) => Some(corrupt),
                }
            }
            4 => {
                writer.disarm_pending_send();
                match writer.room() {
                    Ok(room) => {
                        assert!(room <= SIZE - 8);
                        None
                    }
                    Err(corrupt) => Some(corrupt),
                }
            }
            _ => {
                if let Some(host) = &mut honest {
                    host.read(&memory);
                }
                continue;
            }
        };
        assert!(
            corrupt.is_none() || corrupt == failed,
            "a corrupt ring came back to life"
        );
        assert!(
            failed.is_none() || honest.is_none(),
            "an honest host was blamed"
        );
        corrupt = failed;
    }
}

/// An honest host: what it has to find in the ring.
#[derive(Default)]
struct Host {
    staged: VecDeque<Vec<u8>>,
    sent: VecDeque<Vec<u8>>,
}

impl Host {
    /// Reads all packets, which must be those sent.
    fn read(&mut self, memory: &Memory) {
        let write = memory.get(Control::WriteIndex);
        let mut read = memory.get(Control::ReadIndex);
        let found = memory.between(read, write);
        let mut expected = Vec::new();
        for mut packet in self.sent.drain(..) {
            let trailer = packet.len() - 4;
            packet[trailer..].copy_from_slice(&read.to_le_bytes());
            read = (read + u32::try_from(packet.len()).unwrap()) % SIZE;
            expected.extend(packet);
        }
        assert_eq!(found, expected);
        memory.set(Control::ReadIndex, write);
    }
}

/// A GPA-direct packet as it must be in the ring, but for the start index at its end.
fn encoded(id: u64, extension: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 16];
    packet.extend(extension);
    packet.resize(packet.len().next_multiple_of(8), 0);
    let offset8 = u16::try_from(packet.len() / 8).unwrap();
    packet.extend(payload);
    packet.resize(packet.len().next_multiple_of(8), 0);
    let length8 = u16::try_from(packet.len() / 8).unwrap();
    for (field, value) in [9, offset8, length8, 1].into_iter().enumerate() {
        packet[field * 2..field * 2 + 2].copy_from_slice(&value.to_le_bytes());
    }
    packet[8..16].copy_from_slice(&id.to_le_bytes());
    packet.extend([0; 8]);
    packet
}
