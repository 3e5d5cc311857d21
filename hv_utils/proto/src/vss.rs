// SPDX-License-Identifier: GPL-2.0

//! VSS: the host has the guest's file systems frozen while it takes a snapshot of the disks.

use crate::message::read;
use crate::{Malformed, Version};
use zerocopy::little_endian::U32;

mod daemon;
mod thaw;

pub use daemon::{Timeouts, Vss};
pub use thaw::THAW;

/// Message versions: the only one that Linux' daemon knows.
pub const VERSIONS: [Version; 1] = [Version::new(5, 0)];

/// Bytes of the longest freeze request known, prefix included; the LUNs that it lists mean nothing to Linux.
pub const FREEZE_SIZE: usize = 6260;

/// The guest can be backed up while it runs, and recovers without help: the only answer of Linux to
/// [`Operation::HOT_BACKUP`] (`VSS_HBU_NO_AUTO_RECOVERY`).
pub const NO_AUTO_RECOVERY: u32 = 5;

hvdef::open_enum! {
    /// What to do (`enum hv_vss_op`).
    #[derive(zerocopy_derive::FromBytes, zerocopy_derive::IntoBytes, zerocopy_derive::Immutable)]
    #[derive(zerocopy_derive::KnownLayout, zerocopy_derive::Unaligned)]
    pub enum Operation: u8 {
        /// Make a snapshot.
        CREATE = 0,
        /// Delete a snapshot.
        DELETE = 1,
        /// Say whether the guest can be backed up while it runs.
        HOT_BACKUP = 2,
        /// Say which disks the host does not know.
        GET_DM_INFO = 3,
        /// The backup is complete.
        BACKUP_COMPLETE = 4,
        /// Freeze the file systems.
        FREEZE = 5,
        /// Thaw them.
        THAW = 6,
        /// Recover the file systems of a snapshot.
        AUTO_RECOVER = 7,
    }
}

wire! {
    /// What Linux knows of every body (`struct hv_vss_msg`), 12 bytes.
    pub struct Message {
        /// What to do.
        operation: Operation,
        /// Zero.
        reserved: [u8; 7],
        /// In answers to [`Operation::HOT_BACKUP`] and [`Operation::GET_DM_INFO`]: what was asked for.
        flags: U32,
    }
}

impl Message {
    /// Reads the body.
    ///
    /// # Errors
    ///
    /// [`Malformed::Short`].
    pub fn parse(body: &[u8]) -> Result<&Self, Malformed> {
        read(body).map(|(message, _)| message)
    }
}
