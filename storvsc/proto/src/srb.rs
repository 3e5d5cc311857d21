// SPDX-License-Identifier: GPL-2.0

//! SCSI commands as the protocol carries them.

use bitflags::bitflags;
use hvdef::open_enum;
use zerocopy::little_endian::{U16, U32};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The longest CDB, in bytes.
pub const CDB_SIZE: usize = 16;

/// The longest sense data, in bytes (`STORVSC_SENSE_BUFFER_SIZE`).
pub const SENSE_SIZE: usize = 20;

/// Size in bytes of an [`Srb`].
pub const SRB_SIZE: u16 = 52;

open_enum! {
    /// What became of an SRB: the lower 6 bits of [`Srb::srb_status`]. The source of those that Linux does not name is
    /// Windows' `srb.h`.
    pub enum SrbStatus: u8 {
        /// Not done yet.
        PENDING = 0x00,
        /// Done.
        SUCCESS = 0x01,
        /// Ended by the host.
        ABORTED = 0x02,
        /// Failed; sense data may tell more.
        ERROR = 0x04,
        /// The device takes no more commands now.
        BUSY = 0x05,
        /// The command is none that the device knows.
        INVALID_REQUEST = 0x06,
        /// There is no such path.
        INVALID_PATH_ID = 0x07,
        /// There is no such device.
        NO_DEVICE = 0x08,
        /// Took too long.
        TIMEOUT = 0x09,
        /// The target does not answer.
        SELECTION_TIMEOUT = 0x0a,
        /// Ended by a reset.
        BUS_RESET = 0x0e,
        /// The device has more or less data than the buffer takes; `data_transfer_length` says how much was moved.
        DATA_OVERRUN = 0x12,
        /// There is no such LUN, or it has gone.
        INVALID_LUN = 0x20,
        /// There is no such target.
        INVALID_TARGET_ID = 0x21,
        /// The host failed.
        INTERNAL_ERROR = 0x30,
    }
}

bitflags! {
    /// The upper 2 bits of [`Srb::srb_status`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SrbStatusFlags: u8 {
        /// The sense data is valid.
        const AUTOSENSE_VALID = 0x80;
        /// The queue of the LUN waits to be released.
        const QUEUE_FROZEN = 0x40;
    }
}

impl SrbStatus {
    /// The byte of the wire.
    #[must_use]
    pub const fn with(self, flags: SrbStatusFlags) -> u8 {
        self.0 | flags.bits()
    }
}

open_enum! {
    /// A SCSI status (SAM-5, table 47).
    pub enum ScsiStatus: u8 {
        /// Done.
        GOOD = 0x00,
        /// Sense data tells.
        CHECK_CONDITION = 0x02,
        /// Later.
        BUSY = 0x08,
        /// Another initiator holds a reservation.
        RESERVATION_CONFLICT = 0x18,
        /// The device takes no more commands now.
        TASK_SET_FULL = 0x28,
        /// Another initiator has ended the command.
        TASK_ABORTED = 0x40,
    }
}

open_enum! {
    /// Where the data of an SRB goes (`enum storvsc_request_type`).
    pub enum DataDirection: u8 {
        /// From the guest's memory to the device.
        WRITE = 0,
        /// From the device to the guest's memory.
        READ = 1,
        /// There is no data.
        NONE = 2,
    }
}

open_enum! {
    /// How a command is queued.
    pub enum QueueAction: u8 {
        /// In any order (`SRB_SIMPLE_TAG_REQUEST`).
        SIMPLE_TAG = 0x20,
        /// Before all others.
        HEAD_OF_QUEUE = 0x21,
        /// After those before and before those after it.
        ORDERED = 0x22,
    }
}

