// SPDX-License-Identifier: GPL-2.0

//! Reading, writing and giving back blocks.

use crate::guest::{cdb10, cdb12, cdb16, controller, pattern, Data, Guest, SCSI};
use serde_json::json;
use storage_vsp::ControllerConfig;
use storvsc_proto::ScsiStatus;

const BLOCKS: u32 = 2048;

fn disk() -> Guest {
    Guest::new(&["ram=1M"])
}

#[test]
fn every_form_of_read_and_write() {
    let mut guest = disk();
    let forms: [(Vec<u8>, Vec<u8>); 4] = [
        (vec![0x0a, 0, 1, 5, 3, 0], vec![0x08, 0, 1, 5, 3, 0]),
        (cdb10(0x2a, 300, 3).into(), cdb10(0x28, 300, 3).into()),
        (cdb12(0xaa, 400, 3).into(), cdb12(0xa8, 400, 3).into()),
        (cdb16(0x8a, 500, 3).into(), cdb16(0x88, 500, 3).into()),
    ];
    for (seed, (write, _)) in (1..).zip(&forms) {
        let bytes = pattern(seed, 1536);
        let moved = guest.command(0, write, Data::Out(&bytes));
        assert_eq!(moved.srb.data_transfer_length.get(), 1536);
        moved.good();
    }
    for (seed, (_, read)) in (1..).zip(&forms) {
        let bytes = guest.command(0, read, Data::In(1536)).good();
        assert!(bytes == pattern(seed, 1536), "form {seed}");
    }
    // In the 6-byte form LBA 0x105 was meant.
    assert!(guest.read(0, 0x105, 3, 512) == pattern(1, 1536));
    assert_eq!((guest.count(0, "reads"), guest.count(0, "writes")), (5, 4));
    assert_eq!(
        (
            guest.count(0, "bytes_read"),
            guest.count(0, "bytes_written")
        ),
        (7680, 6144)
    );
}

#[test]
fn a_count_of_0_is_256_in_6_bytes_and_none_in_others() {
    let mut guest = disk();
    let all = guest
        .command(0, &[8, 0, 0, 0, 0, 0], Data::In(256 * 512))
        .good();
    assert_eq!(all.len(), 256 * 512);
    for cdb in [cdb10(0x28, BLOCKS, 0), cdb10(0x2a, BLOCKS, 0)] {
        assert!(guest.command(0, &cdb, Data::None).good().is_empty());
    }
}

#[test]
fn large_transfers_are_scattered_and_whole() {
    let mut guest = Guest::new(&["ram=4M"]);
    let bytes = pattern(9, 300 << 10);
    guest.write(0, 7, &bytes).good();
    assert!(guest.read(0, 7, 600, 512) == bytes);
    assert_eq!(guest.read(0, 6, 1, 512), [0; 512]);
    assert_eq!(guest.read(0, 607, 1, 512), [0; 512]);
}

#[test]
fn blocks_beyond_the_end_are_refused() {
    let mut guest = disk();
    let last = guest.read(0, BLOCKS - 1, 1, 512);
    assert_eq!(last.len(), 512);
    for (lba, count) in [(BLOCKS, 1), (BLOCKS - 1, 2), (u32::MAX, 1), (BLOCKS + 1, 0)] {
        for opcode in [0x28, 0x2a, 0x2e, 0x2f, 0x35] {
            let cdb = cdb10(opcode, lba, count);
            let length = u32::from(count) * 512;
            let bytes = vec![0; usize::try_from(length).unwrap()];
            let data = match opcode {
                0x28 if length > 0 => Data::In(length),
                0x2a | 0x2e if length > 0 => Data::Out(&bytes),
                _ => Data::None,
            };
            guest.command(0, &cdb, data).check(5, 0x21, 0);
        }
    }
    let far = cdb16(0x88, u64::MAX, u32::MAX);
    guest.command(0, &far, Data::In(512)).check(5, 0x21, 0);
    // The first block that is not there is named, where it fits.
    let done = guest.command(0, &cdb10(0x28, BLOCKS - 1, 2), Data::In(1024));
    assert_eq!(done.srb.sense().unwrap()[..7], [0xf0, 0, 5, 0, 0, 8, 0]);
}

