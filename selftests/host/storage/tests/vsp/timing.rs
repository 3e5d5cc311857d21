// SPDX-License-Identifier: GPL-2.0

//! Slow LUNs, files, and requests that are ended on the way.

use crate::guest::{cdb10, pattern, scsi, Data, Guest};
use core::time::Duration;
use serde_json::json;
use std::io::{Error, Result};
use std::path::PathBuf;
use std::sync::mpsc::{channel, Receiver};
use std::sync::{Arc, Mutex};
use storage_vsp::{Backing, Disk, DiskOptions};
use storvsc_proto::{Operation, Packet, ScsiStatus, Srb};
use zerocopy::FromZeros;

fn milliseconds(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[test]
fn a_slow_lun_holds_up_no_other() {
    let mut guest = Guest::new(&["ram=1M,delay_ms=50", "ram=1M"]);
    let slow = guest.start(0, &cdb10(0x28, 0, 1), Data::In(512));
    assert_eq!(guest.read(1, 0, 1, 512), [0; 512]);
    // What does not touch the medium is answered at once.
    assert!(guest.poll(guest.relid, &slow).is_none());
    guest.command(0, &[0; 6], Data::None).good();
    guest.sim.advance(milliseconds(49));
    assert!(guest.poll(guest.relid, &slow).is_none());
    guest.sim.advance(milliseconds(1));
    let done = guest.poll(guest.relid, &slow).unwrap();
    assert_eq!(done.id, slow.id);
    done.good();
    guest
        .control("delay", json!({"lun": 0, "delay_ms": 0}))
        .unwrap();
    guest.read(0, 0, 1, 512);
}

#[test]
fn requests_of_a_slow_lun_overlap() {
    let mut guest = Guest::new(&["ram=1M,delay_ms=10"]);
    let all: Vec<_> = (0..8)
        .map(|lba| guest.start(0, &cdb10(0x28, lba, 1), Data::In(512)))
        .collect();
    guest.sim.run();
    guest.sim.advance(milliseconds(10));
    for sent in &all {
        assert_eq!(guest.poll(guest.relid, sent).unwrap().id, sent.id);
    }
}

#[test]
fn each_request_has_its_own_delay() {
    let mut guest = Guest::new(&["ram=1M,delay_ms=10"]);
    let first = guest.start(0, &cdb10(0x28, 0, 1), Data::In(512));
    guest.sim.run();
    guest.sim.advance(milliseconds(4));
    let second = guest.start(0, &cdb10(0x28, 0, 1), Data::In(512));
    guest.sim.run();
    for (time, sent) in [(6, &first), (4, &second)] {
        assert!(guest.poll(guest.relid, sent).is_none());
        guest.sim.advance(milliseconds(time));
        assert_eq!(guest.poll(guest.relid, sent).unwrap().id, sent.id);
    }
}

#[test]
fn a_late_read_writes_late() {
    let mut guest = Guest::new(&["ram=1M"]);
    guest.write(0, 0, &pattern(1, 512)).good();
    guest.control("delay", json!({"delay_ms": 5000})).unwrap();
    let late = guest.start(0, &cdb10(0x28, 0, 1), Data::In(512));
    guest.sim.run();
    guest.sim.advance(milliseconds(4999));
    assert_eq!(Guest::contents(&late), [0; 512]);
    guest.sim.advance(milliseconds(1));
    assert!(Guest::contents(&late) == pattern(1, 512));
}

#[test]
fn a_reset_ends_what_is_on_the_way_before_it_is_answered() {
    let mut guest = Guest::new(&["ram=1M,delay_ms=50", "ram=1M,delay_ms=50"]);
    guest.control("delay", json!({"delay_ms": 0})).unwrap();
    guest.write(0, 0, &pattern(1, 512)).good();
    guest.control("delay", json!({"delay_ms": 50})).unwrap();
    let first = guest.start(0, &cdb10(0x28, 0, 1), Data::In(512));
    let second = guest.start(1, &cdb10(0x28, 0, 1), Data::In(512));
    guest.sim.run();
    let packet = Packet::request(Operation::RESET_LUN).with(&Srb::new_zeroed());
    guest.sim.send(
        guest.relid,
        &vmbus_ring::OutgoingPacket::request(99, &[zerocopy::IntoBytes::as_bytes(&packet)]),
    );
    let ended = guest.poll(guest.relid, &first).unwrap();
    assert_eq!(ended.id, first.id);
    ended.is(0x0e, ScsiStatus::GOOD);
    assert_eq!(guest.poll(guest.relid, &first).unwrap().id, 99);
    guest.sim.advance(milliseconds(100));
    assert_eq!(Guest::contents(&first), [0; 512]);
    assert_eq!(guest.poll(guest.relid, &second).unwrap().id, second.id);
    assert!(guest.poll(guest.relid, &second).is_none());
    assert_eq!(
        (guest.count(0, "aborted"), guest.count(1, "aborted")),
        (1, 0)
    );
}

#[test]
fn a_removed_lun_ends_its_requests() {
    let mut guest = Guest::new(&["ram=1M,delay_ms=50"]);
    let sent = guest.start(0, &cdb10(0x28, 0, 1), Data::In(512));
    guest.sim.run();
    guest.control("remove_disk", json!({"lun": 0})).unwrap();
    guest
        .poll(guest.relid, &sent)
        .unwrap()
        .is(0x20, ScsiStatus::GOOD);
    assert_eq!(guest.sim.host.deadline(), None);
}

#[test]
fn a_closed_channel_leaves_guest_memory_alone() {
    let mut guest = Guest::new(&["ram=1M"]);
    guest.write(0, 0, &pattern(1, 512)).good();
    guest.control("delay", json!({"delay_ms": 50})).unwrap();
    let read = guest.start(0, &cdb10(0x28, 0, 1), Data::In(512));
    let write = guest.start(0, &cdb10(0x2a, 5, 1), Data::Out(&[7; 512]));
    guest.sim.run();
    assert!(guest.sim.close(guest.relid));
    guest.sim.advance(milliseconds(100));
    assert_eq!(Guest::contents(&read), [0; 512]);
    assert_eq!(write.id, read.id + 1);
    assert_eq!(guest.count(0, "writes"), 1);
    guest.sim.open(guest.relid, 9, 9, [0; 120]).unwrap();
    guest.handshake(storvsc_proto::Version::V6_2).unwrap();
    guest.control("delay", json!({"delay_ms": 0})).unwrap();
    assert_eq!(guest.read(0, 5, 1, 512), [0; 512]);
}

#[test]
fn requests_on_the_way_are_bounded() {
    let mut guest = Guest::new(&["ram=1M,delay_ms=50"]);
    let srb = Guest::srb(0, &cdb10(0x35, 0, 0), Data::None);
    for _ in 0..2048 {
        guest.submit(guest.relid, &srb, 0, &[]);
        guest.sim.run();
    }
    let over = guest.submit(guest.relid, &srb, 0, &[]);
    guest
        .poll(guest.relid, &over)
        .unwrap()
        .is(0x05, ScsiStatus::TASK_SET_FULL);
    guest.sim.advance(milliseconds(50));
    for _ in 0..2048 {
        assert!(guest.sim.receive(guest.relid).is_some());
    }
    guest.read_after_delay();
}

impl Guest {
    /// Room is there again.
    fn read_after_delay(&mut self) {
        let sent = self.start(0, &cdb10(0x28, 0, 1), Data::In(512));
        self.sim.run();
        self.sim.advance(milliseconds(50));
        self.poll(self.relid, &sent).unwrap().good();
    }
}

/// Bytes that are there when the test says so.
struct Held(Mutex<Receiver<()>>);

impl Backing for Held {
    fn size(&self) -> u64 {
        1 << 20
    }

    fn resize(&self, _size: u64) -> Result<()> {
        Ok(())
    }

    fn read_at(&self, _offset: u64, to: &mut [u8]) -> Result<()> {
        self.0.lock().unwrap().recv().map_err(Error::other)?;
        to.fill(0xee);
        Ok(())
    }

    fn write_at(&self, _offset: u64, _from: &[u8]) -> Result<()> {
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn unmap(&self, _offset: u64, _length: u64) -> Result<()> {
        Ok(())
    }

    fn allocated(&self) -> u64 {
        0
    }

    fn may_block(&self) -> bool {
        true
    }
}

#[test]
fn a_thread_leaves_the_memory_of_a_closed_channel_alone() {
    let (release, held) = channel();
    let held: Arc<dyn Backing> = Arc::new(Held(Mutex::new(held)));
    let disk = Disk::new(Some(held), &DiskOptions::default(), "held").unwrap();
    let mut controller = scsi(&[]);
    controller.add(0, None, disk).unwrap();
    let mut guest = Guest::with(controller);
    let lost = guest.start(0, &cdb10(0x28, 0, 1), Data::In(512));
    guest.sim.run();
    assert!(guest.sim.close(guest.relid));
    guest.sim.open(guest.relid, 9, 9, [0; 120]).unwrap();
    guest.handshake(storvsc_proto::Version::V6_2).unwrap();
    // The thread does one after the other: when the second is done, so is the first.
    let second = guest.start(0, &cdb10(0x28, 0, 1), Data::In(512));
    release.send(()).unwrap();
    release.send(()).unwrap();
    assert_eq!(guest.finish(guest.relid, second).good(), [0xee; 512]);
    assert_eq!(Guest::contents(&lost), [0; 512]);
}

/// A file that goes with the test.
struct Image(PathBuf);

impl Image {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("storage_vsp-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Self(path)
    }

    fn spec(&self, more: &str) -> String {
        format!("file={}{more}", self.0.display())
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_disk_in_a_file() {
    let image = Image::new("disk");
    let bytes = pattern(5, 256 << 10);
    {
        let mut guest = Guest::new(&[&image.spec(",size=4M")]);
        guest.write(0, 512, &bytes).good();
        assert!(guest.read(0, 512, 512, 512) == bytes);
        guest.command(0, &cdb10(0x35, 0, 0), Data::None).good();
        let before = guest.status(0)["allocated"].as_u64().unwrap();
        assert!(before >= 256 << 10);
        let mut list = vec![0, 22, 0, 16, 0, 0, 0, 0];
        list.extend(512_u64.to_be_bytes());
        list.extend(256_u32.to_be_bytes());
        list.extend([0; 4]);
        guest
            .command(0, &cdb10(0x42, 0, 24), Data::Out(&list))
            .good();
        let after = guest.status(0)["allocated"].as_u64().unwrap();
        assert_eq!(before - after, 128 << 10);
        guest.control("resize_disk", json!({"size": "8M"})).unwrap();
        guest.command(0, &[0; 6], Data::None).check(6, 0x2a, 9);
        assert_eq!(guest.read(0, 16383, 1, 512), [0; 512]);
    }
    // Another run finds what was written, and the first the file's size.
    let mut guest = Guest::new(&[&image.spec(",ro")]);
    assert_eq!(guest.read(0, 512, 256, 512), vec![0; 128 << 10]);
    assert!(guest.read(0, 768, 256, 512) == bytes[128 << 10..]);
    assert_eq!(guest.status(0)["size"], 8 << 20);
    let mut dvd = Guest::new(&[&image.spec(",dvd")]);
    assert!(dvd.read(0, 192, 64, 2048) == bytes[128 << 10..]);
}

#[test]
fn many_requests_to_files_are_answered_once_each() {
    let (one, two) = (Image::new("one"), Image::new("two"));
    let mut guest = Guest::new(&[&one.spec(",size=1M"), &two.spec(",size=1M")]);
    let mut waiting = std::collections::BTreeSet::new();
    for round in 0..100_u32 {
        let lun = u8::try_from(round % 2).unwrap();
        let sent = guest.start(lun, &cdb10(0x2a, round, 1), Data::Out(&[9; 512]));
        waiting.insert(sent.id);
        guest.sim.run();
    }
    while !waiting.is_empty() {
        let answer = guest.sim.expect_packet(guest.relid);
        assert!(waiting.remove(&answer.transaction_id));
    }
    for lba in 0..100 {
        let lun = u8::try_from(lba % 2).unwrap();
        assert_eq!(guest.read(lun, lba, 1, 512), [9; 512]);
    }
}

#[test]
fn a_file_that_has_shrunk_is_a_medium_error() {
    let image = Image::new("shrunk");
    let mut guest = Guest::new(&[&image.spec(",size=1M")]);
    std::fs::File::options()
        .write(true)
        .open(&image.0)
        .unwrap()
        .set_len(512)
        .unwrap();
    guest.read(0, 0, 1, 512);
    guest
        .command(0, &cdb10(0x28, 1, 1), Data::In(512))
        .check(3, 0x11, 0);
    assert_eq!(guest.count(0, "errors"), 1);
}
