// SPDX-License-Identifier: GPL-2.0

use super::memory::{wire, TestMem};
use crate::{
    Control, Corrupt, IncomingPacket, PacketFlags, PacketType, Pending, ReadError, Reader,
    SetupError, Signal,
};

/// A ring of 4096 bytes in which the host has put `bytes`.
fn holding(bytes: &[u8]) -> TestMem {
    let mem = TestMem::new(4096);
    mem.set_bytes(0, bytes);
    mem.set(Control::FeatureBits, 1);
    mem
}

fn published(mem: &TestMem, write: u32) -> Reader<&TestMem> {
    let reader = Reader::new(mem).unwrap();
    mem.set(Control::WriteIndex, write);
    reader
}

#[test]
fn a_ring_that_was_used_before_is_refused() {
    let mem = TestMem::new(64);
    mem.set(Control::WriteIndex, 24);
    assert_eq!(Reader::new(&mem).map(|_| ()), Err(SetupError::NotCleared));
    assert_eq!(
        Reader::new(&TestMem::new(63)).map(|_| ()),
        Err(SetupError::Size(63))
    );
}

#[test]
fn a_packet_is_copied_and_split() {
    let mem = holding(&wire(
        0x77,
        3,
        5,
        0x8001,
        99,
        &[
            1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 13,
        ],
    ));
    let mut reader = published(&mem, 48);
    let mut buffer = [0; 24];
    let packet = reader.next(&mut buffer).unwrap();
    let expected = IncomingPacket {
        packet_type: PacketType(0x77),
        flags: PacketFlags::from_bits_retain(0x8001),
        transaction_id: 99,
        extension: &[1, 2, 3, 4, 5, 6, 7, 8],
        payload: &[9, 10, 11, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 13],
    };
    assert_eq!(packet, expected);
    assert_eq!(reader.next(&mut buffer), Err(ReadError::Empty));
}

#[test]
fn an_empty_ring_is_not_an_error_of_the_host() {
    let mem = holding(&[]);
    let mut reader = Reader::new(&mem).unwrap();
    for _ in 0..3 {
        assert_eq!(reader.next(&mut []), Err(ReadError::Empty));
    }
    mem.set(Control::WriteIndex, 24);
    mem.set_bytes(0, &wire(6, 2, 2, 0, 0, &[]));
    assert!(reader.next(&mut []).is_ok());
}

#[test]
fn descriptor_lengths_are_checked_at_their_limits() {
    // 48 bytes are published: a packet of 5 units with its trailer.
    for (offset8, length8, valid) in [
        (2, 2, true),
        (2, 5, true),
        (5, 5, true),
        (2, 6, false),
        (6, 5, false),
        (6, 6, false),
        (3, 2, false),
        (1, 5, false),
        (0, 5, false),
        (0, 0, false),
        (2, 0, false),
        (2, 1, false),
        (1, 1, false),
        (u16::MAX, 5, false),
        (2, u16::MAX, false),
        (u16::MAX, u16::MAX, false),
    ] {
        let mem = holding(&wire(6, offset8, length8, 0, 0, &[0; 24]));
        let mut reader = published(&mem, 48);
        let mut buffer = [0; 4096];
        let result = reader.next(&mut buffer).map(|_| ());
        if valid {
            assert_eq!(result, Ok(()), "{offset8} {length8}");
            continue;
        }
        let corrupt = Corrupt::Lengths {
            offset8,
            length8,
            available: 48,
        };
        assert_eq!(result, Err(ReadError::Corrupt(corrupt)));
        // What the host does next cannot heal the ring.
        mem.set_bytes(0, &wire(6, 2, 5, 0, 0, &[0; 24]));
        assert_eq!(reader.next(&mut buffer), Err(ReadError::Corrupt(corrupt)));
        assert_eq!(
            reader.unmask().1,
            Pending::More,
            "so that the caller finds out"
        );
    }
}

#[test]
fn a_write_index_that_is_impossible_fails_the_ring_for_good() {
    for (index, valid) in [
        (24, true),
        (4088, true),
        (4096, false),
        (4104, false),
        (28, false),
        (u32::MAX, false),
        (1 << 31, false),
    ] {
        let mem = holding(&wire(6, 2, 2, 0, 0, &[]));
        let mut reader = published(&mem, index);
        if valid {
            assert!(reader.next(&mut []).is_ok());
            continue;
        }
        let corrupt = Err(ReadError::Corrupt(Corrupt::WriteIndex(index)));
        assert_eq!(reader.next(&mut []), corrupt);
        mem.set(Control::WriteIndex, 24);
        assert_eq!(reader.next(&mut []), corrupt);
    }
}

#[test]
fn a_write_index_within_packets_not_given_back_is_impossible() {
    let mem = holding(&[wire(6, 2, 2, 0, 0, &[]), wire(6, 2, 2, 0, 0, &[])].concat());
    let mut reader = published(&mem, 48);
    reader.next(&mut []).unwrap();
    reader.next(&mut []).unwrap();
    mem.set(Control::WriteIndex, 24);
    assert_eq!(
        reader.next(&mut []),
        Err(ReadError::Corrupt(Corrupt::WriteIndex(24)))
    );

    let mem = holding(&wire(6, 2, 2, 0, 0, &[]));
    let mut reader = published(&mem, 24);
    reader.next(&mut []).unwrap();
    let _ = reader.commit();
    mem.set(Control::WriteIndex, 0);
    mem.set_bytes(24, &wire(6, 2, 2, 0, 0, &[]));
    assert!(
        reader.next(&mut []).is_ok(),
        "given back, this is all but one unit of the ring"
    );
}

