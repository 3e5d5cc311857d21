// SPDX-License-Identifier: GPL-2.0

//! DVD drives.

use crate::guest::{cdb10, cdb12, Data, Done, Guest};
use serde_json::json;

fn dvd() -> Guest {
    Guest::new(&["ram=1M,dvd"])
}

fn event(guest: &mut Guest) -> Vec<u8> {
    let mut cdb = cdb10(0x4a, 0, 8);
    (cdb[1], cdb[4]) = (1, 1 << 4);
    guest.command(0, &cdb, Data::In(8)).good()
}

fn ready(guest: &mut Guest) -> Done {
    guest.command(0, &[0; 6], Data::None)
}

#[test]
fn a_drive_says_what_it_is() {
    let mut guest = dvd();
    let data = guest
        .command(0, &[0x12, 0, 0, 0, 36, 0], Data::In(36))
        .good();
    assert_eq!(data[..5], [5, 0x80, 0, 2, 31]);
    assert_eq!(data[8..], *b"Msft    Virtual DVD-ROM 1.0 ");
    let capacity = guest.command(0, &cdb10(0x25, 0, 0), Data::In(8)).good();
    assert_eq!(capacity, [0, 0, 1, 255, 0, 0, 8, 0]);
    let mut cdb = cdb10(0x5a, 0, 128);
    cdb[2] = 0x2a;
    let mode = guest.command(0, &cdb, Data::In(128)).good();
    assert_eq!((mode[7], &mode[8..10]), (0, &[0x2a, 18][..]));
    assert_eq!(mode.len(), 28);
    // A tray that opens by itself and can be locked.
    assert_eq!(mode[14], 0x29);
}

#[test]
fn discs_are_read_and_never_written() {
    let mut guest = dvd();
    assert_eq!(guest.read(0, 511, 1, 2048), [0; 2048]);
    assert_eq!(
        guest
            .command(0, &cdb12(0xa8, 0, 2), Data::In(4096))
            .good()
            .len(),
        4096
    );
    guest
        .command(0, &cdb10(0x28, 511, 2), Data::In(4096))
        .check(5, 0x21, 0);
    guest
        .command(0, &cdb10(0x2a, 0, 1), Data::Out(&[0; 2048]))
        .check(5, 0x20, 0);
    guest
        .command(0, &cdb10(0x42, 0, 24), Data::Out(&[0; 24]))
        .check(5, 0x20, 0);
    guest
        .command(0, &[0x15, 0x10, 0, 0, 24, 0], Data::Out(&[0; 24]))
        .check(5, 0x20, 0);
}

#[test]
fn contents_and_features() {
    let mut guest = dvd();
    let toc = guest.command(0, &cdb10(0x43, 0, 64), Data::In(64)).good();
    assert_eq!(toc[..4], [0, 18, 1, 1]);
    assert_eq!(toc[4..12], [0, 0x14, 1, 0, 0, 0, 0, 0]);
    assert_eq!(toc[12..], [0, 0x14, 0xaa, 0, 0, 0, 2, 0]);
    let mut msf = cdb10(0x43, 0, 64);
    (msf[1], msf[6]) = (2, 0xaa);
    let toc = guest.command(0, &msf, Data::In(64)).good();
    // 512 + 150 frames are 8 s and 62 frames.
    assert_eq!(toc[4..], [0, 0x14, 0xaa, 0, 0, 0, 8, 62]);
    let mut session = cdb10(0x43, 0, 12);
    session[2] = 1;
    assert_eq!(guest.command(0, &session, Data::In(12)).good()[6], 1);
    session[2] = 5;
    guest.command(0, &session, Data::In(12)).check(5, 0x24, 0);

    let features = guest.command(0, &cdb10(0x46, 0, 256), Data::In(256)).good();
    let length = u32::from_be_bytes(features[..4].try_into().unwrap());
    assert_eq!(usize::try_from(length).unwrap(), features.len() - 4);
    assert_eq!(features[6..8], [0, 0x10]);
    let mut one = cdb10(0x46, 0, 256);
    (one[1], one[3]) = (2, 0x1f);
    assert_eq!(guest.command(0, &one, Data::In(256)).good().len(), 16);
    let disc = guest.command(0, &cdb10(0x51, 0, 34), Data::In(34)).good();
    assert_eq!(disc[..7], [0, 32, 0x0e, 1, 1, 1, 1]);
    for (kind, number, found) in [
        (0, 0, true),
        (0, 511, true),
        (0, 512, false),
        (1, 1, true),
        (1, 2, false),
        (3, 1, false),
    ] {
        let mut track = cdb10(0x52, number, 36);
        track[1] = kind;
        let done = guest.command(0, &track, Data::In(36));
        match found {
            true => assert_eq!(done.good()[24..28], [0, 0, 2, 0]),
            false => done.check(5, 0x24, 0),
        }
    }
}

#[test]
fn a_tray_opens_unless_it_is_locked() {
    let mut guest = dvd();
    let eject = [0x1b, 0, 0, 0, 2, 0];
    ready(&mut guest).good();
    assert_eq!(event(&mut guest), [0, 6, 4, 16, 0, 2, 0, 0]);
    guest.command(0, &[0x1e, 0, 0, 0, 1, 0], Data::None).good();
    guest.command(0, &eject, Data::None).check(5, 0x53, 2);
    assert_eq!(guest.status(0)["locked"], true);
    guest.command(0, &[0x1e, 0, 0, 0, 0, 0], Data::None).good();
    guest.command(0, &eject, Data::None).good();
    assert_eq!(event(&mut guest), [0, 6, 4, 16, 3, 0, 0, 0]);
    assert_eq!(event(&mut guest), [0, 6, 4, 16, 0, 0, 0, 0]);
    ready(&mut guest).check(2, 0x3a, 0);
    guest
        .command(0, &cdb10(0x28, 0, 1), Data::In(2048))
        .check(2, 0x3a, 0);
    guest
        .command(0, &cdb10(0x25, 0, 0), Data::In(8))
        .check(2, 0x3a, 0);
    guest
        .command(0, &cdb10(0x43, 0, 64), Data::In(64))
        .check(2, 0x3a, 0);
    assert_eq!(guest.status(0)["medium"], false);
    let profile = guest.command(0, &cdb10(0x46, 0, 8), Data::In(8)).good();
    assert_eq!(profile[6..8], [0, 0]);
}

#[test]
fn discs_come_and_go_by_the_control_socket() {
    let mut guest = Guest::new(&["dvd,name=drive"]);
    ready(&mut guest).check(2, 0x3a, 0);
    guest
        .control("insert", json!({"name": "drive", "ram": "2M"}))
        .unwrap();
    assert_eq!(event(&mut guest)[4..6], [2, 2]);
    ready(&mut guest).check(6, 0x28, 0);
    ready(&mut guest).good();
    let capacity = guest.command(0, &cdb10(0x25, 0, 0), Data::In(8)).good();
    assert_eq!(capacity[..4], [0, 0, 3, 255]);
    guest.command(0, &[0x1e, 0, 0, 0, 1, 0], Data::None).good();
    guest.control("eject", json!({"lun": 0})).unwrap();
    ready(&mut guest).check(2, 0x3a, 0);
    assert_eq!(guest.status(0)["locked"], false);
    assert!(guest.control("resize_disk", json!({"size": "4M"})).is_err());
    assert!(guest
        .control("insert", json!({"file": "/nonexistent"}))
        .is_err());
    let mut disk = Guest::new(&["ram=1M"]);
    assert!(disk.control("eject", json!({})).is_err());
}
