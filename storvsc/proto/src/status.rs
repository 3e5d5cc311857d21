// SPDX-License-Identifier: GPL-2.0

//! What became of a SCSI command: the host's statuses in the words of Linux' SCSI midlayer.

use crate::srb::{ScsiStatus, Srb, SrbStatus};
use hvdef::open_enum;

/// INQUIRY.
const INQUIRY: u8 = 0x12;
/// TEST UNIT READY.
const TEST_UNIT_READY: u8 = 0x00;
/// MODE SENSE (6).
const MODE_SENSE_6: u8 = 0x1a;
/// MODE SENSE (10).
const MODE_SENSE_10: u8 = 0x5a;
/// ATA PASS-THROUGH (16).
const ATA_16: u8 = 0x85;
/// ATA PASS-THROUGH (12).
const ATA_12: u8 = 0xa1;
/// MAINTENANCE IN.
const MAINTENANCE_IN: u8 = 0xa3;
/// PERSISTENT RESERVE IN.
const PERSISTENT_RESERVE_IN: u8 = 0x5e;

open_enum! {
    /// What the midlayer is to be told beside the SCSI status (`enum scsi_host_status`, `DID_*`).
    pub enum HostByte: u8 {
        /// The SCSI status says it all.
        OK = 0x00,
        /// There is no such LUN.
        NO_CONNECT = 0x01,
        /// Send it again later.
        BUS_BUSY = 0x02,
        /// It failed, and nobody knows why.
        ERROR = 0x07,
        /// A reset ended it.
        RESET = 0x08,
        /// It failed, and trying again would not help.
        PASSTHROUGH = 0x0a,
        /// Send it again.
        REQUEUE = 0x0d,
    }
}

/// How loudly to tell the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Log {
    /// Not at all.
    Nothing,
    /// As a warning: hosts fail TEST UNIT READY in the course of things.
    Warning,
    /// As an error.
    Error,
}

/// What is to be done beside answering the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Look at the LUN again: its capacity or other parameters are new.
    Rescan,
    /// Remove the LUN: it has gone.
    Remove,
}

/// A command that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion<'a> {
    /// For the midlayer.
    pub host: HostByte,
    /// The status of the device.
    pub scsi: ScsiStatus,
    /// Sense data, at most [`crate::SENSE_SIZE`] bytes; not empty.
    pub sense: Option<&'a [u8]>,
    /// How many bytes of those that were asked for were not moved.
    pub residual: u32,
    /// What else is to be done.
    pub action: Option<Action>,
    /// How loudly to tell.
    pub log: Log,
}

/// The command as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its operation code.
    pub opcode: u8,
    /// How many bytes it was to move.
    pub length: u32,
    /// Whether it went to a Fibre Channel adapter.
    pub fibre_channel: bool,
}

impl Sent {
    /// Whether hosts fail this command although it succeeded, or where a guest can do without it. Linux takes such an
    /// answer as a success since 2.6; the zeros that the buffer then holds are told apart by who asked.
    const fn is_mishandled(self) -> bool {
        match self.opcode {
            INQUIRY | MODE_SENSE_6 | MODE_SENSE_10 => true,
            MAINTENANCE_IN | PERSISTENT_RESERVE_IN => self.fibre_channel,
            _ => false,
        }
    }
}

/// Additional sense code and qualifier of sense data in either format.
#[must_use]
pub fn sense_code(sense: &[u8]) -> Option<(u8, u8)> {
    match sense.first()? & 0x7f {
        // Fixed format: the code counts only if the additional length (byte 7) reaches that far.
        0x70 | 0x71 => {
            let follows = usize::from(*sense.get(7)?);
            let at = |offset: usize| {
                let counts = offset < follows.saturating_add(8);
                sense.get(offset).copied().filter(|_| counts)
            };
            Some((at(12)?, at(13).unwrap_or(0)))
        }
        // Descriptor format.
        0x72 | 0x73 => Some((*sense.get(2)?, *sense.get(3)?)),
        _ => None,
    }
}

/// How many bytes of `length` were not moved.
#[inline]
fn not_moved(length: u32, answer: &Srb) -> u32 {
    length.saturating_sub(answer.data_transfer_length.get())
}

