// SPDX-License-Identifier: GPL-2.0

//! Writes the seeds under `corpus/`: a few inputs for each target that a fuzzer would take long to
//! find.
//!
//! Run it with the folder as its argument. Inputs of found defects are put beside them by hand.

use std::fs;
use std::io;
use std::path::Path;

/// Joins parts of an input.
fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// Little-endian words.
fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A step of `vmbus_client`: the choice, the relid and the GPADL, then what it needs.
fn step(choice: u8, relid: u8, gpadl: u8, rest: &[u8]) -> Vec<u8> {
    join(&[&[choice, relid, gpadl], rest])
}

/// A message of the host: its type and body.
fn message(message_type: u32, body: &[u8]) -> Vec<u8> {
    join(&[&words(&[message_type, 0]), body])
}

/// The step that delivers a message.
fn deliver(message: &[u8]) -> Vec<u8> {
    step(
        0,
        0,
        0,
        &join(&[&[u8::try_from(message.len()).unwrap_or(u8::MAX)], message]),
    )
}

/// An offer of the device `instance` with this relid and sub-channel index.
fn offer(instance: u8, relid: u8, sub_channel: u8) -> Vec<u8> {
    let mut body = vec![0; 188];
    for (at, value) in [
        (0, 0x11),
        (16, instance),
        (172, sub_channel),
        (176, relid),
        (184, relid),
    ] {
        if let Some(byte) = body.get_mut(at) {
            *byte = value;
        }
    }
    message(1, &body)
}

/// A connection with three channels, on one of which all requests are made.
fn client() -> Vec<u8> {
    let contact = step(6, 0, 0, &words(&[0x6_0000]));
    let refused = deliver(&message(15, &words(&[0, 0])));
    let accepted = deliver(&message(15, &words(&[1, 9])));
    let offers = [
        offer(1, 1, 0),
        offer(1, 2, 1),
        offer(2, 3, 0),
        offer(2, 4, 0),
    ]
    .map(|offer| deliver(&offer))
    .concat();
    let delivered = deliver(&message(4, &[]));
    let create = step(9, 1, 0, &[0, 0, 0, 0x20]);
    let created = deliver(&message(10, &words(&[1, 0xe1e10, 0])));
    let open = step(11, 1, 0, &[0, 0, 0, 0, 16]);
    let opened = deliver(&message(6, &words(&[1, 1, 0])));
    let modify = step(13, 1, 0, &words(&[3]));
    let modified = deliver(&message(24, &words(&[1, 0])));
    let close = step(12, 1, 0, &[]);
    let teardown = step(10, 1, 0, &[]);
    let torn_down = deliver(&message(12, &words(&[0xe1e10])));
    let rescind = deliver(&message(2, &words(&[1])));
    let release = step(14, 1, 0, &[]);
    let abandon = step(15, 1, 0, &[4, 1]);
    let unload = step(15, 0, 0, &[7]);
    let unloaded = deliver(&message(17, &[]));
    join(&[
        &contact,
        &refused,
        &accepted,
        &step(8, 0, 0, &[]),
        &offers,
        &delivered,
        &create,
        &created,
        &open,
        &opened,
        &modify,
        &modified,
        &close,
        &teardown,
        &abandon,
        &torn_down,
        &rescind,
        &release,
        &unload,
        &unloaded,
    ])
}

/// Steps of `ring_reader`: `count` packets of `units` units, read by halves, then a corrupt index.
fn reader(units: u8, count: u8) -> Vec<u8> {
    let mut input = Vec::new();
    for number in 0..count {
        let at = number.saturating_mul(units.saturating_add(1));
        input.extend([1, at.saturating_mul(4), 6, 6, 0, 2, 0, units, 0]);
    }
    input.extend([
        0,
        0,
        count.saturating_mul(units.saturating_add(1)),
        0,
        3,
        8,
        0,
        4,
        1,
        4,
    ]);
    for _ in 0..count {
        input.extend([2, 255, 3]);
    }
    input.extend([
        5, 4, 2, 255, 0, 0, 0xff, 0x01, 0x00, 0x00, 0x80, 2, 255, 3, 2, 255,
    ]);
    input
}

/// Steps of `ring_writer`: packets until the ring is full, waiting, the host reading, and again.
fn writer(payload: u8) -> Vec<u8> {
    let mut input = Vec::new();
    for round in 0..4u8 {
        for _ in 0..6 {
            input.extend([1, 8, payload]);
            input.extend(vec![
                round;
                usize::from(payload).saturating_mul(2).saturating_add(8)
            ]);
            input.push(round);
        }
        input.extend([2, 3, 64, 0, 5, 4]);
    }
    input.extend([0, 1, 3, 3, 64, 0]);
    input
}

