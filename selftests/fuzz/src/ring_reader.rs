// SPDX-License-Identifier: GPL-2.0

//! A reader whose host writes any word and any data at any time.

use vmbus_ring::{ReadError, Reader};

use crate::input::Input;
use crate::memory::{Memory, SIZE};

/// Steps: 0 the host writes a word, 1 it writes data, 2 read a packet, 3 commit, 4 mask, 5 unmask.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    let memory = Memory::new();
    let mut reader = Reader::new(&memory).unwrap();
    let mut corrupt = None;
    let mut buffer = [0; 600];
    // What the reader takes before it gives space back cannot be more than the ring.
    let mut taken = 0;
    while !input.is_empty() {
        match input.u8() % 6 {
            0 => memory.hostile_word(&mut input),
            1 => memory.hostile_data(&mut input),
            2 => {
                let len = usize::from(input.u8()) * 2;
                let result = reader.next(&mut buffer[..len]);
                let failed = match result {
                    Ok(packet) => {
                        let body = packet.extension.len() + packet.payload.len();
                        assert!(body <= len && packet.extension.len() % 8 == 0);
                        taken += body + 24;
                        None
                    }
                    Err(ReadError::TooLarge { len: needed }) => {
                        assert!(needed > len && needed <= usize::try_from(SIZE).unwrap() - 24);
                        None
                    }
                    Err(ReadError::Empty) => None,
                    Err(ReadError::Corrupt(corrupt)) => Some(corrupt),
                };
                assert!(
                    corrupt.is_none() || corrupt == failed,
                    "a corrupt ring came back to life"
                );
                assert!(taken < usize::try_from(SIZE).unwrap());
                corrupt = failed;
            }
            3 => {
                let _ = reader.commit();
                taken = 0;
            }
            4 => reader.mask(),
            _ => {
                let _ = reader.unmask();
                taken = 0;
            }
        }
    }
}