bitflags! {
    /// Flags of an SRB (`SRB_FLAGS_*`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SrbFlags: u32 {
        /// The command is tagged.
        const QUEUE_ACTION_ENABLE = 0x0000_0002;
        /// The device must stay connected.
        const DISABLE_DISCONNECT = 0x0000_0004;
        /// Move data asynchronously.
        const DISABLE_SYNCH_TRANSFER = 0x0000_0008;
        /// Take the command although the queue is frozen.
        const BYPASS_FROZEN_QUEUE = 0x0000_0010;
        /// Fetch no sense data.
        const DISABLE_AUTOSENSE = 0x0000_0020;
        /// The device sends data.
        const DATA_IN = 0x0000_0040;
        /// The device gets data.
        const DATA_OUT = 0x0000_0080;
        /// Do not freeze the queue after an error.
        const NO_QUEUE_FREEZE = 0x0000_0100;
        /// The adapter may cache.
        const ADAPTER_CACHE_ENABLE = 0x0000_0200;
        /// The receiver frees the sense buffer.
        const FREE_SENSE_BUFFER = 0x0000_0400;
        /// Part of powering the device down.
        const D3_PROCESSING = 0x0000_0800;
        /// The command is with the device.
        const IS_ACTIVE = 0x0001_0000;
        /// Of the sender's own use.
        const ALLOCATED_FROM_ZONE = 0x0002_0000;
        /// Of the sender's own use.
        const SGLIST_FROM_POOL = 0x0004_0000;
        /// Take the command although the queue is locked.
        const BYPASS_LOCKED_QUEUE = 0x0008_0000;
        /// The command does not keep the device awake.
        const NO_KEEP_AWAKE = 0x0010_0000;
        /// The port driver allocates the sense buffer.
        const PORT_DRIVER_ALLOCSENSE = 0x0020_0000;
        /// The sense buffer has a port number.
        const PORT_DRIVER_SENSEHASPORT = 0x0040_0000;
        /// The sender starts the next command.
        const DONT_START_NEXT_PACKET = 0x0080_0000;
    }
}

/// A SCSI command or what became of it (`struct vmscsi_request`): 52 bytes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct Srb {
    /// Size of this structure in bytes.
    pub length: U16,
    /// An [`SrbStatus`] and [`SrbStatusFlags`].
    pub srb_status: u8,
    /// A [`ScsiStatus`].
    pub scsi_status: u8,
    /// The guest's number of the controller; hosts ignore it.
    pub port_number: u8,
    /// Which bus of the controller.
    pub path_id: u8,
    /// Which target of the bus.
    pub target_id: u8,
    /// Which LUN of the target.
    pub lun: u8,
    /// How many bytes the CDB has, at most [`CDB_SIZE`].
    pub cdb_length: u8,
    /// How many bytes of sense data the guest takes, then how many there are, at most [`SENSE_SIZE`].
    pub sense_info_length: u8,
    /// A [`DataDirection`].
    pub data_in: u8,
    /// Zero.
    pub reserved: u8,
    /// How many bytes to move, then how many were moved.
    pub data_transfer_length: U32,
    /// The CDB, then the sense data.
    pub cdb_or_sense: [u8; SENSE_SIZE],
    /// Zero.
    pub reserved1: U16,
    /// The command's tag, 0xff for none.
    pub queue_tag: u8,
    /// A [`QueueAction`].
    pub queue_action: u8,
    /// [`SrbFlags`].
    pub srb_flags: U32,
    /// How long the command may take, in seconds.
    pub time_out_value: U32,
    /// For the order of commands; zero.
    pub queue_sort_key: U32,
}
const _: () = assert!(size_of::<Srb>() == 52);

impl Srb {
    /// What became of the command.
    #[must_use]
    pub const fn status(&self) -> SrbStatus {
        SrbStatus(self.srb_status & !SrbStatusFlags::all().bits())
    }

    /// The flags beside that status.
    #[must_use]
    pub const fn status_flags(&self) -> SrbStatusFlags {
        SrbStatusFlags::from_bits_truncate(self.srb_status)
    }

    /// The flags, unknown ones included.
    #[must_use]
    pub const fn flags(&self) -> SrbFlags {
        SrbFlags::from_bits_retain(self.srb_flags.get())
    }