/// What leaves of a hypervisor answer.
fn cpuid(max_leaf: u32) -> Vec<u8> {
    let [b, c, d] = [*b"Micr", *b"osof", *b"t Hv"].map(u32::from_le_bytes);
    let mut registers = vec![
        0,
        0,
        1 << 31,
        0,
        max_leaf,
        b,
        c,
        d,
        u32::from_le_bytes(*b"Hv#1"),
        0,
        0,
        0,
    ];
    registers.extend([u32::MAX; 40]);
    words(&registers)
}

/// A packet to a device model: GPA-direct with 2 KiB of memory, and a second later.
fn packet(payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).unwrap_or(u8::MAX);
    join(&[&[1 | (16 << 2), 64, len], payload])
}

/// A SCSI command to a LUN, in a packet of the storage protocol.
fn scsi(lun: u8, cdb: &[u8]) -> Vec<u8> {
    let cdb_len = u8::try_from(cdb.len()).unwrap_or(0);
    let mut srb = join(&[
        &words(&[3, 1, 0]),
        &[52, 0, 0, 0, 0, 0, 0, lun, cdb_len, 20, 1, 0],
        &words(&[512]),
        cdb,
    ]);
    srb.resize(64, 0);
    packet(&srb)
}

/// Commands to each LUN after a handshake.
fn storage() -> Vec<u8> {
    let mut seed = vec![0];
    for lun in 0..3 {
        seed.extend(scsi(lun, &[0x12, 0, 0, 0, 36, 0]));
        seed.extend(scsi(lun, &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]));
        seed.extend(scsi(lun, &[0x2a, 0, 0, 0, 0, 1, 0, 0, 1, 0]));
        seed.extend(scsi(lun, &[0x43, 2, 0, 0, 0, 0, 0, 0, 20, 0]));
        seed.extend(scsi(lun, &[0x5f, 0, 1, 0, 0, 0, 0, 0, 24]));
    }
    seed
}

/// An answer to the negotiation of an integration service: framework 3.0 and one version.
fn negotiated(service: u8, version: u8) -> Vec<u8> {
    let pipe = words(&[1, 32]);
    let header = [3, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0];
    let versions = [1, 0, 1, 0, 0, 0, 0, 0, 3, 0, 0, 0, version, 0, 0, 0];
    join(&[
        &[service],
        &packet(&join(&[&pipe, &header, &versions])),
        &packet(&[0; 200]),
    ])
}

/// A step of `kvp_daemon` and `vss_daemon`: a packet of this type and length in the versions 3.0 and `version`.
fn to_daemon(message_type: u8, version: u8, body: &[u8], length: u16) -> Vec<u8> {
    let header = [
        3,
        0,
        0,
        0,
        message_type,
        0,
        version,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        1,
        3,
        0,
        0,
    ];
    let payload = join(&[&words(&[1, 0]), &header, body]);
    let len = u8::try_from(payload.len()).unwrap_or(u8::MAX);
    join(&[&[0, len], &payload, &length.to_le_bytes(), &[0]])
}

/// A daemon that registers, and requests of which it answers all but the last.
fn daemon(message_type: u8, version: u8, registration: u8, requests: &[&[u8]]) -> Vec<u8> {
    let versions = [1, 0, 1, 0, 0, 0, 0, 0, 3, 0, 0, 0, version, 0, 0, 0];
    let mut seed = to_daemon(0, 0, &versions, 44);
    seed.extend([2, 3, 1, registration, 0, 4]);
    for request in requests {
        seed.extend(to_daemon(message_type, version, request, 7456));
        seed.extend([4, 3, 4, 0, 0, 0, 0, b'k']);
    }
    seed.extend(to_daemon(
        message_type,
        version,
        requests.first().unwrap_or(&&[][..]),
        7456,
    ));
    seed.extend([4, 7, 0xff, 0x0f, 5]);
    seed
}

/// A service of the driver's own: the choice of versions, and requests a moment later, in packets of their own length.
fn guest(service: u8, message_type: u8, version: u8, requests: &[&[u8]]) -> Vec<u8> {
    let step = |message_type: u8, body: &[u8]| {
        let length = u16::try_from(body.len().saturating_add(28)).unwrap_or(u16::MAX);
        let packet = to_daemon(message_type, version, body, length);
        join(&[&words(&[1000]), &[4], packet.get(1..).unwrap_or(&[])])
    };
    let versions = [1, 0, 1, 0, 0, 0, 0, 0, 3, 0, 0, 0, version, 0, 0, 0];
    let mut seed = join(&[&[service], &step(0, &versions)]);
    for request in requests {
        seed.extend(step(message_type, request));
    }
    seed
}

