// SPDX-License-Identifier: GPL-2.0

//! Operation codes, and the command that lists those that are supported.

use super::cdb::put;
use super::sense::Sense;
use super::{data, Answer, Command};

/// Defines a constant for every operation code, and the list of those that disks support.
///
/// A line is: constant, code, service action if any, and the CDB usage data (SPC-4, section 6.35.3): which bits of
/// the CDB the device evaluates.
macro_rules! opcodes {
    ($($name:ident $code:literal $($action:literal)? [$($usage:literal)*];)*) => {
        $(
            #[doc = concat!("Operation code ", stringify!($code), ".")]
            pub(crate) const $name: u8 = $code;
        )*

        /// What disks support.
        const SUPPORTED: &[Supported] = &[$(Supported {
            usage: &[$code, $($usage),*],
            service_action: { let _action: Option<u8> = None; $(let _action = Some($action);)? _action },
        },)*];
    };
}

/// A command that is supported.
struct Supported {
    /// The operation code, then which bits of the CDB are evaluated.
    usage: &'static [u8],
    /// The service action, if the command has one.
    service_action: Option<u8>,
}

opcodes! {
    TEST_UNIT_READY 0x00 [0 0 0 0 0];
    REQUEST_SENSE 0x03 [1 0 0 0xff 0];
    READ_6 0x08 [0x1f 0xff 0xff 0xff 0];
    WRITE_6 0x0a [0x1f 0xff 0xff 0xff 0];
    INQUIRY 0x12 [1 0xff 0xff 0xff 0];
    MODE_SELECT_6 0x15 [0x11 0 0 0xff 0];
    MODE_SENSE_6 0x1a [8 0xff 0xff 0xff 0];
    START_STOP_UNIT 0x1b [0 0 0 3 0];
    READ_CAPACITY_10 0x25 [0 0 0 0 0 0 0 0 0];
    READ_10 0x28 [0x18 0xff 0xff 0xff 0xff 0 0xff 0xff 0];
    WRITE_10 0x2a [0x18 0xff 0xff 0xff 0xff 0 0xff 0xff 0];
    WRITE_AND_VERIFY_10 0x2e [0x10 0xff 0xff 0xff 0xff 0 0xff 0xff 0];
    VERIFY_10 0x2f [0x12 0xff 0xff 0xff 0xff 0 0xff 0xff 0];
    SYNCHRONIZE_CACHE_10 0x35 [2 0xff 0xff 0xff 0xff 0 0xff 0xff 0];
    WRITE_SAME_10 0x41 [8 0xff 0xff 0xff 0xff 0 0xff 0xff 0];
    UNMAP 0x42 [1 0 0 0 0 0 0xff 0xff 0];
    MODE_SELECT_10 0x55 [0x11 0 0 0 0 0 0xff 0xff 0];
    MODE_SENSE_10 0x5a [8 0xff 0xff 0 0 0 0xff 0xff 0];
    PERSISTENT_RESERVE_IN 0x5e [0x1f 0 0 0 0 0 0xff 0xff 0];
    PERSISTENT_RESERVE_OUT 0x5f [0x1f 0xff 0 0 0xff 0xff 0xff 0xff 0];
    READ_16 0x88 [0x18 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0 0];
    WRITE_16 0x8a [0x18 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0 0];
    WRITE_AND_VERIFY_16 0x8e [0x10 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0 0];
    VERIFY_16 0x8f [0x12 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0 0];
    SYNCHRONIZE_CACHE_16 0x91 [2 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0 0];
    WRITE_SAME_16 0x93 [9 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0 0];
    SERVICE_ACTION_IN_16 0x9e 0x10 [0x10 0 0 0 0 0 0 0 0 0xff 0xff 0xff 0xff 0 0];
    REPORT_LUNS 0xa0 [0 0xff 0 0 0 0xff 0xff 0xff 0xff 0 0];
    MAINTENANCE_IN 0xa3 0x0c [0x0c 0x87 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0 0];
    READ_12 0xa8 [0x18 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0 0];
    WRITE_12 0xaa [0x18 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0 0];
    WRITE_AND_VERIFY_12 0xae [0x10 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0 0];
    VERIFY_12 0xaf [0x12 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0 0];
}

