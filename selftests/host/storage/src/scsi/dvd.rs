// SPDX-License-Identifier: GPL-2.0

//! DVD drives (MMC-6): a tray with or without a disc of one data track.

use super::block;
use super::cdb::put;
use super::opcode as op;
use super::sense::Sense;
use super::{data, Answer, Command, Step};
use crate::disk::{State, Traits, DVD_BLOCK};
use crate::io::Io;

/// The profile of a DVD-ROM.
const DVD_ROM: u16 = 0x10;

/// [`DVD_BLOCK`] for arithmetic on sizes.
const DVD_BLOCK_BYTES: u64 = 2048;

/// What the block commands need to know of a DVD.
const TRAITS: Traits = Traits {
    block: DVD_BLOCK,
    physical_exponent: 0,
    read_only: true,
    dvd: true,
    thin: false,
    write_cache: false,
    id: [0; 12],
};

/// Carries out a command of a DVD drive.
pub(super) fn execute(command: &Command<'_>, state: &mut State) -> Answer {
    let cdb = &command.cdb;
    match cdb.opcode() {
        op::READ_10 | op::READ_12 | op::READ_CAPACITY_10 | op::VERIFY_10 => {
            block::execute(command, &TRAITS, state)
        }
        op::SYNCHRONIZE_CACHE_10 => match state.medium {
            Some(_) => Ok(Step::Io(Io::Flush)),
            None => Err(Sense::MEDIUM_NOT_PRESENT.into()),
        },
        op::PREVENT_ALLOW_MEDIUM_REMOVAL => {
            state.locked = cdb.has(4, 1);
            Ok(Step::Taken(0))
        }
        op::START_STOP_UNIT => start_stop(command, state),
        op::GET_CONFIGURATION => configuration(command, state),
        op::GET_EVENT_STATUS => event_status(command, state),
        op::READ_TOC => table_of_contents(command, state),
        op::READ_DISC_INFORMATION => disc_information(command, state),
        op::READ_TRACK_INFORMATION => track_information(command, state),
        op::MECHANISM_STATUS => {
            let mut status = vec![0; 8];
            put(&mut status, 5, &[1]);
            data(status, cdb.u16(8))
        }
        _ => Err(Sense::INVALID_OPCODE.into()),
    }
}

/// START STOP UNIT: opens the tray, which takes the disc out. Closing it does not bring the disc back.
fn start_stop(command: &Command<'_>, state: &mut State) -> Answer {
    let eject = command.cdb.u8(4) & 3 == 2;
    if eject && state.medium.is_some() {
        if state.locked {
            return Err(Sense::REMOVAL_PREVENTED.into());
        }
        state.load(None);
    }
    Ok(Step::Taken(0))
}

/// GET CONFIGURATION: the features of the drive, which is a DVD-ROM and nothing else.
fn configuration(command: &Command<'_>, state: &State) -> Answer {
    let cdb = &command.cdb;
    let (current, profile) = match state.medium {
        Some(_) => (1, DVD_ROM),
        None => (0, 0),
    };
    let [high, low] = DVD_ROM.to_be_bytes();
    // Code, flags (version, persistent, current), and what the feature tells of itself.
    let features: [(u16, u8, &[u8]); 6] = [
        // Profile list.
        (0x00, 3, &[high, low, current, 0]),
        // Core: a SCSI interface, and device busy events.
        (0x01, 0x0b, &[0, 0, 0, 1, 1, 0, 0, 0]),
        // Morphing: it reports events when asked.
        (0x02, 7, &[0, 0, 0, 0]),
        // Removable medium: a tray that opens by itself and can be locked.
        (0x03, 7, &[0x29, 0, 0, 0]),
        // Random readable: blocks of 2048 bytes, one at a time.
        (0x10, current, &[0, 0, 8, 0, 0, 1, 1, 0]),
        // DVD read.
        (0x1f, current, &[0, 0, 0, 0]),
    ];
    let (wanted, start) = (cdb.u8(1) & 3, cdb.u16(2));
    if wanted == 3 {
        return Err(Sense::INVALID_FIELD_IN_CDB.into());
    }
    let mut bytes = vec![0; 8];
    put(&mut bytes, 6, &profile.to_be_bytes());
    for (code, flags, body) in features {
        let listed = match wanted {
            // All from there on; those that are current; the one.
            0 => code >= start,
            1 => code >= start && flags & 1 != 0,
            _ => code == start,
        };
        if listed {
            bytes.extend(code.to_be_bytes());
            bytes.extend([flags, u8::try_from(body.len()).unwrap_or(0)]);
            bytes.extend(body);
        }
    }
    let length = u32::try_from(bytes.len().saturating_sub(4)).unwrap_or(0);
    put(&mut bytes, 0, &length.to_be_bytes());
    data(bytes, cdb.u16(7))
}

