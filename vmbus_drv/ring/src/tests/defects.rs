// SPDX-License-Identifier: GPL-2.0

//! Defects of the C ring buffer that must not come back.

use super::memory::{wire, TestMem};
use crate::{Control, OutgoingPacket, ReadError, Reader, Writer};

/// Linux 7.2 read the write index back from the control page before each packet, so a host that
/// wrote it had the guest kernel write outside the ring.
#[test]
fn defect_1_the_outgoing_write_index_is_never_read_back() {
    let mem = TestMem::new(4096);
    let mut writer = Writer::new(&mem).unwrap();
    for _ in 0..500 {
        for hostile in [u32::MAX, 0x4000_0000, 4096, 4092, 1] {
            mem.set(Control::WriteIndex, hostile);
            let _ = writer
                .send(&OutgoingPacket::in_band(&[&[0x55; 40]]))
                .unwrap();
            let published = mem.get(Control::WriteIndex);
            assert!(published < 4096 && published % 64 == 0);
            mem.set(Control::ReadIndex, published);
        }
    }
    assert!(!mem.loads.borrow().contains(&Control::WriteIndex));
}

/// The same for the incoming ring, where the read index is ours.
#[test]
fn defect_1_the_incoming_read_index_is_never_read_back() {
    let mem = TestMem::new(4096);
    let mut reader = Reader::new(&mem).unwrap();
    mem.set_bytes(0, &wire(6, 2, 2, 0, 0, &[]).repeat(100));
    for write in (1..=100).map(|count| count * 24) {
        mem.set(Control::WriteIndex, write);
        mem.set(Control::ReadIndex, u32::MAX);
        reader.next(&mut []).unwrap();
        let _ = reader.commit();
        assert_eq!(mem.get(Control::ReadIndex), write);
    }
    assert!(!mem.loads.borrow().contains(&Control::ReadIndex));
}

/// Linux cuts a packet that exceeds the receive buffer and goes on behind the cut, in the middle of
/// the packet, for ever out of step with the host.
#[test]
fn defect_2_an_oversize_packet_is_neither_truncated_nor_skipped() {
    let mem = TestMem::new(4096);
    mem.set_bytes(0, &wire(6, 2, 6, 0, 1, &[0x11; 32]));
    mem.set_bytes(56, &wire(6, 2, 3, 0, 2, &[0x22; 8]));
    let mut reader = Reader::new(&mem).unwrap();
    mem.set(Control::WriteIndex, 88);
    for len in [0, 31] {
        let mut buffer = [0xcc; 32];
        for _ in 0..3 {
            assert_eq!(
                reader.next(&mut buffer[..len]),
                Err(ReadError::TooLarge { len: 32 })
            );
        }
        assert_eq!(buffer, [0xcc; 32], "not even a part is delivered");
        let _ = reader.commit();
        assert_eq!(mem.get(Control::ReadIndex), 0, "the position stays");
    }
    let mut buffer = [0; 32];
    assert_eq!(reader.next(&mut buffer).unwrap().transaction_id, 1);
    assert_eq!(reader.next(&mut buffer).unwrap().transaction_id, 2);
    assert_eq!(reader.next(&mut buffer), Err(ReadError::Empty));
}

/// The same for a packet that claims to be longer than what the host has published.
#[test]
fn defect_2_a_packet_beyond_the_write_index_is_not_cut_to_fit() {
    let mem = TestMem::new(4096);
    mem.set_bytes(0, &wire(6, 2, 6, 0, 1, &[0x11; 32]));
    let mut reader = Reader::new(&mem).unwrap();
    mem.set(Control::WriteIndex, 48);
    assert!(matches!(
        reader.next(&mut [0; 64]),
        Err(ReadError::Corrupt(_))
    ));
}
