// SPDX-License-Identifier: GPL-2.0

//! Both ends of a ring in two threads, in every order and with every reordering that the memory
//! model allows.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test --release --test loom` and a target folder of its
//! own.

#![cfg(loom)]
#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what panics in a test is a failed test"
)]

use loom::cell::UnsafeCell;
use loom::sync::atomic::{fence, AtomicU32, Ordering};
use loom::sync::Arc;
use loom::thread;
use vmbus_ring::{
    Control, OutgoingPacket, Pending, ReadError, Reader, RingMem, Room, Signal, WriteError, Writer,
};

/// Bytes in the rings of these tests: the smallest size, to wrap soon.
const SIZE: usize = 64;

/// Ring memory in which the checker sees each access. Data access that is not ordered by the
/// indices is a race, and fails the test.
#[derive(Clone)]
struct Mem(Arc<Words>);

struct Words {
    control: [AtomicU32; 5],
    data: Vec<UnsafeCell<[u8; 8]>>,
}

impl Mem {
    fn new() -> Self {
        Self(Arc::new(Words {
            control: Default::default(),
            data: (0..SIZE / 8).map(|_| UnsafeCell::new([0; 8])).collect(),
        }))
    }

    fn word(&self, word: Control) -> &AtomicU32 {
        &self.0.control[match word {
            Control::WriteIndex => 0,
            Control::ReadIndex => 1,
            Control::InterruptMask => 2,
            Control::PendingSendSize => 3,
            Control::FeatureBits => 4,
        }]
    }

    fn cells(&self, offset: u32, len: usize) -> &[UnsafeCell<[u8; 8]>] {
        let start = usize::try_from(offset).unwrap() / 8;
        &self.0.data[start..start + len / 8]
    }
}

impl RingMem for Mem {
    fn size(&self) -> u32 {
        u32::try_from(SIZE).unwrap()
    }

    fn load(&self, word: Control) -> u32 {
        self.word(word).load(Ordering::Acquire)
    }

    fn store(&self, word: Control, value: u32) {
        self.word(word).store(value, Ordering::Release);
    }

    fn full_fence(&self) {
        fence(Ordering::SeqCst);
    }

    fn read(&self, offset: u32, dest: &mut [u8]) {
        let cells = self.cells(offset, dest.len());
        for (cell, bytes) in cells.iter().zip(dest.chunks_exact_mut(8)) {
            // SAFETY: The pointer is that of the live cell; the checker fails on an access that is
            // not ordered with this one.
            bytes.copy_from_slice(&cell.with(|value| unsafe { *value }));
        }
    }

    fn write(&self, offset: u32, src: &[u8]) {
        let cells = self.cells(offset, src.len());
        for (cell, bytes) in cells.iter().zip(src.chunks_exact(8)) {
            // SAFETY: As in `read`.
            cell.with_mut(|value| unsafe { *value = bytes.try_into().unwrap() });
        }
    }
}

/// A packet whose payload and transaction id tell the same number.
fn send(writer: &mut Writer<Mem>, number: u8) -> Result<Signal, WriteError> {
    writer.send(&OutgoingPacket::request(u64::from(number), &[&[number; 8]]))
}

/// Reads a packet of [`send`] and returns its number.
fn receive(reader: &mut Reader<Mem>) -> Option<u8> {
    let mut buffer = [0; 24];
    match reader.next(&mut buffer) {
        Ok(packet) => {
            let number = packet.payload[0];
            assert_eq!(packet.payload, [number; 8]);
            assert_eq!(packet.transaction_id, u64::from(number));
            Some(number)
        }
        Err(ReadError::Empty) => None,
        Err(error) => panic!("{error:?}"),
    }
}

/// A published packet is whole, and its space is not reused before it is given back.
#[test]
fn packets_are_whole_and_in_order() {
    loom::model(|| {
        let mem = Mem::new();
        let mut writer = Writer::new(mem.clone()).unwrap();
        let mut reader = Reader::new(mem).unwrap();
        let sender = thread::spawn(move || {
            let mut sent = 0;
            for _ in 0..3 {
                match send(&mut writer, sent + 1) {
                    Ok(_) => sent += 1,
                    // One packet of 32 bytes fits a ring of 64.
                    Err(WriteError::Full { needed: 32 }) => thread::yield_now(),
                    Err(error) => panic!("{error:?}"),
                }
            }
            sent
        });
        let mut received = 0;
        for _ in 0..3 {
            if let Some(number) = receive(&mut reader) {
                received += 1;
                assert_eq!(number, received);
                let _ = reader.commit();
            } else {
                thread::yield_now();
            }
        }
        let sent = sender.join().unwrap();
        while let Some(number) = receive(&mut reader) {
            received += 1;
            assert_eq!(number, received);
        }
        assert_eq!(received, sent);
    });
}

/// A reader that goes to sleep on an empty ring is signalled for the packet that arrives meanwhile.
#[test]
fn no_packet_is_left_to_a_sleeping_reader() {
    loom::model(|| {
        let mem = Mem::new();
        let mut writer = Writer::new(mem.clone()).unwrap();
        let mut reader = Reader::new(mem).unwrap();
        assert_eq!(send(&mut writer, 1), Ok(Signal::Needed));
        reader.mask();
        assert_eq!(receive(&mut reader), Some(1));
        let _ = reader.commit();
        let sender = thread::spawn(move || send(&mut writer, 2).unwrap());
        let (_, pending) = reader.unmask();
        let signal = sender.join().unwrap();
        assert!(pending == Pending::More || signal == Signal::Needed);
        assert_eq!(receive(&mut reader), Some(2));
    });
}

/// The same when the last packet is given back by unmasking, so that the writer must see the mask
/// and the index in the right order.
#[test]
fn a_clear_mask_shows_the_last_read_index() {
    loom::model(|| {
        let mem = Mem::new();
        let mut writer = Writer::new(mem.clone()).unwrap();
        let mut reader = Reader::new(mem).unwrap();
        writer.stage(&OutgoingPacket::in_band(&[])).unwrap();
        assert_eq!(writer.publish(), Signal::Needed);
        reader.mask();
        assert!(reader.next(&mut []).is_ok());
        let sender = thread::spawn(move || writer.send(&OutgoingPacket::in_band(&[])).unwrap());
        let (_, pending) = reader.unmask();
        let signal = sender.join().unwrap();
        assert!(pending == Pending::More || signal == Signal::Needed);
    });
}

/// A writer that goes to sleep on a full ring is signalled for the room that is made meanwhile.
#[test]
fn no_room_is_left_to_a_sleeping_writer() {
    loom::model(|| {
        let mem = Mem::new();
        let mut writer = Writer::new(mem.clone()).unwrap();
        let mut reader = Reader::new(mem).unwrap();
        assert_eq!(send(&mut writer, 1), Ok(Signal::Needed));
        assert_eq!(send(&mut writer, 2), Err(WriteError::Full { needed: 32 }));
        let receiver = thread::spawn(move || {
            assert_eq!(receive(&mut reader), Some(1));
            reader.commit()
        });
        let room = writer.arm_pending_send(32).unwrap();
        let signal = receiver.join().unwrap();
        assert!(room == Room::Now || signal == Signal::Needed);
        assert!(send(&mut writer, 2).is_ok());
    });
}
