// SPDX-License-Identifier: GPL-2.0

//! Commands that touch a disk's bytes, carried out here or by a thread of the LUN's own.

use crate::backing::{lock, Backing};
use crate::scsi::sense::Sense;
use std::collections::VecDeque;
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::Builder;
use vmbus_host::{GuestBuffer, Waker};

/// What to do with a disk's bytes. Offsets and lengths are in bytes and within the disk; transfers are at most as long as
/// the guest's buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Io {
    /// Copy from disk to guest.
    Read {
        /// Where on the disk.
        offset: u64,
        /// How many bytes.
        length: usize,
    },
    /// Copy from guest to disk.
    Write {
        /// Where on the disk.
        offset: u64,
        /// How many bytes.
        length: usize,
        /// Whether it must be safe from a crash before the answer.
        through: bool,
    },
    /// Compare disk and guest.
    Compare {
        /// Where on the disk.
        offset: u64,
        /// How many bytes.
        length: usize,
    },
    /// Write the same block again and again.
    Fill {
        /// Where on the disk.
        offset: u64,
        /// How many bytes.
        length: u64,
        /// The block.
        block: Vec<u8>,
        /// Whether it must be safe from a crash before the answer.
        through: bool,
    },
    /// Make everything safe from a crash.
    Flush,
    /// Give back the room that ranges take: offset and length each.
    Unmap(Vec<(u64, u64)>),
}

/// Whether a request may still touch guest memory. Closed, it never opens again.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<Mutex<bool>>);

impl Gate {
    /// An open gate.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(true)))
    }

    /// Closes it. On return no thread touches guest memory for the request; the wait is for one copy at most.
    pub(crate) fn close(&self) {
        *lock(&self.0) = false;
    }

    /// Does something with guest memory, unless the gate is closed.
    fn pass<T>(&self, access: impl FnOnce() -> T) -> Option<T> {
        let open = lock(&self.0);
        open.then(access)
    }
}

/// A command on its way to a disk.
pub(crate) struct Job {
    /// Which request it belongs to.
    pub(crate) id: u64,
    /// What to do.
    pub(crate) io: Io,
    /// The disk's bytes.
    pub(crate) backing: Arc<dyn Backing>,
    /// Where the data is in guest memory.
    pub(crate) buffer: Option<GuestBuffer>,
    /// Whether that may still be touched.
    pub(crate) gate: Gate,
}

/// What became of a job: how many bytes were moved, or what went wrong.
pub(crate) type JobResult = Result<usize, Sense>;

/// The largest piece of a fill, in bytes.
const FILL_PIECE: usize = 256 << 10;

impl Job {
    /// Does it. `None` if the request is gone. `bounce` is memory that is used again and again.
    pub(crate) fn perform(&self, bounce: &mut Vec<u8>) -> Option<JobResult> {
        match &self.io {
            Io::Read { offset, length } => {
                bounce.resize(*length, 0);
                if self.backing.read_at(*offset, bounce).is_err() {
                    return Some(Err(Sense::READ_ERROR));
                }
                self.gate.pass(|| match &self.buffer {
                    Some(buffer) if buffer.write_at(0, bounce).is_ok() => Ok(*length),
                    _ => Err(Sense::READ_ERROR),
                })
            }
            Io::Write {
                offset,
                length,
                through,
            } => {
                if let Err(sense) = self.fetch(*length, bounce)? {
                    return Some(Err(sense));
                }
                let mut result = self.backing.write_at(*offset, bounce);
                if *through {
                    result = result.and_then(|()| self.backing.flush());
                }
                Some(result.map(|()| *length).map_err(|_| Sense::WRITE_ERROR))
            }
            Io::Compare { offset, length } => {
                if let Err(sense) = self.fetch(*length, bounce)? {
                    return Some(Err(sense));
                }
                let mut on_disk = vec![0; *length];
                Some(match self.backing.read_at(*offset, &mut on_disk) {
                    Err(_) => Err(Sense::READ_ERROR),
                    Ok(()) if on_disk != *bounce => Err(Sense::MISCOMPARE),
                    Ok(()) => Ok(*length),
                })
            }
            Io::Fill {
                offset,
                length,
                block,
                through,
            } => {
                let mut result = self.fill(*offset, *length, block, bounce);
                if *through && self.backing.flush().is_err() {
                    result = Err(Sense::WRITE_ERROR);
                }
                Some(result)
            }
            Io::Flush => Some(
                self.backing
                    .flush()
                    .map(|()| 0)
                    .map_err(|_| Sense::WRITE_ERROR),
            ),
            Io::Unmap(ranges) => {
                let mut ranges = ranges.iter();
                let done =
                    ranges.try_for_each(|(offset, length)| self.backing.unmap(*offset, *length));
                // The transfer was the parameter list, or the block of a WRITE SAME.
                let moved = self.buffer.as_ref().map_or(0, GuestBuffer::len);
                Some(done.map(|()| moved).map_err(|_| Sense::WRITE_ERROR))
            }
        }
    }

    /// Copies what the guest sends. `None` if the request is gone.
    fn fetch(&self, length: usize, bounce: &mut Vec<u8>) -> Option<Result<(), Sense>> {
        bounce.resize(length, 0);
        self.gate.pass(|| match &self.buffer {
            Some(buffer) if buffer.read_at(0, bounce).is_ok() => Ok(()),
            _ => Err(Sense::WRITE_ERROR),
        })
    }

