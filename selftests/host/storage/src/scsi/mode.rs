// SPDX-License-Identifier: GPL-2.0

//! MODE SENSE and MODE SELECT, in 6 and 10 bytes.

use super::cdb::{bytes_at, put};
use super::opcode as op;
use super::sense::Sense;
use super::{data, Answer, Command, Step};
use crate::disk::{State, Traits};

/// Caching.
const CACHING: u8 = 0x08;
/// Control.
const CONTROL: u8 = 0x0a;
/// Informational exceptions control.
const EXCEPTIONS: u8 = 0x1c;
/// Capabilities and mechanical status of a DVD drive (MMC-3, section 6.3.11).
const DVD_CAPABILITIES: u8 = 0x2a;
/// All of them.
const ALL: u8 = 0x3f;

/// The bit of the caching page that says that there is a write cache (WCE).
const WRITE_CACHE: u8 = 4;

/// A page as it is now, or (`changeable`) the bits of it that MODE SELECT may change.
fn page(code: u8, changeable: bool, traits: &Traits, state: &State) -> Option<Vec<u8>> {
    let (length, fields): (u8, &[(usize, u8)]) = match code {
        CACHING if !traits.dvd => (
            18,
            match changeable || state.write_cache {
                true => &[(2, WRITE_CACHE)],
                false => &[],
            },
        ),
        // Commands may be reordered (QUEUE ALGORITHM MODIFIER 1).
        CONTROL if changeable => (10, &[]),
        CONTROL => (10, &[(3, 0x10)]),
        EXCEPTIONS => (10, &[]),
        DVD_CAPABILITIES if traits.dvd && changeable => (18, &[]),
        // Reads DVD-ROM; the tray opens by itself and can be locked.
        DVD_CAPABILITIES if traits.dvd => (18, &[(2, 8), (6, 0x29)]),
        _ => return None,
    };
    let mut bytes = vec![0; usize::from(length).saturating_add(2)];
    put(&mut bytes, 0, &[code, length]);
    for (offset, value) in fields {
        put(&mut bytes, *offset, &[*value]);
    }
    if code == DVD_CAPABILITIES && traits.dvd && !changeable && state.locked {
        // It is locked now, beside the bits above.
        put(&mut bytes, 6, &[0x2b]);
    }
    Some(bytes)
}

/// MODE SENSE.
pub(super) fn sense(command: &Command<'_>, traits: &Traits, state: &State) -> Answer {
    let cdb = &command.cdb;
    let long = cdb.opcode() == op::MODE_SENSE_10;
    let (control, code) = (cdb.u8(2) >> 6, cdb.u8(2) & 0x3f);
    if control == 3 {
        return Err(Sense::NO_SAVED_PARAMETERS.into());
    }
    // The only subpage is the page itself; 0xff asks for all of them.
    if !matches!(cdb.u8(3), 0 | 0xff) {
        return Err(Sense::INVALID_FIELD_IN_CDB.into());
    }
    // The defaults are what a new disk has.
    let changeable = control == 1;
    let state_cache = match control {
        2 => traits.write_cache,
        _ => state.write_cache,
    };
    let codes: &[u8] = match code {
        ALL => &[CACHING, CONTROL, EXCEPTIONS, DVD_CAPABILITIES],
        _ => &[code],
    };
    let mut pages = Vec::new();
    for code in codes {
        if let Some(mut found) = page(*code, changeable, traits, state) {
            if *code == CACHING && !changeable {
                put(&mut found, 2, &[if state_cache { WRITE_CACHE } else { 0 }]);
            }
            pages.extend(found);
        }
    }
    if pages.is_empty() {
        return Err(Sense::INVALID_FIELD_IN_CDB.into());
    }
    // Disks: write protection and DPO/FUA.
    let parameter = match (traits.dvd, traits.read_only) {
        (true, _) => 0,
        (false, true) => 0x90,
        (false, false) => 0x10,
    };
    let descriptor = match cdb.has(1, 8) || traits.dvd {
        true => Vec::new(),
        false => block_descriptor(traits, state),
    };
    let follows = descriptor.len().saturating_add(pages.len());
    let mut bytes = Vec::new();
    if long {
        let length = u16::try_from(follows.saturating_add(6)).unwrap_or(0);
        bytes.extend(length.to_be_bytes());
        bytes.extend([0, parameter, 0, 0, 0]);
    } else {
        bytes.push(u8::try_from(follows.saturating_add(3)).unwrap_or(0));
        bytes.extend([0, parameter]);
    }
    bytes.push(u8::try_from(descriptor.len()).unwrap_or(0));
    bytes.extend(descriptor);
    bytes.extend(pages);
    match long {
        true => data(bytes, cdb.u16(7)),
        false => data(bytes, cdb.u8(4)),
    }
}

/// The number of blocks, all ones if it does not fit, and their size.
fn block_descriptor(traits: &Traits, state: &State) -> Vec<u8> {
    let blocks = state.size().checked_div(u64::from(traits.block));
    let blocks = u32::try_from(blocks.unwrap_or(0)).unwrap_or(u32::MAX);
    let mut bytes = blocks.to_be_bytes().to_vec();
    bytes.extend(traits.block.to_be_bytes());
    bytes
}

/// MODE SELECT: only the write cache can be changed.
pub(super) fn select(command: &Command<'_>, traits: &Traits, state: &mut State) -> Answer {
    let cdb = &command.cdb;
    // Pages are in the standard's format (PF), and nothing is saved (SP).
    if !cdb.has(1, 0x10) || cdb.has(1, 1) {
        return Err(Sense::INVALID_FIELD_IN_CDB.into());
    }
    let (header, length) = match cdb.opcode() {
        op::MODE_SELECT_10 => (8, usize::from(cdb.u16(7))),
        _ => (4, usize::from(cdb.u8(4))),
    };
    if length == 0 {
        return Ok(Step::Taken(0));
    }
    let list = command.parameters(length)?;
    let descriptor = match header {
        8 => usize::from(u16::from_be_bytes(bytes_at(&list, 6))),
        _ => {
            let [length] = bytes_at(&list, 3);
            usize::from(length)
        }
    };
    let start = descriptor.saturating_add(header);
    let mut rest = list.get(start..).ok_or(Sense::PARAMETER_LIST_LENGTH)?;
    let mut write_cache = state.write_cache;
    while let [code, length, ..] = *rest {
        let size = usize::from(length).saturating_add(2);
        let (new, later) = rest
            .split_at_checked(size)
            .ok_or(Sense::PARAMETER_LIST_LENGTH)?;
        let current = page(code & 0x3f, false, traits, state);
        let mask = page(code & 0x3f, true, traits, state);
        let (Some(current), Some(mask)) = (current, mask) else {
            return Err(Sense::INVALID_FIELD_IN_PARAMETERS.into());
        };
        let unchangeable = new
            .iter()
            .zip(&current)
            .zip(&mask)
            .skip(2)
            .any(|((new, current), mask)| (new ^ current) & !mask != 0);
        if new.len() != current.len() || unchangeable {
            return Err(Sense::INVALID_FIELD_IN_PARAMETERS.into());
        }
        if code & 0x3f == CACHING {
            let [flags] = bytes_at(new, 2);
            write_cache = flags & WRITE_CACHE != 0;
        }
        rest = later;
    }
    if !rest.is_empty() {
        return Err(Sense::PARAMETER_LIST_LENGTH.into());
    }
    state.write_cache = write_cache;
    Ok(Step::Taken(length))
}