#[test]
fn less_than_a_packet_is_corrupt() {
    for write in [8, 16] {
        let mem = holding(&wire(6, 2, 2, 0, 0, &[]));
        let mut reader = published(&mem, write);
        assert!(matches!(
            reader.next(&mut []),
            Err(ReadError::Corrupt(Corrupt::Lengths { .. }))
        ));
    }
}

#[test]
fn the_read_index_is_published_by_commit_only() {
    let mem = holding(&[wire(6, 2, 3, 0, 0, &[0; 8]), wire(6, 2, 2, 0, 0, &[])].concat());
    let mut reader = published(&mem, 56);
    let mut buffer = [0; 8];
    reader.next(&mut buffer).unwrap();
    reader.next(&mut buffer).unwrap();
    assert_eq!(mem.get(Control::ReadIndex), 0);
    assert_eq!(reader.commit(), Signal::NotNeeded);
    assert_eq!(mem.get(Control::ReadIndex), 56);
}

#[test]
fn room_is_signalled_only_by_the_commit_that_makes_enough_of_it() {
    let packet = wire(6, 2, 5, 0, 0, &[0; 24]);
    let ring = packet.repeat(85);
    // The ring holds 85 packets of 48 bytes, so 16 of 4096 bytes are free.
    for (pending, commits) in [
        (0, None),
        (15, None),
        (16, Some(1)),
        (56, Some(1)),
        (63, Some(1)),
        (64, Some(2)),
        (112, Some(3)),
        (4095, Some(85)),
        (4096, None),
        (u32::MAX, None),
    ] {
        let mem = holding(&ring);
        let mut reader = published(&mem, 85 * 48);
        mem.set(Control::PendingSendSize, pending);
        let mut signalled = None;
        for commit in 1..=85 {
            reader.next(&mut [0; 24]).unwrap();
            if reader.commit() == Signal::Needed {
                assert_eq!(signalled.replace(commit), None, "one signal is enough");
            }
            assert_eq!(
                reader.commit(),
                Signal::NotNeeded,
                "nothing new is given back"
            );
        }
        assert_eq!(signalled, commits, "{pending}");
    }
}

#[test]
fn a_host_without_the_feature_is_never_signalled_for_room() {
    let mem = holding(&wire(6, 2, 2, 0, 0, &[]));
    mem.set(Control::FeatureBits, 0xffff_fffe);
    let mut reader = published(&mem, 24);
    mem.set(Control::PendingSendSize, 4080);
    reader.next(&mut []).unwrap();
    assert_eq!(reader.commit(), Signal::NotNeeded);
}

#[test]
fn a_writer_still_blocked_is_signalled_though_others_have_used_the_room() {
    let packet = wire(6, 2, 5, 0, 0, &[0; 24]);
    let mem = holding(&packet.repeat(85));
    let mut reader = published(&mem, 85 * 48);
    for _ in 0..40 {
        reader.next(&mut [0; 24]).unwrap();
    }
    // Of the 16 + 40 * 48 bytes free after the commit the host has taken 48 again.
    mem.set(Control::PendingSendSize, 1000);
    mem.script(Control::WriteIndex, 32);
    assert_eq!(reader.commit(), Signal::Needed);
}

#[test]
fn a_corrupt_write_index_seen_by_commit_fails_the_ring() {
    let mem = holding(&wire(6, 2, 2, 0, 0, &[]));
    let mut reader = published(&mem, 24);
    mem.set(Control::PendingSendSize, 4080);
    reader.next(&mut []).unwrap();
    mem.set(Control::WriteIndex, 5);
    assert_eq!(reader.commit(), Signal::NotNeeded);
    mem.set(Control::WriteIndex, 24);
    assert_eq!(
        reader.next(&mut []),
        Err(ReadError::Corrupt(Corrupt::WriteIndex(5)))
    );
}

#[test]
fn unmask_finds_what_arrived_under_the_mask() {
    let mem = holding(&wire(6, 2, 2, 0, 0, &[]));
    let mut reader = Reader::new(&mem).unwrap();
    reader.mask();
    assert_eq!(mem.get(Control::InterruptMask), 1);
    assert_eq!(reader.next(&mut []), Err(ReadError::Empty));
    mem.script(Control::WriteIndex, 24);
    assert_eq!(reader.unmask(), (Signal::NotNeeded, Pending::More));
    assert_eq!(mem.get(Control::InterruptMask), 0);
    mem.set(Control::WriteIndex, 24);
    reader.mask();
    reader.next(&mut []).unwrap();
    assert_eq!(reader.unmask(), (Signal::NotNeeded, Pending::Idle));
}

#[test]
fn unmask_gives_back_first_or_the_host_would_not_see_the_ring_empty() {
    let mem = holding(&wire(6, 2, 2, 0, 0, &[]));
    let mut reader = published(&mem, 24);
    mem.set(Control::PendingSendSize, 4080);
    reader.mask();
    reader.next(&mut []).unwrap();
    assert_eq!(reader.unmask(), (Signal::Needed, Pending::Idle));
    assert_eq!(mem.get(Control::ReadIndex), 24);
}