    /// Writes a block again and again.
    fn fill(&self, offset: u64, length: u64, block: &[u8], bounce: &mut Vec<u8>) -> JobResult {
        let repeats = FILL_PIECE.checked_div(block.len()).unwrap_or(0);
        *bounce = block.repeat(repeats);
        let (mut at, mut left) = (offset, length);
        while left > 0 {
            let here = usize::try_from(left).map_or(bounce.len(), |left| left.min(bounce.len()));
            let piece = bounce.get(..here).unwrap_or_default();
            if piece.is_empty() || self.backing.write_at(at, piece).is_err() {
                return Err(Sense::WRITE_ERROR);
            }
            let here = u64::try_from(here).unwrap_or(left);
            at = at.saturating_add(here);
            left = left.saturating_sub(here);
        }
        Ok(block.len())
    }
}

/// What threads have done, for the controller to take.
#[derive(Clone, Default)]
pub(crate) struct Finished(Arc<Mutex<VecDeque<(u64, JobResult)>>>);

impl Finished {
    /// Takes the next.
    pub(crate) fn take(&self) -> Option<(u64, JobResult)> {
        lock(&self.0).pop_front()
    }
}

/// A thread that does a LUN's jobs one after the other, so that a slow LUN keeps no other from its work. It ends when
/// this is dropped and the jobs that it was given are done.
pub(crate) struct Worker(Sender<(Job, Waker)>);

impl Worker {
    /// Starts the thread; `None` if the machine has no room for one.
    pub(crate) fn start(finished: Finished) -> Option<Self> {
        let (sender, receiver) = channel();
        let thread = Builder::new().name("lun".into());
        thread.spawn(move || work(&receiver, &finished)).ok()?;
        Some(Self(sender))
    }

    /// Has a job done; gives it back if there is no thread any more.
    pub(crate) fn submit(&self, job: Job, waker: Waker) -> Result<(), Job> {
        self.0.send((job, waker)).map_err(|error| error.0 .0)
    }
}

/// What the thread does.
fn work(jobs: &Receiver<(Job, Waker)>, finished: &Finished) {
    let mut bounce = Vec::new();
    while let Ok((job, waker)) = jobs.recv() {
        if let Some(result) = job.perform(&mut bounce) {
            lock(&finished.0).push_back((job.id, result));
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Result as IoResult;
    use std::sync::atomic::{AtomicU32, Ordering};
    use vm_memory::{GuestAddress, GuestMemoryMmap};

    /// One block of bytes, and how often it was flushed.
    #[derive(Default)]
    struct Bytes {
        bytes: Mutex<[u8; 4]>,
        flushes: AtomicU32,
    }

    impl Backing for Bytes {
        fn size(&self) -> u64 {
            4
        }

        fn resize(&self, _size: u64) -> IoResult<()> {
            Ok(())
        }

        fn read_at(&self, _offset: u64, to: &mut [u8]) -> IoResult<()> {
            to.copy_from_slice(&*lock(&self.bytes));
            Ok(())
        }

        fn write_at(&self, _offset: u64, from: &[u8]) -> IoResult<()> {
            lock(&self.bytes).copy_from_slice(from);
            Ok(())
        }

        fn flush(&self) -> IoResult<()> {
            self.flushes.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }

        fn unmap(&self, _offset: u64, _length: u64) -> IoResult<()> {
            Ok(())
        }

        fn allocated(&self) -> u64 {
            4
        }

        fn may_block(&self) -> bool {
            true
        }
    }

    /// A job on four bytes, with a buffer that holds "abcd".
    fn job(io: Io) -> (Job, Arc<Bytes>) {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 4096)]);
        let memory = Arc::new(memory.unwrap());
        let buffer = GuestBuffer::new(&memory, 100, 4, [0].into_iter()).unwrap();
        buffer.write_at(0, b"abcd").unwrap();
        let backing = Arc::new(Bytes::default());
        let job = Job {
            id: 0,
            io,
            backing: Arc::<Bytes>::clone(&backing),
            buffer: Some(buffer),
            gate: Gate::new(),
        };
        (job, backing)
    }

    const READ: Io = Io::Read {
        offset: 0,
        length: 4,
    };

    const fn write(through: bool) -> Io {
        Io::Write {
            offset: 0,
            length: 4,
            through,
        }
    }

    #[test]
    fn a_closed_gate_keeps_guest_memory_as_it_is() {
        let (read, _) = job(READ);
        read.gate.close();
        assert_eq!(read.perform(&mut Vec::new()), None);
        assert_eq!(read.buffer.as_ref().unwrap().to_vec(), b"abcd");
        let (write, backing) = job(write(false));
        write.gate.close();
        assert_eq!(write.perform(&mut Vec::new()), None);
        assert_eq!(*lock(&backing.bytes), [0; 4]);
    }

    #[test]
    fn an_open_one_does_not() {
        let (read, _) = job(READ);
        assert_eq!(read.perform(&mut Vec::new()), Some(Ok(4)));
        assert_eq!(read.buffer.as_ref().unwrap().to_vec(), [0; 4]);
        let (write, backing) = job(write(false));
        assert_eq!(write.perform(&mut Vec::new()), Some(Ok(4)));
        assert_eq!(*lock(&backing.bytes), *b"abcd");
    }

    #[test]
    fn only_what_must_be_safe_is_flushed() {
        let block = vec![7; 2];
        let fill = |through| Io::Fill {
            offset: 0,
            length: 4,
            block: block.clone(),
            through,
        };
        for (io, flushes) in [
            (write(false), 0),
            (write(true), 1),
            (fill(false), 0),
            (fill(true), 1),
            (Io::Flush, 1),
        ] {
            let (job, backing) = job(io);
            assert!(matches!(job.perform(&mut Vec::new()), Some(Ok(_))));
            assert_eq!(backing.flushes.load(Ordering::SeqCst), flushes);
        }
    }
}
