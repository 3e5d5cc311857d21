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
                self.fetch(*length, bounce)?;
                let mut result = self.backing.write_at(*offset, bounce);
                if *through {
                    result = result.and_then(|()| self.backing.flush());
                }
                Some(result.map(|()| *length).map_err(|_| Sense::WRITE_ERROR))
            }
            Io::Compare { offset, length } => {
                self.fetch(*length, bounce)?;
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
            } => Some(self.fill(*offset, *length, block, bounce)),
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

    /// Copies what the guest sends.
    fn fetch(&self, length: usize, bounce: &mut Vec<u8>) -> Option<()> {
        bounce.resize(length, 0);
        let copied = self
            .gate
            .pass(|| self.buffer.as_ref()?.read_at(0, bounce).ok());
        copied.flatten()
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
