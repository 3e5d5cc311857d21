// SPDX-License-Identifier: GPL-2.0

//! A disk at an address of a controller: what is counted of it, and what it is told to do wrong.

use crate::disk::Disk;
use crate::io::{Finished, Io, Job, Worker};
use crate::scsi::sense::Sense;
use core::time::Duration;
use serde::Serialize;
use serde_json::{json, Value};
use storvsc_proto::{ScsiStatus, SrbStatus};
use vmbus_host::Waker;

/// Where a LUN is: target and LUN of path 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address {
    /// The target.
    pub(crate) target: u8,
    /// The LUN.
    pub(crate) lun: u8,
}

/// What is counted of a LUN since it was added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counters {
    /// Commands of any kind.
    commands: u64,
    /// Commands that failed.
    errors: u64,
    /// Reads that were done.
    reads: u64,
    /// Bytes that they moved.
    bytes_read: u64,
    /// Writes that were done, WRITE SAME included.
    writes: u64,
    /// Bytes that they moved.
    bytes_written: u64,
    /// Writes that had to be safe from a crash.
    through: u64,
    /// Cache flushes that were done.
    flushes: u64,
    /// UNMAPs that were done, WRITE SAME with UNMAP included.
    unmaps: u64,
    /// Commands that a reset, a removal or a fault ended.
    aborted: u64,
}

/// How a command that is told to fail does so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// With sense data.
    Sense(Sense),
    /// With a SCSI status alone.
    Scsi(ScsiStatus),
    /// With an SRB status alone, flags included.
    Srb(u8),
}

/// Has commands fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// Which command; any that touches the medium if there is none.
    pub(crate) opcode: Option<u8>,
    /// How.
    pub(crate) failure: Failure,
    /// How many times still.
    pub(crate) count: u64,
}

/// A disk at an address.
pub(crate) struct Lun {
    /// The disk.
    pub(crate) disk: Disk,
    /// What the control socket calls it, if anything.
    pub(crate) name: Option<String>,
    /// The least time that a command which touches the medium takes.
    pub(crate) delay: Duration,
    /// Commands that are to fail.
    pub(crate) faults: Vec<Fault>,
    /// What is counted.
    pub(crate) counters: Counters,
    /// The thread that does what may block.
    worker: Option<Worker>,
}

/// Adds one to a count, or more.
fn count(counter: &mut u64, amount: usize) {
    *counter = counter.saturating_add(u64::try_from(amount).unwrap_or(0));
}

impl Lun {
    /// A disk that has just been attached.
    pub(crate) fn new(disk: Disk, name: Option<String>, delay: Duration) -> Self {
        Self {
            disk,
            name,
            delay,
            faults: Vec::new(),
            counters: Counters::default(),
            worker: None,
        }
    }

    /// Whether this command is told to fail, and how.
    pub(crate) fn take_fault(&mut self, opcode: u8, touches_medium: bool) -> Option<Failure> {
        let fault = self.faults.iter_mut().find(|fault| match fault.opcode {
            Some(wanted) => wanted == opcode,
            None => touches_medium,
        })?;
        fault.count = fault.count.saturating_sub(1);
        let failure = fault.failure;
        self.faults.retain(|fault| fault.count > 0);
        Some(failure)
    }

    /// Gives a job to the LUN's thread; gives it back if it has to be done here.
    pub(crate) fn submit(&mut self, job: Job, finished: &Finished, waker: Waker) -> Option<Job> {
        if !job.backing.may_block() {
            return Some(job);
        }
        if self.worker.is_none() {
            self.worker = Worker::start(finished.clone());
        }
        match &self.worker {
            Some(worker) => worker.submit(job, waker).err(),
            None => Some(job),
        }
    }

    /// Counts a command that has come.
    pub(crate) fn count_command(&mut self) {
        count(&mut self.counters.commands, 1);
    }

    /// Counts a command that has failed.
    pub(crate) fn count_error(&mut self) {
        count(&mut self.counters.errors, 1);
    }

    /// Counts a command that was ended.
    pub(crate) fn count_aborted(&mut self) {
        count(&mut self.counters.aborted, 1);
    }

