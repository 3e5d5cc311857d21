// SPDX-License-Identifier: GPL-2.0

//! Block commands (SBC-3): everything that names logical blocks.

use super::cdb::{bytes_at, put};
use super::opcode as op;
use super::sense::Sense;
use super::{data, Answer, Command, Refusal, Step};
use crate::disk::{State, Traits};
use crate::io::Io;

/// The most bytes that one WRITE SAME may write: the host does it in one go.
pub(super) const MAX_WRITE_SAME: u32 = 32 << 20;

/// The most ranges that one UNMAP may name.
pub(super) const MAX_UNMAP_RANGES: u16 = 256;

/// The unit of giving back, in bytes.
pub(super) const UNMAP_GRANULARITY: u32 = 4096;

/// Blocks that a command names.
#[derive(Clone, Copy)]
struct Blocks {
    /// The first.
    lba: u64,
    /// How many.
    count: u64,
}

/// Which blocks the command names, by the form that its operation code has.
fn named(command: &Command<'_>) -> Blocks {
    let cdb = &command.cdb;
    match cdb.opcode() >> 5 {
        // In 6 bytes, 0 stands for 256 blocks.
        0 => Blocks {
            lba: u64::from(cdb.u32(0) & 0x1f_ffff),
            count: match cdb.u8(4) {
                0 => 256,
                count => u64::from(count),
            },
        },
        4 => Blocks {
            lba: cdb.u64(2),
            count: u64::from(cdb.u32(10)),
        },
        5 => Blocks {
            lba: u64::from(cdb.u32(2)),
            count: u64::from(cdb.u32(6)),
        },
        _ => Blocks {
            lba: u64::from(cdb.u32(2)),
            count: u64::from(cdb.u16(7)),
        },
    }
}

/// What blocks a unit has.
struct Geometry {
    /// Bytes in a block.
    block: u64,
    /// How many blocks.
    count: u64,
}

impl Geometry {
    /// Of a unit with a medium.
    fn new(traits: &Traits, state: &State) -> Result<Self, Refusal> {
        let medium = state.medium.as_ref().ok_or(Sense::MEDIUM_NOT_PRESENT)?;
        let block = u64::from(traits.block);
        Ok(Self {
            block,
            count: medium.size().checked_div(block).unwrap_or(0),
        })
    }

    /// Where blocks are on the disk: offset and length in bytes.
    fn locate(&self, blocks: Blocks) -> Result<(u64, u64), Refusal> {
        let end = blocks.lba.checked_add(blocks.count);
        if end.is_none_or(|end| end > self.count) {
            return Err(Sense::LBA_OUT_OF_RANGE
                .at(blocks.lba.max(self.count))
                .into());
        }
        let offset = blocks.lba.checked_mul(self.block);
        let length = blocks.count.checked_mul(self.block);
        offset
            .zip(length)
            .ok_or(Sense::LBA_OUT_OF_RANGE.at(blocks.lba).into())
    }
}

/// Carries out a block command.
pub(super) fn execute(command: &Command<'_>, traits: &Traits, state: &State) -> Answer {
    let opcode = command.cdb.opcode();
    match opcode {
        op::READ_CAPACITY_10 => read_capacity_10(command, traits, state),
        op::SERVICE_ACTION_IN_16 => match command.cdb.service_action() {
            op::READ_CAPACITY_16 => read_capacity_16(command, traits, state),
            _ => Err(Sense::INVALID_FIELD_IN_CDB.into()),
        },
        op::READ_6 | op::READ_10 | op::READ_12 | op::READ_16 => {
            let (offset, length) = transfer(command, traits, state)?;
            Ok(Step::Io(Io::Read { offset, length }))
        }
        op::WRITE_6 | op::WRITE_10 | op::WRITE_12 | op::WRITE_16 => write(
            command,
            traits,
            state,
            opcode != op::WRITE_6 && command.cdb.has(1, 8),
        ),
        op::WRITE_AND_VERIFY_10 | op::WRITE_AND_VERIFY_12 | op::WRITE_AND_VERIFY_16 => {
            write(command, traits, state, true)
        }
        op::VERIFY_10 | op::VERIFY_12 | op::VERIFY_16 => verify(command, traits, state),
        op::SYNCHRONIZE_CACHE_10 | op::SYNCHRONIZE_CACHE_16 => {
            Geometry::new(traits, state)?.locate(named(command))?;
            Ok(Step::Io(Io::Flush))
        }
        op::WRITE_SAME_10 | op::WRITE_SAME_16 => write_same(command, traits, state),
        op::UNMAP => unmap(command, traits, state),
        _ => Err(Sense::INVALID_OPCODE.into()),
    }
}

/// READ CAPACITY (10): the last LBA, or all ones if it does not fit, and the block size.
pub(super) fn read_capacity_10(_command: &Command<'_>, traits: &Traits, state: &State) -> Answer {
    let last = Geometry::new(traits, state)?.count.saturating_sub(1);
    let last = u32::try_from(last).unwrap_or(u32::MAX);
    let mut capacity = last.to_be_bytes().to_vec();
    capacity.extend(traits.block.to_be_bytes());
    data(capacity, 8_u8)
}

/// READ CAPACITY (16).
fn read_capacity_16(command: &Command<'_>, traits: &Traits, state: &State) -> Answer {
    let last = Geometry::new(traits, state)?.count.saturating_sub(1);
    let mut capacity = vec![0; 32];
    put(&mut capacity, 0, &last.to_be_bytes());
    put(&mut capacity, 8, &traits.block.to_be_bytes());
    // Blocks may be given back (LBPME) and are zero then (LBPRZ).
    let thin = if traits.thin { 0xc0 } else { 0 };
    put(&mut capacity, 13, &[traits.physical_exponent, thin]);
    data(capacity, command.cdb.u32(10))
}

