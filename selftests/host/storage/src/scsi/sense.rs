// SPDX-License-Identifier: GPL-2.0

//! Sense data: what a command that failed tells (SPC-4, section 4.5).

/// Size in bytes of sense data in fixed format without vendor's bytes.
pub(crate) const SIZE: usize = 18;

/// What went wrong: key, code and qualifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sense {
    /// The sense key.
    pub(crate) key: u8,
    /// The additional sense code.
    pub(crate) asc: u8,
    /// Its qualifier.
    pub(crate) ascq: u8,
    /// The LBA that it is about, where that fits 32 bits.
    pub(crate) information: Option<u32>,
}

/// Key of a unit that is not ready.
const NOT_READY: u8 = 2;
/// Key of a defect of the medium.
const MEDIUM_ERROR: u8 = 3;
/// Key of a request that makes no sense.
const ILLEGAL_REQUEST: u8 = 5;
/// Key of news that every command but a few must wait for.
const UNIT_ATTENTION: u8 = 6;
/// Key of a write to what is protected.
const DATA_PROTECT: u8 = 7;
/// Key of data that is not what it was thought to be.
const MISCOMPARE: u8 = 14;

impl Sense {
    /// Nothing to tell.
    pub(crate) const NONE: Self = Self::new(0, 0, 0);
    /// There is no medium.
    pub(crate) const MEDIUM_NOT_PRESENT: Self = Self::new(NOT_READY, 0x3a, 0);
    /// A read failed.
    pub(crate) const READ_ERROR: Self = Self::new(MEDIUM_ERROR, 0x11, 0);
    /// A write failed.
    pub(crate) const WRITE_ERROR: Self = Self::new(MEDIUM_ERROR, 0x0c, 0);
    /// The parameter list has another length than it says or than it may have.
    pub(crate) const PARAMETER_LIST_LENGTH: Self = Self::new(ILLEGAL_REQUEST, 0x1a, 0);
    /// There is no such command.
    pub(crate) const INVALID_OPCODE: Self = Self::new(ILLEGAL_REQUEST, 0x20, 0);
    /// The blocks are not all on the medium.
    pub(crate) const LBA_OUT_OF_RANGE: Self = Self::new(ILLEGAL_REQUEST, 0x21, 0);
    /// A field of the CDB makes no sense.
    pub(crate) const INVALID_FIELD_IN_CDB: Self = Self::new(ILLEGAL_REQUEST, 0x24, 0);
    /// There is no such LUN.
    pub(crate) const LUN_NOT_SUPPORTED: Self = Self::new(ILLEGAL_REQUEST, 0x25, 0);
    /// A field of the parameter list makes no sense.
    pub(crate) const INVALID_FIELD_IN_PARAMETERS: Self = Self::new(ILLEGAL_REQUEST, 0x26, 0);
    /// A key that is not registered.
    pub(crate) const INVALID_RELEASE: Self = Self::new(ILLEGAL_REQUEST, 0x26, 4);
    /// There are no saved parameters.
    pub(crate) const NO_SAVED_PARAMETERS: Self = Self::new(ILLEGAL_REQUEST, 0x39, 0);
    /// The guest has locked the tray.
    pub(crate) const REMOVAL_PREVENTED: Self = Self::new(ILLEGAL_REQUEST, 0x53, 2);
    /// No more keys can be registered.
    pub(crate) const NO_REGISTRATION_RESOURCES: Self = Self::new(ILLEGAL_REQUEST, 0x55, 4);
    /// The LUN is read-only.
    pub(crate) const WRITE_PROTECTED: Self = Self::new(DATA_PROTECT, 0x27, 0);
    /// The data differ.
    pub(crate) const MISCOMPARE: Self = Self::new(MISCOMPARE, 0x1d, 0);

    /// The medium may be another one.
    pub(crate) const MEDIUM_CHANGED: Self = Self::new(UNIT_ATTENTION, 0x28, 0);
    /// The bus was reset.
    pub(crate) const BUS_RESET: Self = Self::new(UNIT_ATTENTION, 0x29, 2);
    /// The LUN was reset.
    pub(crate) const LUN_RESET: Self = Self::new(UNIT_ATTENTION, 0x29, 3);
    /// Another initiator has cleared all reservations.
    pub(crate) const RESERVATIONS_PREEMPTED: Self = Self::new(UNIT_ATTENTION, 0x2a, 3);
    /// Another initiator has released a reservation.
    pub(crate) const RESERVATIONS_RELEASED: Self = Self::new(UNIT_ATTENTION, 0x2a, 4);
    /// Another initiator has removed the registration.
    pub(crate) const REGISTRATIONS_PREEMPTED: Self = Self::new(UNIT_ATTENTION, 0x2a, 5);
    /// The number of blocks is another one.
    pub(crate) const CAPACITY_CHANGED: Self = Self::new(UNIT_ATTENTION, 0x2a, 9);
    /// LUNs have come or gone.
    pub(crate) const LUNS_CHANGED: Self = Self::new(UNIT_ATTENTION, 0x3f, 0x0e);

    /// Any sense.
    pub(crate) const fn new(key: u8, asc: u8, ascq: u8) -> Self {
        Self {
            key,
            asc,
            ascq,
            information: None,
        }
    }

    /// The same, about an LBA.
    pub(crate) fn at(self, lba: u64) -> Self {
        Self {
            information: u32::try_from(lba).ok(),
            ..self
        }
    }

    /// Whether the request itself was at fault.
    pub(crate) const fn is_illegal_request(self) -> bool {
        self.key == ILLEGAL_REQUEST
    }

    /// Fixed format, for the current command.
    pub(crate) fn to_bytes(self) -> [u8; SIZE] {
        let [a, b, c, d] = self.information.unwrap_or(0).to_be_bytes();
        let valid = if self.information.is_some() { 0x80 } else { 0 };
        // Byte 7 counts the bytes that follow it.
        [
            0x70 | valid,
            0,
            self.key,
            a,
            b,
            c,
            d,
            10,
            0,
            0,
            0,
            0,
            self.asc,
            self.ascq,
            0,
            0,
            0,
            0,
        ]
    }

    /// Reads "key/asc/ascq" in hexadecimal.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('/').map(|part| u8::from_str_radix(part, 16));
        let (key, asc, ascq) = (numbers.next()?, numbers.next()?, numbers.next()?);
        if numbers.next().is_some() {
            return None;
        }
        Some(Self::new(key.ok()? & 0xf, asc.ok()?, ascq.ok()?))
    }
}