#[test]
fn buffers_that_are_too_small_or_too_large() {
    let mut guest = disk();
    guest.write(0, 0, &pattern(1, 1024)).good();
    let short = guest.command(0, &cdb10(0x28, 0, 2), Data::In(700));
    short.is(0x12, ScsiStatus::GOOD);
    assert_eq!(short.srb.data_transfer_length.get(), 700);
    assert!(short.data == pattern(1, 1024)[..700]);
    let long = guest.command(0, &cdb10(0x28, 0, 1), Data::In(1000));
    assert_eq!(long.srb.data_transfer_length.get(), 512);
    assert_eq!(long.good().len(), 512);
    let short = guest.command(0, &cdb10(0x2a, 0, 2), Data::Out(&[0; 512]));
    short.is(0x12, ScsiStatus::GOOD);
    assert_eq!(short.srb.data_transfer_length.get(), 0);
    assert!(guest.read(0, 0, 2, 512) == pattern(1, 1024));
    let none = guest.command(0, &cdb10(0x28, 0, 2), Data::None);
    none.is(0x12, ScsiStatus::GOOD);
    // A length beyond the buffer, or beyond what the controller moves, is no request at all.
    let mut srb = Guest::srb(0, &cdb10(0x28, 0, 2), Data::In(1024));
    guest.raw(&srb, 1023, &[]).is(0x06, ScsiStatus::GOOD);
    srb.data_transfer_length = (8 << 20 | 1).into();
    guest.raw(&srb, 1024, &[]).is(0x06, ScsiStatus::GOOD);
}

#[test]
fn reserved_bits_and_unknown_commands_are_refused() {
    let mut guest = disk();
    let mut protected = cdb10(0x28, 0, 1);
    protected[1] = 0x20;
    guest
        .command(0, &protected, Data::In(512))
        .check(5, 0x24, 0);
    for opcode in [0x04, 0x16, 0x17, 0x34, 0x3b, 0x7f, 0x83, 0xa4, 0xff] {
        let mut cdb = [0; 16];
        cdb[0] = opcode;
        guest.command(0, &cdb, Data::None).check(5, 0x20, 0);
    }
    // A CDB that is shorter than its command.
    for length in 1..10 {
        let done = guest.command(0, &cdb10(0x28, 0, 1)[..length], Data::In(512));
        done.is(0x06, ScsiStatus::GOOD);
    }
}

#[test]
fn read_only_disks_refuse_every_change() {
    let mut guest = Guest::new(&["ram=1M,ro"]);
    let block = [0; 512];
    for cdb in [cdb10(0x2a, 0, 1), cdb10(0x2e, 0, 1), cdb10(0x41, 0, 1)] {
        guest.command(0, &cdb, Data::Out(&block)).check(7, 0x27, 0);
    }
    guest
        .command(0, &[0x0a, 0, 0, 0, 1, 0], Data::Out(&block))
        .check(7, 0x27, 0);
    guest
        .command(0, &cdb10(0x42, 0, 24), Data::Out(&[0; 24]))
        .check(5, 0x20, 0);
    assert_eq!(guest.read(0, 0, 1, 512), block);
    let mode = guest
        .command(0, &[0x1a, 0, 0x3f, 0, 192, 0], Data::In(192))
        .good();
    assert_eq!(mode[2] & 0x80, 0x80);
}

#[test]
fn capacity_in_both_forms() {
    for (disk, last, block, exponent, thin) in [
        ("ram=1M", 2047_u64, 512_u32, 3, 0xc0),
        ("ram=1M,sector=4096", 255, 4096, 0, 0xc0),
        ("ram=1M,physical=512,thin=off", 2047, 512, 0, 0),
        ("ram=1M,ro", 2047, 512, 3, 0),
        ("ram=3T", (3 << 40) / 512 - 1, 512, 3, 0xc0),
    ] {
        let mut guest = Guest::new(&[disk]);
        let short = guest
            .command(0, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::In(8))
            .good();
        let shown = u32::try_from(last).unwrap_or(u32::MAX);
        assert_eq!(short, [shown.to_be_bytes(), block.to_be_bytes()].concat());
        let mut cdb = cdb16(0x9e, 0, 32);
        cdb[1] = 0x10;
        let long = guest.command(0, &cdb, Data::In(32)).good();
        assert_eq!(
            long[..12],
            [&last.to_be_bytes()[..], &block.to_be_bytes()].concat()
        );
        assert_eq!((long[13], long[14]), (exponent, thin), "{disk}");
        assert_eq!(long.len(), 32);
    }
    let mut guest = disk();
    let mut cdb = cdb16(0x9e, 0, 32);
    cdb[1] = 0x12;
    guest.command(0, &cdb, Data::In(32)).check(5, 0x24, 0);
}

#[test]
fn large_blocks() {
    let mut guest = Guest::new(&["ram=1M,sector=4096"]);
    let bytes = pattern(3, 8192);
    guest
        .command(0, &cdb10(0x2a, 254, 2), Data::Out(&bytes))
        .good();
    assert!(guest.read(0, 254, 2, 4096) == bytes);
    guest
        .command(0, &cdb10(0x28, 255, 2), Data::In(8192))
        .check(5, 0x21, 0);
}

