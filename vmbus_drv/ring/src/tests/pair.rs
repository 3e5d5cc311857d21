// SPDX-License-Identifier: GPL-2.0

//! A writer and a reader on the same ring against a queue as the model.

use std::collections::VecDeque;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::memory::TestMem;
use crate::{
    Control, OutgoingPacket, PacketFlags, PacketType, Pending, ReadError, Reader, Room, Signal,
    WriteError, Writer,
};

/// What the model knows of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sent {
    packet_type: u16,
    flags: u16,
    transaction_id: u64,
    extension: Vec<u8>,
    payload: Vec<u8>,
}

impl Sent {
    /// As the other end gets it.
    fn padded(mut self) -> Self {
        for part in [&mut self.extension, &mut self.payload] {
            part.resize(part.len().next_multiple_of(8), 0);
        }
        self
    }
}

/// A step of one of the two ends.
#[derive(Clone, Debug)]
enum Step {
    Stage(Sent, usize),
    Publish,
    Next,
    Commit,
    Unmask,
}

fn sent() -> impl Strategy<Value = Sent> {
    let bytes = |max| proptest::collection::vec(any::<u8>(), 0..max);
    (
        any::<u16>(),
        any::<u16>(),
        any::<u64>(),
        bytes(40),
        bytes(300),
    )
        .prop_map(
            |(packet_type, flags, transaction_id, extension, payload)| Sent {
                packet_type,
                flags,
                transaction_id,
                extension,
                payload,
            },
        )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (sent(), 0..300usize).prop_map(|(sent, cut)| Step::Stage(sent, cut)),
        2 => Just(Step::Publish),
        4 => Just(Step::Next),
        1 => Just(Step::Commit),
        1 => Just(Step::Unmask),
    ]
}

/// Both ends, the model, and who is asleep.
struct Pair<'m> {
    mem: &'m TestMem,
    writer: Writer<&'m TestMem>,
    reader: Reader<&'m TestMem>,
    staged: VecDeque<Sent>,
    visible: VecDeque<Sent>,
    /// The reader has unmasked and found nothing: it acts only after a signal.
    reader_asleep: bool,
    /// The writer waits for this many bytes: it acts only after a signal.
    writer_waits: Option<u32>,
    buffer: Vec<u8>,
}

impl<'m> Pair<'m> {
    fn new(mem: &'m TestMem) -> Self {
        Self {
            mem,
            writer: Writer::new(mem).unwrap(),
            reader: Reader::new(mem).unwrap(),
            staged: VecDeque::new(),
            visible: VecDeque::new(),
            reader_asleep: false,
            writer_waits: None,
            buffer: vec![0; 512],
        }
    }

    fn publish(&mut self) {
        let was_empty = self.mem.get(Control::ReadIndex) == self.mem.get(Control::WriteIndex);
        let masked = self.mem.get(Control::InterruptMask) != 0;
        let news = !self.staged.is_empty();
        let signal = self.writer.publish();
        assert_eq!(
            signal == Signal::Needed,
            was_empty && !masked && news,
            "no needless signal"
        );
        self.visible.append(&mut self.staged);
        if signal == Signal::Needed {
            self.reader_asleep = false;
            self.reader.mask();
        }
        assert!(
            !self.reader_asleep || self.visible.is_empty(),
            "the reader sleeps on packets"
        );
    }

    fn woken(&mut self, signal: Signal) {
        if signal == Signal::Needed {
            assert!(
                self.writer_waits.take().is_some(),
                "needless signal for room"
            );
            self.writer.disarm_pending_send();
        }
        if let Some(needed) = self.writer_waits {
            let size = 1024;
            let used = (self.mem.get(Control::WriteIndex) + size
                - self.mem.get(Control::ReadIndex))
                % size;
            // One unit more may be free, which is where the host is asked to signal; an empty ring
            // has room for all.
            assert!(size - used <= needed + 8, "the writer sleeps on room");
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Stage(sent, cut) if self.writer_waits.is_none() => self.stage(sent, cut),
            Step::Publish if self.writer_waits.is_none() => self.publish(),
            Step::Next if !self.reader_asleep => self.next(),
            Step::Commit => {
                let signal = self.reader.commit();
                self.woken(signal);
            }
            Step::Unmask if !self.reader_asleep => {
                let (signal, pending) = self.reader.unmask();
                self.woken(signal);
                assert_eq!(pending == Pending::Idle, self.visible.is_empty());
                self.reader_asleep = pending == Pending::Idle;
                if !self.reader_asleep {
                    self.reader.mask();
                }
            }
            _ => {}
        }
    }

    fn stage(&mut self, sent: Sent, cut: usize) {
        let (first, second) = sent.payload.split_at(cut.min(sent.payload.len()));
        let packet = OutgoingPacket {
            packet_type: PacketType(sent.packet_type),
            flags: PacketFlags::from_bits_retain(sent.flags),
            transaction_id: sent.transaction_id,
            extension: &[&sent.extension],
            payload: &[first, second],
        };
        match self.writer.stage(&packet) {
            Ok(()) => self.staged.push_back(sent.padded()),
            Err(WriteError::Full { needed }) => {
                self.publish();
                match self.writer.arm_pending_send(needed).unwrap() {
                    Room::Now => {
                        self.writer.stage(&packet).expect("room was promised");
                        self.staged.push_back(sent.padded());
                    }
                    Room::Later => self.writer_waits = Some(needed),
                }
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    fn next(&mut self) {
        match self.reader.next(&mut self.buffer) {
            Ok(packet) => {
                let got = Sent {
                    packet_type: packet.packet_type.0,
                    flags: packet.flags.bits(),
                    transaction_id: packet.transaction_id,
                    extension: packet.extension.to_vec(),
                    payload: packet.payload.to_vec(),
                };
                assert_eq!(Some(got), self.visible.pop_front());
            }
            Err(ReadError::Empty) => assert!(self.visible.is_empty()),
            Err(error) => panic!("{error:?}"),
        }
    }
}

proptest! {
    /// What goes in comes out, in order and whole, and nobody sleeps when there is something to do.
    #[test]
    fn packets_arrive_in_order_and_nobody_is_left_asleep(steps in proptest::collection::vec(step(), 0..400)) {
        let mem = TestMem::new(1024);
        let mut pair = Pair::new(&mem);
        for step in steps {
            pair.step(step);
        }
        pair.reader_asleep = false;
        pair.publish();
        for _ in 0..=pair.visible.len() {
            pair.next();
        }
        prop_assert!(pair.visible.is_empty());
    }
}

/// Each packet size at each position, so that each part of a packet crosses the end of the data
/// area.
#[test]
fn packets_wrap_at_every_position() {
    for len in 0..48usize {
        let mem = TestMem::new(128);
        let mut pair = Pair::new(&mem);
        for id in 0..64u8 {
            let bytes = vec![id; len];
            let sent = Sent {
                packet_type: 6,
                flags: 0,
                transaction_id: u64::from(id),
                extension: vec![id; 8],
                payload: bytes,
            };
            pair.stage(sent, len / 2);
            pair.publish();
            pair.next();
            let _ = pair.reader.commit();
        }
    }
}
