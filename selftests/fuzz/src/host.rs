// SPDX-License-Identifier: GPL-2.0

//! The test host's own parsers, fed as a guest would: it, too, must survive its peer.

use std::time::Duration;

use hvdef::Guid;
use ic_vsp::Options;
use storage_vsp::{Controller, ControllerConfig, DiskSpec};
use vmbus_host::sim::Sim;
use vmbus_host::Device;
use vmbus_proto::{Version, USER_DATA_SIZE};
use vmbus_ring::gpa::{extension_size, GpaDirect};
use vmbus_ring::OutgoingPacket;

use crate::input::Input;

/// Size of each ring, in pages, control page included.
const RING_PAGES: usize = 5;
/// Pages of memory that packets of the storage target name.
const BUFFER_PAGES: usize = 3;
/// No target runs longer than so many packets.
const MAX_PACKETS: usize = 64;

/// Packets to a storage controller with a disk, a small one of 4 KiB sectors and a DVD.
pub(crate) fn storage(bytes: &[u8]) {
    let instance = Guid::parse("f8b3781a-1e82-4818-a1c3-63d806ec15bb");
    let mut controller = Controller::new(ControllerConfig::scsi(instance));
    for words in [
        "ram=1M,lun=0",
        "ram=64K,lun=1,sector=4096",
        "ram=64K,lun=2,dvd",
    ] {
        let disk = DiskSpec::parse(words).expect("a disk");
        controller.add_spec(&disk).expect("a free LUN");
    }
    // A handshake comes first where the input does not want to do without.
    let (kind, packets) = bytes.split_first().unwrap_or((&0, &[]));
    let mut handshake = Vec::new();
    if kind & 1 == 0 {
        for operation in [7, 9, 10, 8] {
            let mut packet = vec![0; 64];
            packet[0] = operation;
            packet[4] = 1;
            // Version 6.2, where the host looks for one.
            packet[12..14].copy_from_slice(&[2, 6]);
            handshake.push(packet);
        }
    }
    drive(controller, &handshake, packets);
}

/// Packets to each of the integration services; the first byte chooses.
pub(crate) fn integration_services(bytes: &[u8]) {
    let mut services = ic_vsp::all(Options::default());
    let (choice, packets) = bytes.split_first().unwrap_or((&0, &[]));
    let service = services.swap_remove(usize::from(*choice) % services.len());
    drive(service, &[], packets);
}

/// Opens the device's channel and sends `first`, then what `bytes` says: for each packet its kind, the time after it, its
/// length and its payload.
fn drive(device: impl Device + 'static, first: &[Vec<u8>], bytes: &[u8]) {
    let class = device.offer().class;
    let mut sim = Sim::new();
    sim.add("device", device);
    sim.connect(Version::V5_3);
    let relid = sim.wait_offer(class);
    sim.open(relid, RING_PAGES, RING_PAGES, [0; USER_DATA_SIZE])
        .expect("an open channel");
    let buffer = sim.allocate(BUFFER_PAGES);
    for payload in first {
        let _ = sim.try_send(relid, &OutgoingPacket::request(1, &[payload]));
        sim.run();
        while sim.receive(relid).is_some() {}
    }
    let mut input = Input(bytes);
    for id in 2..2 + MAX_PACKETS {
        if input.is_empty() {
            break;
        }
        let kind = input.u8();
        let milliseconds = u64::from(input.u8()) * 16;
        let len = usize::from(input.u8());
        let payload = input.bytes(len);
        let id = u64::try_from(id).expect("a small number");
        let mut extension = vec![0; extension_size(1, BUFFER_PAGES)];
        let mut ranges = GpaDirect::new(&mut extension).expect("room for a range");
        let bytes = u32::from(kind >> 2) * 128 + 1;
        let pages = usize::try_from(bytes.div_ceil(4096)).expect("a small number");
        let pfns = buffer.iter().copied().take(pages);
        ranges.push(0, bytes, pfns).expect("room for the range");
        let extension = ranges.finish();
        let parts: &[&[u8]] = &[payload];
        let ranges: &[&[u8]] = &[extension];
        let packet = match kind % 4 {
            0 => OutgoingPacket::request(id, parts),
            1 => OutgoingPacket::gpa_direct(id, ranges, parts),
            2 => OutgoingPacket::in_band(parts),
            _ => OutgoingPacket::completion(id, parts),
        };
        let _ = sim.try_send(relid, &packet);
        sim.run();
        sim.advance(Duration::from_millis(milliseconds));
        while sim.receive(relid).is_some() {}
    }
    sim.close(relid);
    sim.unload();
}
