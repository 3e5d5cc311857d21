// SPDX-License-Identifier: GPL-2.0

//! What units say of themselves: INQUIRY, REPORT LUNS, and the commands that they support.

use crate::guest::{cdb12, controller, Data, Done, Guest, SCSI};
use storage_vsp::ControllerConfig;
use storvsc_proto::{ScsiStatus, Version};

fn inquiry(guest: &mut Guest, lun: u8, page: Option<u8>, length: u8) -> Done {
    let cdb = [
        0x12,
        u8::from(page.is_some()),
        page.unwrap_or(0),
        0,
        length,
        0,
    ];
    let data = match length {
        0 => Data::None,
        length => Data::In(length.into()),
    };
    guest.command(lun, &cdb, data)
}

#[test]
fn a_disk_is_named_as_on_hyper_v() {
    for (version, standard) in [(Version::V6_2, 5), (Version::V6_0, 4)] {
        let mut guest = Guest::unready(controller(ControllerConfig::scsi(SCSI), &["ram=1M"]));
        guest.handshake(version).unwrap();
        let data = inquiry(&mut guest, 0, None, 96).good();
        assert_eq!(data[..8], [0, 0, standard, 2, 31, 0, 0, 2]);
        assert_eq!(data[8..], *b"Msft    Virtual Disk    1.0 ");
    }
}

#[test]
fn data_is_cut_to_what_is_asked_for() {
    let mut guest = Guest::new(&["ram=1M"]);
    let whole = inquiry(&mut guest, 0, None, 255).good();
    assert_eq!(whole.len(), 36);
    for length in [0, 1, 5, 35, 36, 37] {
        let done = inquiry(&mut guest, 0, None, length);
        assert_eq!(done.good(), whole[..usize::from(length).min(36)]);
    }
    // The command asks for more than the buffer takes.
    let cut = guest.command(0, &[0x12, 0, 0, 0, 255, 0], Data::In(20));
    cut.is(0x12, ScsiStatus::GOOD);
    assert_eq!(cut.data, whole[..20]);
    inquiry_of(&mut guest, &[0x12, 0, 1, 0, 255, 0]).check(5, 0x24, 0);
    inquiry_of(&mut guest, &[0x12, 2, 0, 0, 255, 0]).check(5, 0x24, 0);
    inquiry_of(&mut guest, &[0x12, 1, 0xb9, 0, 255, 0]).check(5, 0x24, 0);
}

fn inquiry_of(guest: &mut Guest, cdb: &[u8]) -> Done {
    guest.command(0, cdb, Data::In(255))
}

#[test]
fn pages_of_a_disk() {
    let mut guest = Guest::new(&[
        "ram=1M,id=0x1122334455667788",
        "ram=1M,lun=1,thin=off,sector=4096",
    ]);
    let pages = inquiry(&mut guest, 0, Some(0), 255).good();
    assert_eq!(pages, [0, 0, 0, 6, 0, 0x80, 0x83, 0xb0, 0xb1, 0xb2]);
    for page in &pages[4..] {
        let data = inquiry(&mut guest, 0, Some(*page), 255).good();
        assert_eq!(data[..2], [0, *page]);
        assert_eq!(
            usize::from(u16::from_be_bytes([data[2], data[3]])),
            data.len() - 4
        );
    }
    let serial = inquiry(&mut guest, 0, Some(0x80), 255).good();
    assert_eq!(serial[4..], *b"564952491122334455667788");
    let name = inquiry(&mut guest, 0, Some(0x83), 255).good();
    assert_eq!(
        name[4..16],
        [1, 1, 0, 20, b'M', b'S', b'F', b'T', b' ', b' ', b' ', b' ']
    );
    assert_eq!(name[28..36], [1, 3, 0, 16, 0x60, 0x02, 0x24, 0x80]);
    assert_eq!(name[36..], *b"VIRI\x11\x22\x33\x44\x55\x66\x77\x88");
    let other = inquiry(&mut guest, 1, Some(0x83), 255).good();
    assert_ne!(name, other);

    let limits = inquiry(&mut guest, 0, Some(0xb0), 255).good();
    let number = |data: &[u8], at: usize| u32::from_be_bytes(data[at..at + 4].try_into().unwrap());
    assert_eq!((limits.len(), limits[4]), (64, 1));
    assert_eq!(number(&limits, 8), (8 << 20) / 512);
    assert_eq!((number(&limits, 20), number(&limits, 24)), (u32::MAX, 256));
    assert_eq!((number(&limits, 28), number(&limits, 32)), (8, 0x8000_0000));
    assert_eq!(number(&limits, 40), (32 << 20) / 512);
    let limits = inquiry(&mut guest, 1, Some(0xb0), 255).good();
    assert_eq!(
        (number(&limits, 8), number(&limits, 20)),
        ((8 << 20) / 4096, 0)
    );
    assert_eq!(inquiry(&mut guest, 0, Some(0xb1), 255).good()[4..6], [0, 1]);
    assert_eq!(
        inquiry(&mut guest, 0, Some(0xb2), 255).good()[4..],
        [0, 0xe4, 2, 0]
    );
    assert_eq!(inquiry(&mut guest, 1, Some(0xb2), 255).good()[4..], [0; 4]);
}