/// A time of some day in 2026 with these flags, in a body of version 4.0.
fn time(flags: u8) -> Vec<u8> {
    let time = 134_000_000_000_000_000_u64.to_le_bytes();
    join(&[&time, &1000_u64.to_le_bytes(), &[flags, 0, 1, 0, 0, 0]])
}

/// A body of KVP about the key "k".
fn pair(operation: u8) -> Vec<u8> {
    join(&[&[operation, 1, 0, 0], &words(&[1, 4, 4]), b"k\0\0\0"])
}

fn main() -> io::Result<()> {
    let Some(folder) = std::env::args().nth(1) else {
        return Err(io::Error::other("usage: seeds FOLDER"));
    };
    let seeds: &[(&str, &str, Vec<u8>)] = &[
        ("host_messages", "empty", vec![0]),
        ("host_messages", "client", client()),
        ("host_rings", "reader", reader(2, 20)),
        ("host_rings", "writer", writer(60)),
        ("host_gpa_list", "one", words(&[0, 1, 4096, 0, 5, 0])),
        ("storage_packets", "commands", storage()),
        ("ic_packets", "shutdown", negotiated(0, 3)),
        ("ic_packets", "heartbeat", negotiated(1, 3)),
        ("ic_packets", "timesync", negotiated(2, 4)),
        ("ic_packets", "kvp", negotiated(3, 4)),
        ("ic_packets", "vss", negotiated(4, 5)),
        ("ic_packets", "fcopy", negotiated(5, 1)),
        (
            "kvp_daemon",
            "pairs",
            daemon(
                2,
                4,
                100,
                &[
                    &pair(0),
                    &pair(1),
                    &[2, 1, 0, 0, 4, 0, 0, 0, b'k'],
                    &pair(3),
                ],
            ),
        ),
        ("kvp_daemon", "old", daemon(2, 3, 4, &[&pair(3)])),
        (
            "kvp_daemon",
            "addresses",
            daemon(2, 4, 100, &[&[4, 0, b'x', 0, 0, 0], &[5, 0, b'x', 0, 0, 0]]),
        ),
        (
            "vss_daemon",
            "backup",
            daemon(5, 5, 129, &[&[5], &[6], &[2], &[3]]),
        ),
        ("vss_daemon", "old", daemon(5, 5, 128, &[&[6], &[5]])),
        (
            "ic_guest",
            "shutdown",
            guest(0, 3, 3, &[&[0; 200], &[0; 12], &[4; 120]]),
        ),
        (
            "ic_guest",
            "heartbeat",
            guest(1, 1, 3, &[&[7; 40], &[255; 8]]),
        ),
        (
            "ic_guest",
            "time",
            guest(2, 4, 4, &[&time(1), &time(2), &[0; 22], &[255; 22]]),
        ),
        ("ring_reader", "small", reader(2, 20)),
        ("ring_reader", "large", reader(15, 3)),
        ("ring_writer", "small", writer(4)),
        ("ring_writer", "large", writer(60)),
        (
            "transfer_pages",
            "one",
            join(&[&words(&[4096]), &[1, 0, 0, 0], &words(&[1, 96, 4000])]),
        ),
        (
            "transfer_pages",
            "beyond",
            join(&[&words(&[4096]), &[1, 0, 0, 0], &words(&[1, 97, 4000])]),
        ),
        (
            "gpa_direct",
            "two_pages",
            join(&[
                &[64, 0xa0, 0x0f, 0, 2, 0, 2],
                &[7; 16],
                &[0, 0, 1, 0, 0, 1],
                &[8; 8],
            ]),
        ),
        (
            "inflight",
            "replay",
            join(&[
                &[
                    0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0,
                ],
                &[3, 2, 0, 3, 9],
            ]),
        ),
        (
            "vmbus_message",
            "offer",
            join(&[&words(&[0x6_0000, 0]), &offer(1, 1, 0)]),
        ),
        (
            "vmbus_message",
            "short",
            join(&[&words(&[0x5_0003, 0]), &message(6, &[1, 0, 0, 0])]),
        ),
        ("vmbus_client", "lifecycle", client()),
        ("cpuid", "all_leaves", cpuid(0x4000_000c)),
        ("cpuid", "few_leaves", cpuid(0x4000_0005)),
        (
            "synic_message",
            "channel",
            join(&[&words(&[1]), &[240, 0], &[0; 250], &[31, 0], &[0xff; 8]]),
        ),
        ("synic_message", "too_long", join(&[&words(&[1]), &[241]])),
        (
            "guid",
            "scsi",
            Vec::from("ba6163d9-04a1-4d29-b605-72e2ffb1dc7f"),
        ),
        (
            "guid",
            "hyphen",
            Vec::from("ba6163d9004a1-4D29-b605-72e2ffb1dc7f"),
        ),
    ];
    for (target, name, bytes) in seeds {
        let folder = Path::new(&folder).join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}
