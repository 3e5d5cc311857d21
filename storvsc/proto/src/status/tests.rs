// SPDX-License-Identifier: GPL-2.0

//! The mapping, row by row, and for any answer at all.

use super::*;
use crate::srb::{SrbStatusFlags, SENSE_SIZE};
use proptest::prelude::*;
use zerocopy::{FromBytes as _, FromZeros as _};

const READ: Sent = Sent {
    opcode: 0x28,
    length: 4096,
    fibre_channel: false,
};

fn sent(opcode: u8) -> Sent {
    Sent { opcode, ..READ }
}

fn answer(status: SrbStatus, scsi: ScsiStatus) -> Srb {
    Srb {
        srb_status: status.0,
        scsi_status: scsi.0,
        data_transfer_length: 4096.into(),
        ..Srb::new_zeroed()
    }
}

/// A check condition with sense in fixed format.
fn check(key: u8, asc: u8, ascq: u8) -> Srb {
    let mut srb = Srb {
        srb_status: SrbStatus::ERROR.with(SrbStatusFlags::AUTOSENSE_VALID),
        sense_info_length: 18,
        ..answer(SrbStatus::ERROR, ScsiStatus::CHECK_CONDITION)
    };
    srb.cdb_or_sense[..14].copy_from_slice(&[0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, asc, ascq]);
    srb
}

#[test]
fn success_counts_bytes_up_to_what_was_asked_for() {
    let mut srb = answer(SrbStatus::SUCCESS, ScsiStatus::GOOD);
    for (told, residual) in [(0, 4096), (4095, 1), (4096, 0), (4097, 0), (u32::MAX, 0)] {
        srb.data_transfer_length = told.into();
        let done = completion(READ, &srb);
        assert_eq!((done.host, done.residual), (HostByte::OK, residual));
        assert_eq!(succeeded(4096, &srb), Some(residual));
        assert_eq!(
            (done.sense, done.action, done.log),
            (None, None, Log::Nothing)
        );
    }
}

#[test]
fn statuses_without_sense() {
    use ScsiStatus as S;
    use SrbStatus as R;
    for (opcode, status, scsi, host, action) in [
        (0x28, R::ERROR, S::GOOD, HostByte::ERROR, None),
        (0x28, R::ERROR, S::CHECK_CONDITION, HostByte::ERROR, None),
        (0x28, R::ABORTED, S::GOOD, HostByte::ERROR, None),
        (0x28, R::TIMEOUT, S::GOOD, HostByte::ERROR, None),
        (0x28, R::INTERNAL_ERROR, S::GOOD, HostByte::ERROR, None),
        (0x28, R::DATA_OVERRUN, S::GOOD, HostByte::ERROR, None),
        (0x28, R::PENDING, S::GOOD, HostByte::ERROR, None),
        (0x28, SrbStatus(0x3f), S::GOOD, HostByte::ERROR, None),
        (0x28, R::BUS_RESET, S::GOOD, HostByte::RESET, None),
        (
            0x28,
            R::INVALID_LUN,
            S::GOOD,
            HostByte::NO_CONNECT,
            Some(Action::Remove),
        ),
        (
            0x12,
            R::INVALID_LUN,
            S::GOOD,
            HostByte::NO_CONNECT,
            Some(Action::Remove),
        ),
        (
            0x00,
            R::INVALID_LUN,
            S::GOOD,
            HostByte::NO_CONNECT,
            Some(Action::Remove),
        ),
        (
            0x28,
            R::INVALID_TARGET_ID,
            S::GOOD,
            HostByte::NO_CONNECT,
            None,
        ),
        (0x28, R::BUSY, S::TASK_SET_FULL, HostByte::OK, None),
        (0x28, R::BUSY, S::GOOD, HostByte::BUS_BUSY, None),
        (0x28, R::ERROR, S::RESERVATION_CONFLICT, HostByte::OK, None),
        (
            0x85,
            R::INVALID_REQUEST,
            S::CHECK_CONDITION,
            HostByte::PASSTHROUGH,
            None,
        ),
        (0xa1, R::ERROR, S::GOOD, HostByte::PASSTHROUGH, None),
        (0x00, R::ERROR, S::CHECK_CONDITION, HostByte::OK, None),
        (0x00, R::ERROR, S::GOOD, HostByte::ERROR, None),
    ] {
        let srb = answer(status, scsi);
        let done = completion(sent(opcode), &srb);
        assert_eq!(
            (done.host, done.action),
            (host, action),
            "{opcode:#x} {status:?}"
        );
        assert_eq!(done.scsi, scsi);
        assert_eq!(succeeded(4096, &srb), None);
        assert_eq!(
            done.residual,
            if status == R::DATA_OVERRUN { 0 } else { 4096 }
        );
        let log = if opcode == 0 {
            Log::Warning
        } else {
            Log::Error
        };
        assert_eq!(done.log, log);
    }
}

