// SPDX-License-Identifier: GPL-2.0

//! SCSI commands: what they mean to a disk or DVD drive (SPC-4, SBC-3, MMC-6).
//!
//! Everything is decided here without waiting; what touches a disk's bytes comes out as [`Io`] for the caller to do.

mod block;
pub(crate) mod cdb;
mod dvd;
mod inquiry;
mod mode;
pub(crate) mod opcode;
pub(crate) mod reservation;
pub(crate) mod sense;

use crate::disk::{State, Traits};
use crate::io::Io;
use cdb::Cdb;
use hvdef::Guid;
use sense::Sense;
use storvsc_proto::Version;
use vmbus_host::GuestBuffer;

/// The longest parameter list that any command takes, in bytes.
const MAX_PARAMETERS: usize = 8192;

/// A command and the unit that it is for.
pub(crate) struct Command<'a> {
    /// The command.
    pub(crate) cdb: Cdb,
    /// Where data is in guest memory.
    pub(crate) buffer: Option<&'a GuestBuffer>,
    /// How many bytes of that may be used.
    pub(crate) limit: usize,
    /// Which initiator sends it.
    pub(crate) nexus: Guid,
    /// The version of the storage protocol.
    pub(crate) version: Version,
    /// The most bytes that one command may move.
    pub(crate) max_transfer: u32,
}

/// What a command comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is done; this is for the guest, cut to what the guest asked for.
    Data(Vec<u8>),
    /// It is done; so many bytes were taken from the guest.
    Taken(usize),
    /// This is still to be done.
    Io(Io),
}

/// Why a command is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It fails.
    Check(Sense),
    /// Another initiator's reservation is in the way.
    ReservationConflict,
    /// The guest's buffer is smaller than the command's data.
    ShortBuffer,
}

impl From<Sense> for Refusal {
    fn from(sense: Sense) -> Self {
        Self::Check(sense)
    }
}

/// What a command comes to, or why it is not carried out.
pub(crate) type Answer = Result<Step, Refusal>;

impl Command<'_> {
    /// The parameter list of `length` bytes, copied from the guest once.
    fn parameters(&self, length: usize) -> Result<Vec<u8>, Refusal> {
        if length > MAX_PARAMETERS {
            return Err(Sense::PARAMETER_LIST_LENGTH.into());
        }
        let mut parameters = vec![0; length];
        if length == 0 {
            return Ok(parameters);
        }
        let buffer = self.buffer.filter(|_| length <= self.limit);
        buffer
            .and_then(|buffer| buffer.read_at(0, &mut parameters).ok())
            .ok_or(Refusal::ShortBuffer)?;
        Ok(parameters)
    }
}

/// Data for the guest, cut to an allocation length.
fn data(mut bytes: Vec<u8>, allocation: impl Into<u64>) -> Answer {
    bytes.truncate(usize::try_from(allocation.into()).unwrap_or(usize::MAX));
    Ok(Step::Data(bytes))
}

/// Carries out a command or says what it takes.
pub(crate) fn execute(command: &Command<'_>, traits: &Traits, state: &mut State) -> Answer {
    let opcode = command.cdb.opcode();
    // These tell of the unit itself: nothing is in their way (SPC-4, section 5.14).
    match opcode {
        opcode::INQUIRY => return inquiry::inquiry(command, traits),
        opcode::REQUEST_SENSE => return request_sense(command, state),
        opcode::GET_CONFIGURATION | opcode::GET_EVENT_STATUS if traits.dvd => {
            return dvd::execute(command, state)
        }
        _ => {}
    }
    if let Some(attention) = state.take_attention(command.nexus) {
        return Err(attention.into());
    }
    if state.reservations.conflicts(command.nexus, &command.cdb) {
        return Err(Refusal::ReservationConflict);
    }
    match opcode {
        opcode::TEST_UNIT_READY if state.medium.is_none() => Err(Sense::MEDIUM_NOT_PRESENT.into()),
        opcode::TEST_UNIT_READY => Ok(Step::Taken(0)),
        opcode::MODE_SENSE_6 | opcode::MODE_SENSE_10 => mode::sense(command, traits, state),
        _ if traits.dvd => dvd::execute(command, state),
        opcode::MODE_SELECT_6 | opcode::MODE_SELECT_10 => mode::select(command, traits, state),
        opcode::PERSISTENT_RESERVE_IN => reservation::read(command, state),
        opcode::PERSISTENT_RESERVE_OUT => reservation::write(command, state),
        opcode::MAINTENANCE_IN => opcode::report(command),
        opcode::START_STOP_UNIT => Ok(Step::Taken(0)),
        _ => block::execute(command, traits, state),
    }
}

/// REQUEST SENSE: what the initiator is to be told, as data.
fn request_sense(command: &Command<'_>, state: &mut State) -> Answer {
    if command.cdb.has(1, 1) {
        // Descriptor format.
        return Err(Sense::INVALID_FIELD_IN_CDB.into());
    }
    let sense = state.take_attention(command.nexus).unwrap_or(Sense::NONE);
    data(sense.to_bytes().into(), command.cdb.u8(4))
}

/// INQUIRY where there is no LUN (SPC-4, section 6.4.2): qualifier and type say so.
pub(crate) fn inquiry_without_lun(cdb: &Cdb) -> Answer {
    let mut standard = vec![0; 36];
    cdb::put(&mut standard, 0, &[0x7f, 0, 5, 2, 31]);
    data(standard, cdb.u16(3))
}

/// REQUEST SENSE where there is no LUN (SPC-4, section 6.39).
pub(crate) fn sense_without_lun(cdb: &Cdb) -> Answer {
    data(Sense::LUN_NOT_SUPPORTED.to_bytes().into(), cdb.u8(4))
}

/// REPORT LUNS, which every address of a target answers.
pub(crate) fn report_luns(cdb: &Cdb, luns: &[u8]) -> Answer {
    // 0: LUNs that can be addressed; 1: well known ones; 2: all. There are no well known ones.
    let luns = match cdb.u8(2) {
        0 | 2 => luns,
        1 => &[],
        _ => return Err(Sense::INVALID_FIELD_IN_CDB.into()),
    };
    let allocation = cdb.u32(6);
    if allocation < 16 {
        return Err(Sense::INVALID_FIELD_IN_CDB.into());
    }
    let length = u32::try_from(luns.len()).unwrap_or(0).saturating_mul(8);
    let mut list = length.to_be_bytes().to_vec();
    list.extend([0; 4]);
    for lun in luns {
        list.extend([0, *lun, 0, 0, 0, 0, 0, 0]);
    }
    data(list, allocation)
}
