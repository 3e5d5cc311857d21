// SPDX-License-Identifier: GPL-2.0

//! Sends or receives a number of packets on an in-memory ring: the load for `ring.sh`.
//!
//! Usage: `ring_bench send|receive PAYLOAD BATCH PACKETS`. The other end is a host that is always
//! awake: it takes or provides a whole batch with one store. The ring is a whole number of pages
//! and of packets, so packets that were once written can be received again and again.

use std::cell::UnsafeCell;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::atomic::{fence, AtomicU32, Ordering};

use vmbus_ring::{Control, OutgoingPacket, Reader, RingMem, Signal, Writer};

/// Packets in the ring: makes any packet size a whole number of pages.
const PACKETS: usize = 512;

/// Ring memory as the kernel has it: atomic control words and plain copies of data.
struct Mem {
    /// The control words, in the order of [`Control`].
    control: [AtomicU32; 5],
    /// The data area.
    data: Box<[UnsafeCell<u8>]>,
}

impl Mem {
    fn new(size: usize) -> Self {
        let data = (0..size).map(|_| UnsafeCell::new(0)).collect();
        Self {
            control: Default::default(),
            data,
        }
    }

    #[inline]
    fn word(&self, word: Control) -> &AtomicU32 {
        let [write, read, mask, pending, features] = &self.control;
        match word {
            Control::WriteIndex => write,
            Control::ReadIndex => read,
            Control::InterruptMask => mask,
            Control::PendingSendSize => pending,
            Control::FeatureBits => features,
        }
    }
}

impl RingMem for Mem {
    fn size(&self) -> u32 {
        u32::try_from(self.data.len()).expect("a ring is small")
    }

    #[inline]
    fn load(&self, word: Control) -> u32 {
        self.word(word).load(Ordering::Acquire)
    }

    #[inline]
    fn store(&self, word: Control, value: u32) {
        self.word(word).store(value, Ordering::Release);
    }

    #[inline]
    fn full_fence(&self) {
        fence(Ordering::SeqCst);
    }

    #[inline]
    fn read(&self, offset: u32, dest: &mut [u8]) {
        debug_assert!(offset as usize + dest.len() <= self.data.len());
        // SAFETY: The ring code stays within the data area, `dest` is not part of it, and there is
        // one thread.
        unsafe {
            let source = self.data.as_ptr().cast::<u8>().add(offset as usize);
            source.copy_to_nonoverlapping(dest.as_mut_ptr(), dest.len());
        }
    }

    #[inline]
    fn write(&self, offset: u32, src: &[u8]) {
        debug_assert!(offset as usize + src.len() <= self.data.len());
        // SAFETY: As in `read`; the bytes are in cells, so they may be written through a shared
        // reference.
        unsafe {
            let dest = UnsafeCell::raw_get(self.data.as_ptr().add(offset as usize));
            src.as_ptr().copy_to_nonoverlapping(dest, src.len());
        }
    }
}

/// Sends `packets` packets and returns the number of signals.
#[inline(never)]
fn send(mem: &Mem, payload: &[u8], batch: usize, packets: usize) -> usize {
    let mut writer = Writer::new(mem).expect("a good size");
    let mut signals = 0;
    for _ in 0..packets / batch {
        for id in 0..batch {
            let payload: &[&[u8]] = &[black_box(payload)];
            let result = writer.stage(&OutgoingPacket::request(id as u64, payload));
            result.expect("the host has read everything");
        }
        signals += usize::from(writer.publish() == Signal::Needed);
        mem.store(Control::ReadIndex, mem.load(Control::WriteIndex));
    }
    signals
}

/// Receives `packets` packets of `total` bytes in the ring and returns the sum of their lengths.
#[inline(never)]
fn receive(mem: &Mem, buffer: &mut [u8], total: usize, batch: usize, packets: usize) -> usize {
    let mut reader = Reader::new(mem).expect("a good size");
    let mut write = 0;
    let mut sum = 0;
    for _ in 0..packets / batch {
        write = (write + batch * total) % mem.data.len();
        mem.store(Control::WriteIndex, write as u32);
        while let Ok(packet) = reader.next(black_box(&mut *buffer)) {
            sum += packet.payload.len();
        }
        sum += usize::from(reader.commit() == Signal::Needed);
    }
    sum
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, numbers @ ..] = arguments.as_slice() else {
        return usage();
    };
    let numbers: Vec<usize> = numbers
        .iter()
        .filter_map(|number| number.parse().ok())
        .collect();
    let [len, batch, packets] = numbers[..] else {
        return usage();
    };
    let total = 16 + len.next_multiple_of(8) + 8;
    let mem = Mem::new(total * PACKETS);
    let mut buffer = vec![0x5a; len.next_multiple_of(8)];
    match mode.as_str() {
        "send" => assert_eq!(send(&mem, &buffer[..len], batch, packets), packets / batch),
        "receive" => {
            let _ = send(&mem, &buffer[..len], 1, PACKETS);
            mem.store(Control::WriteIndex, 0);
            let sum = receive(&mem, &mut buffer, total, batch, packets);
            assert_eq!(sum, packets * buffer.len());
        }
        _ => return usage(),
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: ring_bench send|receive PAYLOAD BATCH PACKETS");
    ExitCode::from(2)
}