/// Where the blocks of a command with data are: offset and length in bytes.
fn transfer(
    command: &Command<'_>,
    traits: &Traits,
    state: &State,
) -> Result<(u64, usize), Refusal> {
    // Protection information (RDPROTECT, WRPROTECT, VRPROTECT) is not supported.
    if command.cdb.opcode() >> 5 != 0 && command.cdb.has(1, 0xe0) {
        return Err(Sense::INVALID_FIELD_IN_CDB.into());
    }
    let (offset, length) = Geometry::new(traits, state)?.locate(named(command))?;
    if length > u64::from(command.max_transfer) {
        return Err(Sense::INVALID_FIELD_IN_CDB.into());
    }
    let length = usize::try_from(length).map_err(|_| Sense::INVALID_FIELD_IN_CDB)?;
    Ok((offset, length))
}

/// Refuses what would change a read-only disk.
fn writable(traits: &Traits) -> Result<(), Refusal> {
    match traits.read_only {
        true => Err(Sense::WRITE_PROTECTED.into()),
        false => Ok(()),
    }
}

/// All forms of WRITE.
fn write(command: &Command<'_>, traits: &Traits, state: &State, through: bool) -> Answer {
    let (offset, length) = transfer(command, traits, state)?;
    writable(traits)?;
    if length > command.limit {
        return Err(Refusal::ShortBuffer);
    }
    if length == 0 {
        return Ok(Step::Taken(0));
    }
    Ok(Step::Io(Io::Write {
        offset,
        length,
        through: through || !state.write_cache,
    }))
}

/// VERIFY: the blocks can be read, or (BYTCHK) are what the guest sends.
fn verify(command: &Command<'_>, traits: &Traits, state: &State) -> Answer {
    match command.cdb.u8(1) >> 1 & 3 {
        0 => {
            Geometry::new(traits, state)?.locate(named(command))?;
            Ok(Step::Taken(0))
        }
        1 => {
            let (offset, length) = transfer(command, traits, state)?;
            if length > command.limit {
                return Err(Refusal::ShortBuffer);
            }
            if length == 0 {
                return Ok(Step::Taken(0));
            }
            Ok(Step::Io(Io::Compare { offset, length }))
        }
        _ => Err(Sense::INVALID_FIELD_IN_CDB.into()),
    }
}

/// WRITE SAME: one block again and again, or (UNMAP) blocks given back.
fn write_same(command: &Command<'_>, traits: &Traits, state: &State) -> Answer {
    let cdb = &command.cdb;
    let blocks = named(command);
    // ANCHOR, LBDATA and PBDATA are not supported, nor protection information.
    if cdb.has(1, 0xf6) {
        return Err(Sense::INVALID_FIELD_IN_CDB.into());
    }
    let (offset, length) = Geometry::new(traits, state)?.locate(blocks)?;
    let unmap = cdb.has(1, 8);
    if blocks.count == 0 || length > u64::from(MAX_WRITE_SAME) || (unmap && !traits.thin) {
        return Err(Sense::INVALID_FIELD_IN_CDB.into());
    }
    writable(traits)?;
    let size = usize::try_from(traits.block).unwrap_or(0);
    // NDOB: no data is sent, and the block is zero.
    let block = match cdb.opcode() == op::WRITE_SAME_16 && cdb.has(1, 1) {
        true => vec![0; size],
        false => command.parameters(size)?,
    };
    if unmap && block.iter().all(|byte| *byte == 0) {
        return Ok(Step::Io(Io::Unmap(vec![(offset, length)])));
    }
    Ok(Step::Io(Io::Fill {
        offset,
        length,
        block,
        through: !state.write_cache,
    }))
}

/// UNMAP: blocks given back.
fn unmap(command: &Command<'_>, traits: &Traits, state: &State) -> Answer {
    if !traits.thin {
        return Err(Sense::INVALID_OPCODE.into());
    }
    if command.cdb.has(1, 1) {
        // ANCHOR.
        return Err(Sense::INVALID_FIELD_IN_CDB.into());
    }
    let geometry = Geometry::new(traits, state)?;
    let length = usize::from(command.cdb.u16(7));
    if length == 0 {
        return Ok(Step::Taken(0));
    }
    let list = command.parameters(length)?;
    let said = usize::from(u16::from_be_bytes(bytes_at(&list, 2)));
    let (Some(descriptors), true) = (list.get(8..), said % 16 == 0) else {
        return Err(Sense::PARAMETER_LIST_LENGTH.into());
    };
    if said > descriptors.len() {
        return Err(Sense::PARAMETER_LIST_LENGTH.into());
    }
    if said / 16 > usize::from(MAX_UNMAP_RANGES) {
        return Err(Sense::INVALID_FIELD_IN_PARAMETERS.into());
    }
    let mut ranges = Vec::new();
    for descriptor in descriptors.chunks_exact(16).take(said / 16) {
        let blocks = Blocks {
            lba: u64::from_be_bytes(bytes_at(descriptor, 0)),
            count: u64::from(u32::from_be_bytes(bytes_at(descriptor, 8))),
        };
        ranges.push(geometry.locate(blocks)?);
    }
    Ok(Step::Io(Io::Unmap(ranges)))
}
