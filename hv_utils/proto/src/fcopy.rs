// SPDX-License-Identifier: GPL-2.0

//! Fcopy: the host copies a file into the guest, piece by piece.

use crate::message::read;
use crate::{Malformed, Version};
use hvdef::Guid;
use zerocopy::little_endian::{U16, U32, U64};

/// Message versions.
pub const VERSIONS: [Version; 1] = [Version::new(1, 1)];

/// Length of a name in UTF-16 units, its end included (`W_MAX_PATH`).
pub const NAME_UNITS: usize = 260;
/// Bytes of a file that one message carries at most (`DATA_FRAGMENT`).
pub const FRAGMENT_SIZE: usize = 6 * 1024;

hvdef::open_enum! {
    /// What to do (`enum hv_fcopy_op`).
    pub enum Operation: u32 {
        /// Create the file: [`Start`].
        START = 0,
        /// Write a piece of it: [`Write`].
        WRITE = 1,
        /// All is written.
        COMPLETE = 2,
        /// Forget it. Linux' daemon answers with a failure.
        CANCEL = 3,
    }
}

bitflags::bitflags! {
    /// How to create the file.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct CopyFlags: u32 {
        /// Replace one that exists (`OVER_WRITE`).
        const OVERWRITE = 1;
        /// Create the folders of its path.
        const CREATE_PATH = 2;
    }
}

wire! {
    /// Starts the body, and is the whole of [`Operation::COMPLETE`] and [`Operation::CANCEL`] (`struct hv_fcopy_hdr`),
    /// 36 bytes.
    pub struct Header {
        /// The [`Operation`].
        operation: U32,
        /// Unused.
        service_ids: [Guid; 2],
    }

    /// The body of [`Operation::START`] (`struct hv_start_fcopy`), 1088 bytes.
    pub struct Start {
        /// Starts the body.
        header: Header,
        /// The name, in UTF-16.
        file_name: [U16; NAME_UNITS],
        /// The folder, in UTF-16. Linux' daemon creates only those parts of it that a slash ends.
        path_name: [U16; NAME_UNITS],
        /// See [`CopyFlags`].
        flags: U32,
        /// Size of the file in bytes.
        file_size: U64,
    }

    /// The body of [`Operation::WRITE`] (`struct hv_do_fcopy`), 6196 bytes.
    pub struct Write {
        /// Starts the body.
        header: Header,
        /// Zero.
        reserved: U32,
        /// Where in the file, in bytes.
        offset: U64,
        /// Bytes of the data that count.
        size: U32,
        /// What to write.
        data: [u8; FRAGMENT_SIZE],
    }
}

impl Header {
    /// The start of a body.
    #[must_use]
    pub fn new(operation: Operation) -> Self {
        Self {
            operation: U32::new(operation.0),
            service_ids: [Guid::ZERO; 2],
        }
    }
}

impl Write {
    /// The bytes that count.
    ///
    /// # Errors
    ///
    /// [`Malformed::FieldSize`].
    pub fn data(&self) -> Result<&[u8], Malformed> {
        let bad = Malformed::FieldSize(self.size.get());
        let size = usize::try_from(self.size.get()).map_err(|_| bad)?;
        self.data.get(..size).ok_or(bad)
    }
}

/// The body of a message, by its operation.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// [`Operation::START`].
    Start(&'a Start),
    /// [`Operation::WRITE`].
    Write(&'a Write),
    /// [`Operation::COMPLETE`].
    Complete,
    /// [`Operation::CANCEL`].
    Cancel,
    /// Something that has no name here.
    Other(Operation),
}

impl<'a> Body<'a> {
    /// Reads the body of a message.
    ///
    /// # Errors
    ///
    /// [`Malformed::Short`].
    pub fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let (header, _) = read::<Header>(body)?;
        Ok(match Operation(header.operation.get()) {
            Operation::START => Self::Start(read(body)?.0),
            Operation::WRITE => Self::Write(read(body)?.0),
            Operation::COMPLETE => Self::Complete,
            Operation::CANCEL => Self::Cancel,
            other => Self::Other(other),
        })
    }
}