/// GET EVENT STATUS NOTIFICATION: what happened to the disc since the last time. Only when asked.
fn event_status(command: &Command<'_>, state: &mut State) -> Answer {
    let cdb = &command.cdb;
    if !cdb.has(1, 1) {
        // Asynchronous.
        return Err(Sense::INVALID_FIELD_IN_CDB.into());
    }
    // Class 4 is the medium; there are no others.
    if !cdb.has(4, 1 << 4) {
        return data(vec![0, 2, 0x80, 1 << 4], cdb.u16(7));
    }
    let present = if state.medium.is_some() { 2 } else { 0 };
    let event = core::mem::take(&mut state.media_event);
    data(vec![0, 6, 4, 1 << 4, event, present, 0, 0], cdb.u16(7))
}

/// How many blocks the disc has.
fn blocks(state: &State) -> Result<u32, Sense> {
    match state.medium {
        Some(_) => Ok(u32::try_from(state.size() / DVD_BLOCK_BYTES).unwrap_or(u32::MAX)),
        None => Err(Sense::MEDIUM_NOT_PRESENT),
    }
}

/// An address, as LBA or as minute, second and frame (1/75 s) from 2 s before the first block.
fn address(lba: u32, msf: bool) -> [u8; 4] {
    if !msf {
        return lba.to_be_bytes();
    }
    let frames = lba.saturating_add(150);
    let (minutes, seconds, frame) = (frames / 75 / 60, frames / 75 % 60, frames % 75);
    let byte = |value: u32| u8::try_from(value).unwrap_or(u8::MAX);
    [0, byte(minutes), byte(seconds), byte(frame)]
}

/// READ TOC/PMA/ATIP: one data track, then the lead-out.
fn table_of_contents(command: &Command<'_>, state: &State) -> Answer {
    let cdb = &command.cdb;
    let end = blocks(state)?;
    let (msf, track) = (cdb.has(1, 2), cdb.u8(6));
    // Older commands have the format in the upper bits of the last byte.
    let format = match cdb.u8(2) & 0xf {
        0 => cdb.u8(9) >> 6,
        format => format,
    };
    let descriptor = |track: u8, lba: u32| {
        let [a, b, c, d] = address(lba, msf);
        [0, 0x14, track, 0, a, b, c, d]
    };
    let mut bytes = match format {
        0 if matches!(track, 0 | 1 | 0xaa) => {
            let mut bytes = vec![0, 0, 1, 1];
            if track < 2 {
                bytes.extend(descriptor(1, 0));
            }
            bytes.extend(descriptor(0xaa, end));
            bytes
        }
        // Sessions: there is one, which begins with track 1.
        1 => {
            let mut bytes = vec![0, 0, 1, 1];
            bytes.extend(descriptor(1, 0));
            bytes
        }
        _ => return Err(Sense::INVALID_FIELD_IN_CDB.into()),
    };
    let length = u16::try_from(bytes.len().saturating_sub(2)).unwrap_or(0);
    put(&mut bytes, 0, &length.to_be_bytes());
    data(bytes, cdb.u16(7))
}

/// READ DISC INFORMATION: a finished disc with one session of one track.
fn disc_information(command: &Command<'_>, state: &State) -> Answer {
    blocks(state)?;
    if command.cdb.has(1, 7) {
        return Err(Sense::INVALID_FIELD_IN_CDB.into());
    }
    let mut bytes = vec![0; 34];
    // Complete disc, last session complete; first track, sessions, first and last track of the last session.
    put(&mut bytes, 0, &[0, 32, 0x0e, 1, 1, 1, 1]);
    data(bytes, command.cdb.u16(7))
}

/// READ TRACK INFORMATION: a finished data track that begins with the first block, whichever way it is asked for.
fn track_information(command: &Command<'_>, state: &State) -> Answer {
    let cdb = &command.cdb;
    let size = blocks(state)?;
    let found = match (cdb.u8(1) & 3, cdb.u32(2)) {
        (0, lba) => lba < size,
        (1 | 2, number) => number == 1,
        _ => false,
    };
    if !found {
        return Err(Sense::INVALID_FIELD_IN_CDB.into());
    }
    let mut bytes = vec![0; 36];
    // Track and session 1; data, in mode 1.
    put(&mut bytes, 0, &[0, 34, 1, 1, 0, 4, 1]);
    put(&mut bytes, 24, &size.to_be_bytes());
    data(bytes, cdb.u16(7))
}
