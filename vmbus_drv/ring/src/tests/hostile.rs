// SPDX-License-Identifier: GPL-2.0

//! A host that writes anything, at any time, to every word and byte of a ring.

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::memory::TestMem;
use crate::{Control, OutgoingPacket, ReadError, Reader, Snapshot, WriteError, Writer};

/// A step of the host or of the guest.
#[derive(Clone, Debug)]
enum Step {
    /// The host changes a word for good.
    Word(Control, u32),
    /// The host changes a word for one load.
    Flicker(Control, u32),
    /// The host writes data.
    Data(usize, Vec<u8>),
    /// The host writes a descriptor.
    Lengths(usize, u16, u16),
    /// The guest sends, or reads into a buffer, of this length.
    Packet(usize),
    /// The guest publishes, or commits.
    Batch,
    /// The guest arms, or masks and unmasks.
    Wait(u32),
}

/// Values near those that matter, and any other.
fn word() -> impl Strategy<Value = u32> {
    prop_oneof![3 => (0..40u32).prop_map(|unit| unit * 8), 1 => 0..300u32, 1 => any::<u32>()]
}

fn control() -> impl Strategy<Value = Control> {
    prop_oneof![
        3 => Just(Control::WriteIndex),
        3 => Just(Control::ReadIndex),
        1 => Just(Control::InterruptMask),
        1 => Just(Control::PendingSendSize),
        1 => Just(Control::FeatureBits),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let units = || prop_oneof![4 => 0..40u16, 1 => any::<u16>()];
    prop_oneof![
        3 => (control(), word()).prop_map(|(control, value)| Step::Word(control, value)),
        1 => (control(), word()).prop_map(|(control, value)| Step::Flicker(control, value)),
        1 => (0..192usize, proptest::collection::vec(any::<u8>(), 0..64))
            .prop_map(|(offset, bytes)| Step::Data(offset, bytes)),
        2 => (0..31usize, units(), units()).prop_map(|(unit, offset8, length8)| {
            Step::Lengths(unit * 8, offset8, length8)
        }),
        6 => (0..300usize).prop_map(Step::Packet),
        3 => Just(Step::Batch),
        1 => word().prop_map(Step::Wait),
    ]
}

/// Does the host's part of a step.
fn host(mem: &TestMem, step: &Step) {
    match step {
        Step::Word(control, value) => mem.set(*control, *value),
        Step::Flicker(control, value) => mem.script(*control, *value),
        Step::Data(offset, bytes) => mem.set_bytes(*offset, bytes),
        Step::Lengths(offset, offset8, length8) => {
            mem.set_bytes(offset + 2, &offset8.to_le_bytes());
            mem.set_bytes(offset + 4, &length8.to_le_bytes());
        }
        Step::Packet(_) | Step::Batch | Step::Wait(_) => {}
    }
    let snapshot = Snapshot::of(mem);
    assert_eq!(snapshot.bytes_to_read + snapshot.bytes_to_write, 256);
}

/// A ring of 256 bytes with random content, so that what was not written by a step is hostile too.
fn memory(seed: &[u8]) -> TestMem {
    let mem = TestMem::new(256);
    mem.set_bytes(0, seed);
    mem
}

proptest! {
    /// The memory panics at the first access outside of it.
    #[test]
    fn the_writer_survives_any_host(
        seed in proptest::collection::vec(any::<u8>(), 256),
        steps in proptest::collection::vec(step(), 0..100),
    ) {
        let mem = memory(&seed);
        let mut writer = Writer::new(&mem).unwrap();
        let mut corrupt = None;
        for step in &steps {
            host(&mem, step);
            let written = mem.written.get();
            let failed = match *step {
                Step::Packet(len) => {
                    let bytes = vec![0; len];
                    match writer.stage(&OutgoingPacket::in_band(&[&bytes])) {
                        Err(WriteError::Corrupt(corrupt)) => Some(corrupt),
                        Err(WriteError::TooLarge) => {
                            prop_assert!(len > 256 - 16 - 24);
                            continue;
                        }
                        Ok(()) | Err(WriteError::Full { .. }) => None,
                    }
                }
                Step::Batch => {
                    let _ = writer.publish();
                    continue;
                }
                Step::Wait(needed) => writer.arm_pending_send(needed).err(),
                _ => continue,
            };
            // Once corrupt, always corrupt, and nothing is written any more.
            if corrupt.is_some() {
                prop_assert_eq!(corrupt, failed);
                prop_assert_eq!(mem.written.get(), written);
            }
            corrupt = failed;
        }
    }

    /// The same, and each packet is within the buffer, for as many packets as the ring could hold.
    #[test]
    fn the_reader_survives_any_host(
        seed in proptest::collection::vec(any::<u8>(), 256),
        steps in proptest::collection::vec(step(), 0..100),
    ) {
        let mem = memory(&seed);
        let mut reader = Reader::new(&mem).unwrap();
        let mut corrupt = None;
        for step in &steps {
            host(&mem, step);
            let failed = match *step {
                Step::Packet(len) => {
                    let mut buffer = vec![0; len];
                    match reader.next(&mut buffer) {
                        Ok(packet) => {
                            prop_assert!(packet.extension.len() + packet.payload.len() <= len);
                            None
                        }
                        Err(ReadError::TooLarge { len: needed }) => {
                            prop_assert!(needed > len && needed <= 256 - 24);
                            None
                        }
                        Err(ReadError::Empty) => None,
                        Err(ReadError::Corrupt(corrupt)) => Some(corrupt),
                    }
                }
                Step::Batch => {
                    let _ = reader.commit();
                    continue;
                }
                Step::Wait(_) => {
                    reader.mask();
                    let _ = reader.unmask();
                    continue;
                }
                _ => continue,
            };
            if corrupt.is_some() {
                prop_assert_eq!(corrupt, failed);
            }
            corrupt = failed;
        }
    }

    /// However the host moves its index, a reader that drains the ring comes to an end.
    #[test]
    fn draining_ends(
        seed in proptest::collection::vec(any::<u8>(), 256),
        writes in proptest::collection::vec(word(), 1..20),
    ) {
        let mem = memory(&seed);
        let mut reader = Reader::new(&mem).unwrap();
        let mut packets = 0;
        for &write in &writes {
            mem.set(Control::WriteIndex, write);
            while reader.next(&mut [0; 256]).is_ok() {
                packets += 1;
            }
            let _ = reader.commit();
        }
        // The smallest packet has 24 bytes and one round of the ring has fewer than 256.
        prop_assert!(packets <= writes.len() * (256 / 24));
    }
}