#[test]
fn far_blocks_of_a_large_disk() {
    let mut guest = Guest::new(&["ram=3T"]);
    let lba = (3_u64 << 40) / 512 - 4;
    let bytes = pattern(4, 2048);
    guest
        .command(0, &cdb16(0x8a, lba, 4), Data::Out(&bytes))
        .good();
    assert!(
        guest
            .command(0, &cdb16(0x88, lba, 4), Data::In(2048))
            .good()
            == bytes
    );
    assert_eq!(guest.status(0)["allocated"], 65536);
}

#[test]
fn caches_are_flushed() {
    let mut guest = disk();
    guest.command(0, &cdb10(0x35, 0, 0), Data::None).good();
    guest.command(0, &cdb16(0x91, 0, 0), Data::None).good();
    assert_eq!(guest.count(0, "flushes"), 2);
    let mut through = cdb10(0x2a, 0, 1);
    through[1] = 8;
    guest.command(0, &through, Data::Out(&[1; 512])).good();
    assert_eq!(guest.count(0, "through"), 1);
    guest
        .command(0, &cdb10(0x2e, 0, 1), Data::Out(&[1; 512]))
        .good();
    assert_eq!(guest.count(0, "through"), 2);
}

#[test]
fn verification() {
    let mut guest = disk();
    guest.write(0, 5, &pattern(1, 1024)).good();
    guest.command(0, &cdb10(0x2f, 5, 2), Data::None).good();
    for (mut cdb, at) in [
        (cdb10(0x2f, 5, 2).to_vec(), 0),
        (cdb16(0x8f, 5, 2).to_vec(), 1),
    ] {
        cdb[1] = 2;
        let mut bytes = pattern(1, 1024);
        guest.command(0, &cdb, Data::Out(&bytes)).good();
        bytes[1023 - at] ^= 1;
        guest.command(0, &cdb, Data::Out(&bytes)).check(14, 0x1d, 0);
    }
    let mut nothing = cdb10(0x2f, 5, 0);
    nothing[1] = 2;
    guest.command(0, &nothing, Data::None).good();
    let mut cdb = cdb10(0x2f, 5, 2);
    cdb[1] = 4;
    guest.command(0, &cdb, Data::None).check(5, 0x24, 0);
}

#[test]
fn write_same_repeats_a_block() {
    let mut guest = disk();
    let block = pattern(8, 512);
    guest
        .command(0, &cdb10(0x41, 10, 3), Data::Out(&block))
        .good();
    guest
        .command(0, &cdb16(0x93, 2000, 40), Data::Out(&block))
        .good();
    assert!(guest.read(0, 10, 3, 512) == block.repeat(3));
    assert!(guest.read(0, 2000, 40, 512) == block.repeat(40));
    assert_eq!(guest.read(0, 13, 1, 512), [0; 512]);
    // Without data (NDOB) the block is zero.
    let mut zero = cdb16(0x93, 2001, 2);
    zero[1] = 1;
    guest.command(0, &zero, Data::None).good();
    assert_eq!(guest.read(0, 2001, 2, 512), [0; 1024]);
    for (byte1, lba, count, asc) in [
        (0, 0, 0, 0x24),
        (0x10, 0, 1, 0x24),
        (0x20, 0, 1, 0x24),
        (0, 2048, 1, 0x21),
    ] {
        let mut cdb = cdb16(0x93, lba, count);
        cdb[1] = byte1;
        guest.command(0, &cdb, Data::Out(&block)).check(5, asc, 0);
    }
}

#[test]
fn write_same_is_bounded() {
    let mut guest = Guest::new(&["ram=1G"]);
    let most = (32 << 20) / 512;
    guest
        .command(0, &cdb16(0x93, 0, most), Data::Out(&[1; 512]))
        .good();
    guest
        .command(0, &cdb16(0x93, 0, most + 1), Data::Out(&[1; 512]))
        .check(5, 0x24, 0);
}

/// An UNMAP parameter list.
fn unmap_list(ranges: &[(u64, u32)]) -> Vec<u8> {
    let length = u16::try_from(ranges.len() * 16).unwrap();
    let mut list = [(length + 6).to_be_bytes(), length.to_be_bytes()].concat();
    list.extend([0; 4]);
    for (lba, count) in ranges {
        list.extend(lba.to_be_bytes());
        list.extend(count.to_be_bytes());
        list.extend([0; 4]);
    }
    list
}

fn unmap(guest: &mut Guest, list: &[u8]) -> crate::guest::Done {
    let length = u16::try_from(list.len()).unwrap();
    guest.command(0, &cdb10(0x42, 0, length), Data::Out(list))
}

