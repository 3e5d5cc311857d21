// SPDX-License-Identifier: GPL-2.0

//! INQUIRY: what a unit is, and the pages of vital product data.

use super::block::{MAX_UNMAP_RANGES, MAX_WRITE_SAME, UNMAP_GRANULARITY};
use super::cdb::put;
use super::sense::Sense;
use super::{data, Answer, Command};
use crate::disk::Traits;
use storvsc_proto::Version;

/// Peripheral device type of disks.
const DISK: u8 = 0;
/// Peripheral device type of DVD drives.
const DVD: u8 = 5;

/// Supported pages, in every unit.
const PAGES: u8 = 0x00;
/// Unit serial number.
const SERIAL_NUMBER: u8 = 0x80;
/// Device identification.
const IDENTIFICATION: u8 = 0x83;
/// Block limits.
const BLOCK_LIMITS: u8 = 0xb0;
/// Block device characteristics.
const CHARACTERISTICS: u8 = 0xb1;
/// Logical block provisioning.
const PROVISIONING: u8 = 0xb2;

/// INQUIRY.
pub(super) fn inquiry(command: &Command<'_>, traits: &Traits) -> Answer {
    let cdb = &command.cdb;
    let bytes = match (cdb.u8(1), cdb.u8(2)) {
        (0, 0) => standard(traits, command.version),
        (1, page) => vital(page, command, traits).ok_or(Sense::INVALID_FIELD_IN_CDB)?,
        _ => return Err(Sense::INVALID_FIELD_IN_CDB.into()),
    };
    data(bytes, cdb.u16(3))
}

/// The peripheral device type.
const fn device_type(traits: &Traits) -> u8 {
    match traits.dvd {
        true => DVD,
        false => DISK,
    }
}

/// Standard data, with the names that Hyper-V gives its disks.
fn standard(traits: &Traits, version: Version) -> Vec<u8> {
    let (removable, product) = match traits.dvd {
        true => (0x80, b"Virtual DVD-ROM "),
        false => (0, b"Virtual Disk    "),
    };
    // Hosts claim no standard for DVD drives, SPC-2 for disks before Windows 10 and SPC-3 since.
    let standard = match traits.dvd {
        true => 0,
        false if version < Version::V6_2 => 4,
        false => 5,
    };
    // 31 bytes follow byte 4; byte 7 says that commands are queued.
    let mut bytes = vec![0; 36];
    put(
        &mut bytes,
        0,
        &[device_type(traits), removable, standard, 2, 31, 0, 0, 2],
    );
    put(&mut bytes, 8, b"Msft    ");
    put(&mut bytes, 16, product);
    put(&mut bytes, 32, b"1.0 ");
    bytes
}

/// A page of vital product data.
fn vital(page: u8, command: &Command<'_>, traits: &Traits) -> Option<Vec<u8>> {
    let body = match page {
        PAGES if traits.dvd => vec![PAGES, SERIAL_NUMBER, IDENTIFICATION],
        PAGES => vec![
            PAGES,
            SERIAL_NUMBER,
            IDENTIFICATION,
            BLOCK_LIMITS,
            CHARACTERISTICS,
            PROVISIONING,
        ],
        SERIAL_NUMBER => serial(traits),
        IDENTIFICATION => identification(traits),
        BLOCK_LIMITS if !traits.dvd => block_limits(command, traits),
        // Rotation rate 1: not a rotating medium.
        CHARACTERISTICS if !traits.dvd => {
            let mut body = vec![0; 60];
            put(&mut body, 0, &[0, 1]);
            body
        }
        PROVISIONING if !traits.dvd => provisioning(traits),
        _ => return None,
    };
    let mut bytes = vec![device_type(traits), page];
    bytes.extend(u16::try_from(body.len()).unwrap_or(0).to_be_bytes());
    bytes.extend(body);
    Some(bytes)
}

/// The disk's id in hexadecimal.
fn serial(traits: &Traits) -> Vec<u8> {
    let digits = traits.id.iter().map(|byte| format!("{byte:02x}"));
    digits.collect::<String>().into_bytes()
}

/// The designators that Hyper-V gives: the vendor's own, and an NAA one of 16 bytes with Microsoft's OUI 00-22-48.
fn identification(traits: &Traits) -> Vec<u8> {
    let mut body = Vec::new();
    // Binary, of the logical unit, T10 vendor id.
    body.extend([1, 1, 0, 20]);
    body.extend(b"MSFT    ");
    body.extend(traits.id);
    // Binary, of the logical unit, NAA IEEE registered extended.
    body.extend([1, 3, 0, 16]);
    body.extend([0x60, 0x02, 0x24, 0x80]);
    body.extend(traits.id);
    body
}

/// Block limits (SBC-3, section 6.6.3). Numbers are in blocks, 0 for no limit.
fn block_limits(command: &Command<'_>, traits: &Traits) -> Vec<u8> {
    let blocks = |bytes: u32| bytes.checked_div(traits.block).unwrap_or(0).max(1);
    let mut body = vec![0; 60];
    // WRITE SAME of 0 blocks is refused.
    put(&mut body, 0, &[1]);
    put(&mut body, 4, &blocks(command.max_transfer).to_be_bytes());
    if traits.thin {
        put(&mut body, 16, &u32::MAX.to_be_bytes());
        put(&mut body, 20, &u32::from(MAX_UNMAP_RANGES).to_be_bytes());
        put(&mut body, 24, &blocks(UNMAP_GRANULARITY).to_be_bytes());
        // The alignment is valid, and 0.
        put(&mut body, 28, &[0x80]);
    }
    put(
        &mut body,
        32,
        &u64::from(blocks(MAX_WRITE_SAME)).to_be_bytes(),
    );
    body
}

/// Logical block provisioning (SBC-3, section 6.6.4).
fn provisioning(traits: &Traits) -> Vec<u8> {
    match traits.thin {
        // UNMAP, both forms of WRITE SAME with UNMAP, and zeros afterwards; thin provisioned.
        true => vec![0, 0xe4, 2, 0],
        false => vec![0; 4],
    }
}