/// Locks or unlocks the tray of a DVD drive.
pub(crate) const PREVENT_ALLOW_MEDIUM_REMOVAL: u8 = 0x1e;
/// Of DVD drives.
pub(crate) const READ_TOC: u8 = 0x43;
/// Of DVD drives.
pub(crate) const GET_CONFIGURATION: u8 = 0x46;
/// GET EVENT STATUS NOTIFICATION, of DVD drives.
pub(crate) const GET_EVENT_STATUS: u8 = 0x4a;
/// READ DISC INFORMATION, of DVD drives.
pub(crate) const READ_DISC_INFORMATION: u8 = 0x51;
/// READ TRACK INFORMATION, of DVD drives.
pub(crate) const READ_TRACK_INFORMATION: u8 = 0x52;
/// Of DVD drives.
pub(crate) const MECHANISM_STATUS: u8 = 0xbd;

/// Service action of [`SERVICE_ACTION_IN_16`].
pub(crate) const READ_CAPACITY_16: u8 = 0x10;
/// Service action of [`MAINTENANCE_IN`].
const REPORT_SUPPORTED_OPERATION_CODES: u8 = 0x0c;

impl Supported {
    /// The operation code.
    fn opcode(&self) -> u8 {
        self.usage.first().copied().unwrap_or(0)
    }

    /// The length of the CDB, as a descriptor has it.
    fn length(&self) -> [u8; 2] {
        u16::try_from(self.usage.len()).unwrap_or(0).to_be_bytes()
    }
}

/// MAINTENANCE IN: REPORT SUPPORTED OPERATION CODES (SPC-4, section 6.35).
pub(super) fn report(command: &Command<'_>) -> Answer {
    let cdb = &command.cdb;
    // Command timeouts descriptors (RCTD) are not given.
    if cdb.service_action() != REPORT_SUPPORTED_OPERATION_CODES || cdb.has(2, 0x80) {
        return Err(Sense::INVALID_FIELD_IN_CDB.into());
    }
    let (opcode, action) = (cdb.u8(3), cdb.u16(4));
    let mut with_opcode = SUPPORTED.iter().filter(|s| s.opcode() == opcode);
    let has_actions = SUPPORTED
        .iter()
        .any(|s| s.opcode() == opcode && s.service_action.is_some());
    let found = match (cdb.u8(2) & 7, has_actions) {
        (0, _) => return data(all(), cdb.u32(6)),
        (1, false) => with_opcode.next(),
        (2, true) | (3, true) => {
            with_opcode.find(|s| s.service_action.map(u16::from) == Some(action))
        }
        (3, false) if action == 0 => with_opcode.next(),
        (3, false) => None,
        _ => return Err(Sense::INVALID_FIELD_IN_CDB.into()),
    };
    // 1: not supported; 3: supported as the standard has it.
    let mut one = vec![0, if found.is_some() { 3 } else { 1 }];
    if let Some(found) = found {
        one.extend(found.length());
        one.extend(found.usage);
    } else {
        one.extend([0, 0]);
    }
    data(one, cdb.u32(6))
}

/// The list of all commands.
fn all() -> Vec<u8> {
    let mut list = vec![0; 4];
    for supported in SUPPORTED {
        let mut descriptor = [0; 8];
        put(&mut descriptor, 0, &[supported.opcode()]);
        if let Some(action) = supported.service_action {
            put(&mut descriptor, 2, &u16::from(action).to_be_bytes());
            put(&mut descriptor, 5, &[1]);
        }
        put(&mut descriptor, 6, &supported.length());
        list.extend(descriptor);
    }
    let length = u32::try_from(list.len().saturating_sub(4)).unwrap_or(0);
    put(&mut list, 0, &length.to_be_bytes());
    list
}