#[test]
fn unmapped_blocks_are_zero_and_take_no_room() {
    let mut guest = disk();
    guest.write(0, 0, &pattern(1, 128 << 10)).good();
    guest.write(0, 1024, &pattern(2, 512)).good();
    assert_eq!(guest.status(0)["allocated"], 3 << 16);
    unmap(
        &mut guest,
        &unmap_list(&[(128, 128), (1, 1), (1024, 1024), (0, 0)]),
    )
    .good();
    assert_eq!(guest.status(0)["allocated"], 1 << 16);
    assert_eq!(guest.count(0, "unmaps"), 1);
    let bytes = guest.read(0, 0, 256, 512);
    let mut expected = pattern(1, 128 << 10);
    expected[512..1024].fill(0);
    expected[1 << 16..].fill(0);
    assert!(bytes == expected);
    let mut same = cdb16(0x93, 0, 128);
    same[1] = 8;
    guest.command(0, &same, Data::Out(&[0; 512])).good();
    assert_eq!(guest.status(0)["allocated"], 0);
    // A block that is not zero cannot be had by giving blocks back.
    guest.command(0, &same, Data::Out(&[1; 512])).good();
    assert_eq!(guest.read(0, 127, 2, 512), [[1; 512], [0; 512]].concat());
}

#[test]
fn unmap_lists_are_checked() {
    let mut guest = disk();
    unmap(&mut guest, &[]).good();
    unmap(&mut guest, &unmap_list(&[])).good();
    unmap(&mut guest, &[0; 7]).check(5, 0x1a, 0);
    unmap(&mut guest, &unmap_list(&[(0, 1)])[..20]).check(5, 0x1a, 0);
    unmap(&mut guest, &unmap_list(&[(2048, 1)])).check(5, 0x21, 0);
    unmap(&mut guest, &unmap_list(&[(2047, 2)])).check(5, 0x21, 0);
    unmap(&mut guest, &unmap_list(&[(u64::MAX, u32::MAX)])).check(5, 0x21, 0);
    unmap(&mut guest, &unmap_list(&[(0, 1); 256])).good();
    unmap(&mut guest, &unmap_list(&[(0, 1); 257])).check(5, 0x26, 0);
    let mut anchored = cdb10(0x42, 0, 24);
    anchored[1] = 1;
    guest
        .command(0, &anchored, Data::Out(&[0; 24]))
        .check(5, 0x24, 0);
    let mut thick = Guest::new(&["ram=1M,thin=off"]);
    unmap(&mut thick, &unmap_list(&[(0, 1)])).check(5, 0x20, 0);
}

#[test]
fn commands_fail_as_they_are_told() {
    let mut guest = disk();
    guest
        .control("fail", json!({"sense": "3/11/0", "count": 2}))
        .unwrap();
    for _ in 0..2 {
        guest
            .command(0, &cdb10(0x28, 0, 1), Data::In(512))
            .check(3, 0x11, 0);
        guest.command(0, &[0; 6], Data::None).good();
    }
    guest.read(0, 0, 1, 512);
    guest
        .control("fail", json!({"scsi_status": 0x28, "opcode": "0x2a"}))
        .unwrap();
    guest.read(0, 0, 1, 512);
    guest
        .write(0, 0, &[0; 512])
        .is(0x05, ScsiStatus::TASK_SET_FULL);
    guest
        .control("fail", json!({"srb_status": 4, "opcode": 0}))
        .unwrap();
    guest
        .command(0, &[0; 6], Data::None)
        .is(0x04, ScsiStatus::GOOD);
    guest
        .control("fail", json!({"srb_status": 4, "count": 9}))
        .unwrap();
    guest.control("unfail", json!({})).unwrap();
    guest.read(0, 0, 1, 512);
    for bad in [
        json!({}),
        json!({"sense": "3"}),
        json!({"srb_status": 256}),
        json!({"lun": 9, "srb_status": 4}),
    ] {
        assert!(guest.control("fail", bad).is_err());
    }
}

#[test]
fn transfers_are_bounded() {
    let config = ControllerConfig {
        max_transfer: 4096,
        ..ControllerConfig::scsi(SCSI)
    };
    let mut guest = Guest::with(controller(config, &["ram=1M"]));
    assert_eq!(guest.read(0, 0, 8, 512).len(), 4096);
    let large = guest.command(0, &cdb10(0x28, 0, 8), Data::In(4097));
    large.is(0x06, ScsiStatus::GOOD);
    guest
        .command(0, &cdb10(0x28, 0, 9), Data::In(4096))
        .check(5, 0x24, 0);
}