#[test]
fn sense_that_has_the_lun_looked_at_again() {
    for (asc, ascq, again) in [
        (0x2a, 0x09, true),
        (0x2a, 0x01, false),
        (0x3f, 0x00, true),
        (0x3f, 0x02, true),
        (0x3f, 0x03, false),
        (0x3f, 0x0e, false),
        (0x3f, 0xff, true),
        (0x29, 0x00, false),
        (0x11, 0x00, false),
    ] {
        let srb = check(6, asc, ascq);
        let done = completion(READ, &srb);
        let (host, action) = match again {
            true => (HostByte::REQUEUE, Some(Action::Rescan)),
            false => (HostByte::OK, None),
        };
        assert_eq!(
            (done.host, done.action),
            (host, action),
            "{asc:#x}/{ascq:#x}"
        );
        assert_eq!(done.sense.map(<[u8]>::len), Some(18));
        assert_eq!(
            (done.scsi, done.residual),
            (ScsiStatus::CHECK_CONDITION, 4096)
        );
    }
}

#[test]
fn sense_counts_only_where_it_is_announced() {
    let mut srb = check(6, 0x2a, 0x09);
    srb.srb_status = SrbStatus::ERROR.0;
    assert_eq!(completion(READ, &srb).sense, None);
    assert_eq!(completion(READ, &srb).host, HostByte::ERROR);
    let mut srb = check(6, 0x2a, 0x09);
    srb.scsi_status = ScsiStatus::GOOD.0;
    assert_eq!(completion(READ, &srb).sense, None);
    let mut srb = check(6, 0x2a, 0x09);
    srb.sense_info_length = 0;
    assert_eq!(completion(READ, &srb).sense, None);
    srb.sense_info_length = 255;
    assert_eq!(
        completion(READ, &srb).sense.map(<[u8]>::len),
        Some(SENSE_SIZE)
    );
}

#[test]
fn commands_that_hosts_mishandle_succeed() {
    for (opcode, fibre_channel, mishandled) in [
        (0x12, false, true),
        (0x1a, false, true),
        (0x5a, false, true),
        (0x5e, false, false),
        (0x5e, true, true),
        (0xa3, true, true),
        (0x28, true, false),
    ] {
        let command = Sent {
            opcode,
            fibre_channel,
            ..READ
        };
        let srb = check(5, 0x24, 0);
        let done = completion(command, &srb);
        assert_eq!(done.scsi == ScsiStatus::GOOD, mishandled, "{opcode:#x}");
        assert_eq!(done.sense.is_none(), mishandled);
        assert_eq!(done.log == Log::Nothing, mishandled);
        assert_eq!(done.host, HostByte::OK);
    }
}

#[test]
fn sense_codes_of_both_formats() {
    let fixed = |follows| [0x70, 0, 6, 0, 0, 0, 0, follows, 0, 0, 0, 0, 0x2a, 9];
    assert_eq!(sense_code(&fixed(10)), Some((0x2a, 9)));
    assert_eq!(sense_code(&fixed(6)), Some((0x2a, 9)));
    assert_eq!(sense_code(&fixed(5)), Some((0x2a, 0)));
    assert_eq!(sense_code(&fixed(4)), None);
    assert_eq!(sense_code(&fixed(10)[..13]), Some((0x2a, 0)));
    assert_eq!(sense_code(&fixed(10)[..12]), None);
    assert_eq!(sense_code(&[0x72, 6, 0x3f, 0x0e]), Some((0x3f, 0x0e)));
    assert_eq!(sense_code(&[0x72, 6, 0x3f]), None);
    assert_eq!(sense_code(&[0x7f; 20]), None);
    assert_eq!(sense_code(&[]), None);
}

proptest! {
    #[test]
    fn any_answer_stays_within_what_was_asked_for(
        wire in proptest::array::uniform(any::<u8>()),
        opcode: u8,
        length: u32,
        fibre_channel: bool,
    ) {
        let wire: [u8; 52] = wire;
        let srb = Srb::read_from_bytes(&wire).unwrap();
        let done = completion(Sent { opcode, length, fibre_channel }, &srb);
        prop_assert!(done.residual <= length);
        // The short way says the same.
        if let Some(residual) = succeeded(length, &srb) {
            prop_assert_eq!((done.host, done.scsi), (HostByte::OK, ScsiStatus::GOOD));
            prop_assert_eq!((done.sense, done.action, done.log), (None, None, Log::Nothing));
            prop_assert_eq!(done.residual, residual);
        }
        prop_assert!(done.sense.is_none_or(|sense| !sense.is_empty() && sense.len() <= SENSE_SIZE));
    }
}