/// Whether a command that was to move `length` bytes simply succeeded, as nearly all do: how many of them were not moved.
/// `None`: [`completion`] tells what became of it.
#[must_use]
#[inline]
pub fn succeeded(length: u32, answer: &Srb) -> Option<u32> {
    let success =
        answer.srb_status == SrbStatus::SUCCESS.0 && answer.scsi_status == ScsiStatus::GOOD.0;
    success.then(|| not_moved(length, answer))
}

/// Sorts out an answer. Whatever the host sends, the result is within what was asked for.
#[must_use]
#[inline]
pub fn completion(sent: Sent, answer: &Srb) -> Completion<'_> {
    let success = Completion {
        host: HostByte::OK,
        scsi: ScsiStatus(answer.scsi_status),
        sense: None,
        residual: not_moved(sent.length, answer),
        action: None,
        log: Log::Nothing,
    };
    if succeeded(sent.length, answer).is_some() {
        return success;
    }
    unsuccessful(sent, answer, success)
}

/// Sorts out the answer to a command that did not simply succeed. `success` is what it would be if it had.
#[cold]
fn unsuccessful<'a>(sent: Sent, answer: &'a Srb, success: Completion<'a>) -> Completion<'a> {
    let status = answer.status();
    // An INQUIRY of a LUN that is not there is told as it is: zeros would look like a disk.
    if sent.is_mishandled() && status != SrbStatus::INVALID_LUN {
        return Completion {
            scsi: ScsiStatus::GOOD,
            ..success
        };
    }
    let sense = answer
        .sense()
        .filter(|sense| success.scsi == ScsiStatus::CHECK_CONDITION && !sense.is_empty());
    let (host, action) = match status {
        SrbStatus::SUCCESS => (HostByte::OK, None),
        SrbStatus::INVALID_LUN | SrbStatus::NO_DEVICE => {
            (HostByte::NO_CONNECT, Some(Action::Remove))
        }
        SrbStatus::INVALID_PATH_ID | SrbStatus::INVALID_TARGET_ID => (HostByte::NO_CONNECT, None),
        // The SCSI status says busy too; where it does not, the midlayer must not take it for a success.
        SrbStatus::BUSY if success.scsi == ScsiStatus::GOOD => (HostByte::BUS_BUSY, None),
        SrbStatus::BUSY => (HostByte::OK, None),
        _ => failure(sent, status, sense, success.scsi),
    };
    // Hosts count bytes where the length was the trouble; after other failures the field is as the guest sent it.
    let counted = matches!(status, SrbStatus::SUCCESS | SrbStatus::DATA_OVERRUN);
    Completion {
        host,
        sense,
        residual: if counted {
            success.residual
        } else {
            sent.length
        },
        action,
        log: match sent.opcode {
            TEST_UNIT_READY => Log::Warning,
            _ => Log::Error,
        },
        ..success
    }
}

/// A command that failed at a LUN that is there.
fn failure(
    sent: Sent,
    status: SrbStatus,
    sense: Option<&[u8]>,
    scsi: ScsiStatus,
) -> (HostByte, Option<Action>) {
    if let Some(sense) = sense {
        return match sense_code(sense) {
            // Capacity data has changed; or other parameters have, as when a differencing disk comes or goes. New
            // microcode (3f/03) and other LUNs (3f/0e) are for the midlayer.
            Some((0x2a, 0x09)) => (HostByte::REQUEUE, Some(Action::Rescan)),
            Some((0x3f, qualifier)) if qualifier != 0x03 && qualifier != 0x0e => {
                (HostByte::REQUEUE, Some(Action::Rescan))
            }
            _ => (HostByte::OK, None),
        };
    }
    match (status, sent.opcode) {
        (_, ATA_12 | ATA_16) => (HostByte::PASSTHROUGH, None),
        // Hosts fail it without a reason for LUNs that are about to come or go.
        (_, TEST_UNIT_READY) if scsi != ScsiStatus::GOOD => (HostByte::OK, None),
        (SrbStatus::BUS_RESET, _) => (HostByte::RESET, None),
        // The device's own word, which needs no sense data.
        _ if scsi == ScsiStatus::RESERVATION_CONFLICT || scsi == ScsiStatus::TASK_ABORTED => {
            (HostByte::OK, None)
        }
        _ => (HostByte::ERROR, None),
    }
}

#[cfg(test)]
mod tests;
