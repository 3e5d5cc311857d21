// SPDX-License-Identifier: GPL-2.0

//! MODE SENSE and MODE SELECT.

use crate::guest::{cdb10, Data, Done, Guest};

fn sense6(guest: &mut Guest, byte1: u8, page: u8) -> Done {
    guest.command(0, &[0x1a, byte1, page, 0, 255, 0], Data::In(255))
}

fn sense10(guest: &mut Guest, byte1: u8, page: u8) -> Done {
    let mut cdb = cdb10(0x5a, 0, 512);
    (cdb[1], cdb[2]) = (byte1, page);
    guest.command(0, &cdb, Data::In(512))
}

#[test]
fn pages_of_a_disk() {
    let mut guest = Guest::new(&["ram=1M"]);
    let short = sense6(&mut guest, 0, 0x3f).good();
    assert_eq!(
        short[..4],
        [u8::try_from(short.len() - 1).unwrap(), 0, 0x10, 8]
    );
    assert_eq!(short[4..12], [0, 0, 8, 0, 0, 0, 2, 0]);
    let long = sense10(&mut guest, 0, 0x3f).good();
    assert_eq!(
        usize::from(u16::from_be_bytes([long[0], long[1]])),
        long.len() - 2
    );
    assert_eq!((long[3], long[7]), (0x10, 8));
    assert_eq!(short[4..], long[8..]);
    let bare = sense6(&mut guest, 8, 0x3f).good();
    assert_eq!((bare[3], &bare[4..]), (0, &short[12..]));
    let mut pages = Vec::new();
    let mut rest = &bare[4..];
    while !rest.is_empty() {
        pages.push(rest[0]);
        rest = &rest[2 + usize::from(rest[1])..];
    }
    assert_eq!(pages, [0x08, 0x0a, 0x1c]);
    assert_eq!(sense6(&mut guest, 8, 8).good()[4..8], [8, 18, 4, 0]);
    // What can be changed: the write cache.
    assert_eq!(sense6(&mut guest, 8, 0x48).good()[4..8], [8, 18, 4, 0]);
    assert_eq!(sense6(&mut guest, 8, 0x4a).good()[6..], [0; 10]);
    sense6(&mut guest, 8, 0xff).check(5, 0x39, 0);
    sense6(&mut guest, 8, 0x2a).check(5, 0x24, 0);
    sense6(&mut guest, 8, 0x01).check(5, 0x24, 0);
}

#[test]
fn the_write_cache_can_be_switched() {
    let mut guest = Guest::new(&["ram=1M"]);
    let mut page = vec![0; 24];
    (page[4], page[5]) = (8, 18);
    guest
        .command(0, &[0x15, 0x10, 0, 0, 24, 0], Data::Out(&page))
        .good();
    assert_eq!(sense6(&mut guest, 8, 8).good()[6], 0);
    assert_eq!(sense6(&mut guest, 8, 0x88).good()[6], 4);
    guest.write(0, 0, &[0; 512]).good();
    guest
        .command(0, &cdb10(0x41, 0, 1), Data::Out(&[0; 512]))
        .good();
    assert_eq!(guest.count(0, "through"), 2);
    page[6] = 4;
    let mut long = vec![0; 8];
    long.extend(&page[4..]);
    let mut cdb = cdb10(0x55, 0, 28);
    cdb[1] = 0x10;
    guest.command(0, &cdb, Data::Out(&long)).good();
    assert_eq!(sense6(&mut guest, 8, 8).good()[6], 4);
    let mut off = Guest::new(&["ram=1M,cache=off"]);
    assert_eq!(sense6(&mut off, 8, 8).good()[6], 0);
}

#[test]
fn nothing_else_can() {
    let mut guest = Guest::new(&["ram=1M"]);
    let select = |guest: &mut Guest, byte1: u8, list: &[u8]| {
        let length = u8::try_from(list.len()).unwrap();
        guest.command(0, &[0x15, byte1, 0, 0, length, 0], Data::Out(list))
    };
    let mut page = vec![0; 24];
    (page[4], page[5], page[6]) = (8, 18, 4);
    select(&mut guest, 0x10, &page).good();
    select(&mut guest, 0, &page).check(5, 0x24, 0);
    select(&mut guest, 0x11, &page).check(5, 0x24, 0);
    select(&mut guest, 0x10, &page[..23]).check(5, 0x1a, 0);
    select(&mut guest, 0x10, &[0; 3]).check(5, 0x1a, 0);
    for (at, value) in [(6, 5), (7, 1), (4, 0x0b), (5, 10)] {
        let mut wrong = page.clone();
        wrong[at] = value;
        let done = select(&mut guest, 0x10, &wrong);
        assert_eq!(done.srb.sense().unwrap()[12], 0x26, "{at}");
    }
    // Half a change is none.
    let mut two = page.clone();
    two[6] = 0;
    two.extend([0x0a, 10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    select(&mut guest, 0x10, &two).check(5, 0x26, 0);
    assert_eq!(sense6(&mut guest, 8, 8).good()[6], 4);
}