    /// Counts a job that was done and moved so many bytes.
    pub(crate) fn count_done(&mut self, kind: Kind, moved: usize) {
        let counters = &mut self.counters;
        match kind {
            Kind::Read => {
                count(&mut counters.reads, 1);
                count(&mut counters.bytes_read, moved);
            }
            Kind::Write { through } => {
                count(&mut counters.writes, 1);
                count(&mut counters.bytes_written, moved);
                count(&mut counters.through, usize::from(through));
            }
            Kind::Flush => count(&mut counters.flushes, 1),
            Kind::Unmap => count(&mut counters.unmaps, 1),
            Kind::Compare => {}
        }
    }

    /// What the control socket's list shows.
    pub(crate) fn status(&self, address: Address) -> Value {
        let traits = self.disk.traits();
        let state = self.disk.state();
        let allocated = state.medium.as_ref().map(|medium| medium.allocated());
        json!({
            "target": address.target,
            "lun": address.lun,
            "name": self.name,
            "size": state.size(),
            "sector": traits.block,
            "allocated": allocated.unwrap_or(0),
            "read_only": traits.read_only,
            "dvd": traits.dvd,
            "medium": allocated.is_some(),
            "locked": state.locked,
            "write_cache": state.write_cache,
            "delay_ms": u64::try_from(self.delay.as_millis()).unwrap_or(u64::MAX),
            "counters": self.counters,
        })
    }
}

/// What kind of job a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A read.
    Read,
    /// A write.
    Write {
        /// Whether it must be safe from a crash.
        through: bool,
    },
    /// A comparison.
    Compare,
    /// A cache flush.
    Flush,
    /// Blocks given back.
    Unmap,
}

impl From<&Io> for Kind {
    fn from(io: &Io) -> Self {
        match io {
            Io::Read { .. } => Self::Read,
            Io::Write { through, .. } | Io::Fill { through, .. } => {
                Self::Write { through: *through }
            }
            Io::Compare { .. } => Self::Compare,
            Io::Flush => Self::Flush,
            Io::Unmap(_) => Self::Unmap,
        }
    }
}

/// What a request comes to, in the words of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// SRB status; flags for sense data are added later.
    pub(crate) srb: u8,
    /// SCSI status.
    pub(crate) scsi: ScsiStatus,
    /// Sense data.
    pub(crate) sense: Option<Sense>,
    /// How many bytes were moved. An error that says nothing of it leaves the length as the guest sent it.
    pub(crate) moved: Option<usize>,
}

impl Verdict {
    /// Success.
    pub(crate) const fn good(moved: usize) -> Self {
        Self {
            srb: SrbStatus::SUCCESS.0,
            scsi: ScsiStatus::GOOD,
            sense: None,
            moved: Some(moved),
        }
    }

    /// The buffer takes less than the device has, or has less than the device takes.
    pub(crate) const fn overrun(moved: usize) -> Self {
        Self {
            srb: SrbStatus::DATA_OVERRUN.0,
            ..Self::good(moved)
        }
    }

    /// An SRB status alone.
    pub(crate) const fn srb(status: SrbStatus) -> Self {
        Self {
            srb: status.0,
            scsi: ScsiStatus::GOOD,
            sense: None,
            moved: None,
        }
    }

    /// A SCSI status alone.
    pub(crate) const fn scsi(scsi: ScsiStatus) -> Self {
        let srb = match scsi {
            ScsiStatus::BUSY | ScsiStatus::TASK_SET_FULL => SrbStatus::BUSY,
            _ => SrbStatus::ERROR,
        };
        Self {
            scsi,
            ..Self::srb(srb)
        }
    }

    /// Sense data. Hosts tell a request that makes no sense from one that fails.
    pub(crate) const fn check(sense: Sense) -> Self {
        let srb = match sense.is_illegal_request() {
            true => SrbStatus::INVALID_REQUEST,
            false => SrbStatus::ERROR,
        };
        Self {
            scsi: ScsiStatus::CHECK_CONDITION,
            sense: Some(sense),
            ..Self::srb(srb)
        }
    }

    /// What a command that is told to fail comes to.
    pub(crate) const fn failed(failure: Failure) -> Self {
        match failure {
            Failure::Sense(sense) => Self::check(sense),
            Failure::Scsi(status) => Self::scsi(status),
            Failure::Srb(status) => Self {
                srb: status,
                ..Self::srb(SrbStatus::ERROR)
            },
        }
    }
}