#[test]
fn where_there_is_no_lun() {
    let mut guest = Guest::new(&["ram=1M,lun=3"]);
    for lun in [0, 2, 4, 63, 64, 255] {
        let data = inquiry(&mut guest, lun, None, 36).good();
        assert_eq!(data[0], 0x7f);
        guest
            .command(lun, &[0; 6], Data::None)
            .is(0x20, ScsiStatus::GOOD);
        let sense = guest
            .command(lun, &[3, 0, 0, 0, 18, 0], Data::In(18))
            .good();
        assert_eq!((sense[2], sense[12]), (5, 0x25));
    }
    for (path, target) in [(1, 0), (0, 1), (7, 1), (255, 255)] {
        let mut srb = Guest::srb(3, &[0x12, 0, 0, 0, 36, 0], Data::In(36));
        (srb.path_id, srb.target_id) = (path, target);
        assert_eq!(guest.raw(&srb, 36, &[]).good()[0], 0x7f);
        let mut srb = Guest::srb(3, &[0; 6], Data::None);
        (srb.path_id, srb.target_id) = (path, target);
        guest.raw(&srb, 0, &[]).is(0x20, ScsiStatus::GOOD);
        let mut srb = Guest::srb(0, &cdb12(0xa0, 0, 64), Data::In(64));
        (srb.path_id, srb.target_id) = (path, target);
        assert_eq!(guest.raw(&srb, 64, &[]).good(), [0; 8]);
    }
}

#[test]
fn luns_are_listed_at_every_address() {
    let mut guest = Guest::new(&["ram=1M,lun=3", "ram=1M,lun=63", "ram=1M,lun=1,target=1"]);
    for lun in [0, 3] {
        let list = guest.command(lun, &cdb12(0xa0, 0, 64), Data::In(64)).good();
        assert_eq!(list[..8], [0, 0, 0, 16, 0, 0, 0, 0]);
        assert_eq!(list[8..], [0, 3, 0, 0, 0, 0, 0, 0, 0, 63, 0, 0, 0, 0, 0, 0]);
    }
    let mut known = cdb12(0xa0, 0, 64);
    known[2] = 1;
    assert_eq!(guest.command(0, &known, Data::In(64)).good(), [0; 8]);
    known[2] = 3;
    guest.command(0, &known, Data::In(64)).check(5, 0x24, 0);
    guest
        .command(0, &cdb12(0xa0, 0, 15), Data::In(15))
        .check(5, 0x24, 0);
}

#[test]
fn addresses_are_unique_and_limited() {
    let mut controller = controller(ControllerConfig::scsi(SCSI), &["ram=1M,lun=1"]);
    let spec = |text: &str| storage_vsp::DiskSpec::parse(text).unwrap();
    assert_eq!(controller.add_spec(&spec("ram=1M")), Ok(0));
    assert_eq!(controller.add_spec(&spec("ram=1M")), Ok(2));
    assert_eq!(controller.add_spec(&spec("ram=1M,target=1")), Ok(0));
    for bad in ["ram=1M,lun=1", "ram=1M,lun=64", "ram=1M,target=2"] {
        assert!(controller.add_spec(&spec(bad)).is_err(), "{bad}");
    }
    for lun in 3..64 {
        assert_eq!(controller.add_spec(&spec("ram=1M")), Ok(lun));
    }
    assert!(controller.add_spec(&spec("ram=1M")).is_err());
}

#[test]
fn supported_commands_are_listed_and_carried_out() {
    let mut guest = Guest::new(&["ram=1M"]);
    let mut cdb = cdb12(0xa3, 0, 4096);
    cdb[1] = 0x0c;
    let list = guest.command(0, &cdb, Data::In(4096)).good();
    let length = u32::from_be_bytes(list[..4].try_into().unwrap());
    assert_eq!(usize::try_from(length).unwrap(), list.len() - 4);
    for descriptor in list[4..].chunks(8) {
        let (opcode, size) = (descriptor[0], usize::from(descriptor[7]));
        // One by one, the same is said, with as much usage data as the CDB has bytes.
        let mut one = cdb12(0xa3, 0, 64);
        (one[1], one[2], one[3]) = (0x0c, 3, opcode);
        one[5] = descriptor[3];
        let shown = guest.command(0, &one, Data::In(64)).good();
        assert_eq!(
            (shown[1], usize::from(shown[3]), shown[4]),
            (3, size, opcode)
        );
        assert_eq!(shown.len(), size + 4);
        // It is none that the unit does not know.
        let mut cdb = vec![0; size];
        (cdb[0], cdb[1]) = (opcode, descriptor[3]);
        let done = guest.command(0, &cdb, Data::In(64));
        if let Some(sense) = done.srb.sense() {
            assert_ne!(sense[12], 0x20, "{opcode:#x}");
        }
    }
    for (option, opcode, action, supported) in [
        (1, 0x28, 0, Some(3)),
        (1, 0xff, 0, Some(1)),
        (1, 0x9e, 0x10, None),
        (2, 0x9e, 0x10, Some(3)),
        (2, 0x9e, 0x12, Some(1)),
        (2, 0x28, 0, None),
        (3, 0x28, 0, Some(3)),
        (3, 0x28, 1, Some(1)),
        (4, 0x28, 0, None),
    ] {
        let mut cdb = cdb12(0xa3, 0, 64);
        (cdb[1], cdb[2], cdb[3], cdb[5]) = (0x0c, option, opcode, action);
        let done = guest.command(0, &cdb, Data::In(64));
        match supported {
            Some(supported) => assert_eq!(done.good()[1], supported),
            None => done.check(5, 0x24, 0),
        }
    }
}