    /// The CDB; `None` if it is longer than one can be.
    #[must_use]
    pub fn cdb(&self) -> Option<&[u8]> {
        let length = usize::from(self.cdb_length);
        self.cdb_or_sense
            .get(..length)
            .filter(|cdb| cdb.len() <= CDB_SIZE)
    }

    /// The sense data of an answer, where its status says that there is any. A length beyond the field is clamped.
    #[must_use]
    pub fn sense(&self) -> Option<&[u8]> {
        if !self
            .status_flags()
            .contains(SrbStatusFlags::AUTOSENSE_VALID)
        {
            return None;
        }
        let length = usize::from(self.sense_info_length).min(SENSE_SIZE);
        self.cdb_or_sense.get(..length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memoffset::span_of;
    use proptest::prelude::*;
    use zerocopy::{FromBytes, FromZeros};

    #[test]
    fn layout() {
        assert_eq!(span_of!(Srb, length), 0..2);
        assert_eq!(span_of!(Srb, srb_status), 2..3);
        assert_eq!(span_of!(Srb, scsi_status), 3..4);
        assert_eq!(span_of!(Srb, port_number), 4..5);
        assert_eq!(span_of!(Srb, path_id), 5..6);
        assert_eq!(span_of!(Srb, target_id), 6..7);
        assert_eq!(span_of!(Srb, lun), 7..8);
        assert_eq!(span_of!(Srb, cdb_length), 8..9);
        assert_eq!(span_of!(Srb, sense_info_length), 9..10);
        assert_eq!(span_of!(Srb, data_in), 10..11);
        assert_eq!(span_of!(Srb, reserved), 11..12);
        assert_eq!(span_of!(Srb, data_transfer_length), 12..16);
        assert_eq!(span_of!(Srb, cdb_or_sense), 16..36);
        assert_eq!(span_of!(Srb, reserved1), 36..38);
        assert_eq!(span_of!(Srb, queue_tag), 38..39);
        assert_eq!(span_of!(Srb, queue_action), 39..40);
        assert_eq!(span_of!(Srb, srb_flags), 40..44);
        assert_eq!(span_of!(Srb, time_out_value), 44..48);
        assert_eq!(span_of!(Srb, queue_sort_key), 48..52);
        assert_eq!(usize::from(SRB_SIZE), size_of::<Srb>());
    }

    #[test]
    fn status_and_flags_share_a_byte() {
        let srb = Srb {
            srb_status: 0xc4,
            ..Srb::new_zeroed()
        };
        assert_eq!(srb.status(), SrbStatus::ERROR);
        assert_eq!(srb.status_flags(), SrbStatusFlags::all());
        assert_eq!(
            SrbStatus::INVALID_REQUEST.with(SrbStatusFlags::AUTOSENSE_VALID),
            0x86
        );
    }

    #[test]
    fn a_cdb_has_at_most_16_bytes() {
        for (cdb_length, length) in [
            (0, Some(0)),
            (15, Some(15)),
            (16, Some(16)),
            (17, None),
            (20, None),
            (255, None),
        ] {
            let srb = Srb {
                cdb_length,
                ..Srb::new_zeroed()
            };
            assert_eq!(srb.cdb().map(<[u8]>::len), length, "{cdb_length}");
        }
    }

    #[test]
    fn sense_has_at_most_20_bytes_and_must_be_announced() {
        for (sense_info_length, length) in [(0, 0), (19, 19), (20, 20), (21, 20), (255, 20)] {
            let mut srb = Srb {
                sense_info_length,
                srb_status: 0x84,
                ..Srb::new_zeroed()
            };
            assert_eq!(srb.sense().map(<[u8]>::len), Some(length));
            srb.srb_status = 0x44;
            assert_eq!(srb.sense(), None);
        }
    }

    proptest! {
        #[test]
        fn any_srb_is_read_without_a_panic(wire in proptest::array::uniform(any::<u8>())) {
            let wire: [u8; 52] = wire;
            let srb = Srb::read_from_bytes(&wire).unwrap();
            let _ = (srb.cdb(), srb.sense(), srb.status(), srb.flags());
        }
    }
}
