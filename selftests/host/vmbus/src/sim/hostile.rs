// SPDX-License-Identifier: GPL-2.0

//! A guest that means harm, driven by bytes: for property tests and fuzz targets.
//!
//! Each function panics if the host does, and if what the host keeps grows beyond its bounds.

use super::{Echo, Sim};
use crate::fault::{Action, Direction, Rule};
use crate::gpadl::{MAX_BYTES, MAX_GPADLS};
use crate::host::{Config, Output};
use crate::memory::{GpaList, PAGE_SIZE};
use core::time::Duration;
use serde_json::json;
use std::sync::Arc;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmbus_proto::{Relid, Version};

/// The connections on which a guest may try to post.
const CONNECTIONS: [u32; 6] = [1, 0x41, 0x41, 2, 0x1_0001, 4];

/// Takes some bytes; zeros follow the last.
fn take<const N: usize>(data: &mut &[u8]) -> [u8; N] {
    let (now, later) = data.split_at(data.len().min(N));
    *data = later;
    let mut bytes = [0; N];
    for (to, from) in bytes.iter_mut().zip(now) {
        *to = *from;
    }
    bytes
}

/// A word of a message: relids, VPs, GPADLs, lengths of one page and its description, or something else.
fn plausible(word: u8) -> u32 {
    match word {
        0..=127 => u32::from(word % 4),
        128..=191 => u32::from(word % 4).saturating_add(0xe1e10),
        192..=207 => 4096,
        208..=223 => 1 << 16 | 16,
        224..=239 => u32::from(word),
        _ => u32::from_le_bytes([word; 4]),
    }
}

/// A host with two echo devices, of which one is monitored.
fn sim() -> Sim {
    let mut sim = Sim::with(Config {
        max_version: Version::V6_0,
        vps: 2,
        seed: 3,
    });
    sim.add("echo", Echo::default());
    let mut other = Echo::default();
    other.spec.instance = Echo::CLASS;
    other.spec.monitored = true;
    other.spec.dedicated_interrupt = false;
    sim.add("other", other);
    sim
}

/// Takes all outputs of the host, of which a step makes only so many.
fn drain(sim: &mut Sim) {
    for _ in 0..10_000 {
        match sim.host.next_output() {
            None => return check(sim),
            Some(Output::AddSignal { connection_id }) => {
                assert!(sim.signals.insert(connection_id), "added twice");
            }
            Some(Output::RemoveSignal { connection_id }) => {
                assert!(sim.signals.remove(&connection_id), "removed twice");
            }
            Some(Output::Message { payload, .. }) => assert!(payload.len() <= 240),
            Some(Output::Event { vp, .. }) => assert!(vp < 2),
        }
    }
    panic!("the host's outputs have no end");
}

/// Checks that what the host keeps is bounded.
fn check(sim: &Sim) {
    let bus = &sim.host.bus;
    assert!(bus.gpadls.len() <= MAX_GPADLS);
    let bytes = bus.gpadls.values().fold(0, |sum: usize, gpadl| {
        assert!(gpadl.bytes_held() <= gpadl.cost());
        sum.saturating_add(gpadl.cost())
    });
    assert!(bytes <= MAX_BYTES);
    assert!(bus.relids.len() <= 16, "{:?}", bus.relids);
    assert!(bus.notices.is_empty());
    assert!(bus.counters.refused.len() < 64);
    assert!(bus.counters.messages_in.len() < 64);
    for (id, _, offer) in bus.offered() {
        let ring = offer.open.as_ref().map(|open| open.ring_gpadl);
        if let Some(ring) = ring {
            let gpadl = bus.gpadls.get(&ring);
            assert!(
                gpadl.is_some_and(|gpadl| gpadl.port == id),
                "rings of {id:?}"
            );
        }
    }
    let shared = bus.connection.is_some_and(|c| c.interrupt_page.is_some());
    let open = bus
        .offered()
        .filter(|(_, _, offer)| !offer.shared && offer.open.is_some())
        .count();
    assert_eq!(
        sim.signals.len(),
        open.saturating_add(usize::from(shared)),
        "connections and open channels"
    );
}

/// Connects and perhaps opens both channels, so that what follows meets more than closed doors.
fn connect_as_a_good_guest(sim: &mut Sim, choice: u8) {
    sim.forget();
    let version = match choice % 3 {
        0 => Version::V4_0,
        1 => Version::V5_3,
        _ => Version::V6_0,
    };
    if sim.contact(version).is_none() {
        return;
    }
    if let Ok(message) = sim.client.request_offers() {
        let _ = sim.post(&message);
    }
    sim.run();
    let relids: Vec<Relid> = sim.client.table().0.keys().copied().collect();
    for relid in relids.into_iter().take(usize::from(choice / 64)) {
        // The client is a new one, whose GPADLs are those that random messages can name.
        let opened = sim.open(relid, 3, 3, [0; 120]);
        assert_eq!(opened, Ok(()));
    }
}

/// Any messages, signals and time. Each step is one byte that says what to do, and what that takes.
pub fn messages(mut data: &[u8]) {
    let mut sim = sim();
    while let [step, rest @ ..] = data {
        data = rest;
        let [choice] = take::<1>(&mut data);
        let connection = CONNECTIONS.get(usize::from(choice % 6)).copied();
        let connection = connection.unwrap_or(0);
        match step % 8 {
            0..=3 => {
                // A message of a known type, of which many words could mean something.
                let [message_type, words] = take::<2>(&mut data);
                let mut bytes = vec![message_type % 28, 0, 0, 0, 0, 0, 0, 0];
                for _ in 0..words % 59 {
                    let [word] = take::<1>(&mut data);
                    bytes.extend(plausible(word).to_le_bytes());
                }
                let _ = sim.host.post_message(connection, 1, &bytes);
            }
            4 => connect_as_a_good_guest(&mut sim, choice),
            5 => {
                let _ = sim.host.signal_event(connection, choice.into());
            }
            6 => {
                sim.set_time(sim.now().saturating_add(Duration::from_millis(1)));
                sim.host.run_due();
            }
            _ => {
                let raw: [u8; 32] = take(&mut data);
                let _ = sim.host.post_message(connection, choice.into(), &raw);
            }
        }
        drain(&mut sim);
    }
    sim.host.reset();
    drain(&mut sim);
    assert!(sim.signals.is_empty() && sim.host.bus.relids.is_empty());
}

/// Any content of both rings of an open channel, and faults on top.
pub fn rings(mut data: &[u8]) {
    let mut sim = sim();
    sim.connect(Version::V5_3);
    let relid = sim.wait_offer(Echo::CLASS);
    let [with_faults, monitored] = take::<2>(&mut data);
    let relid = if monitored & 1 == 1 {
        sim.client.table().0.keys().next_back().copied()
    } else {
        Some(relid)
    };
    let relid = relid.unwrap_or_else(|| Relid::new(1).expect("a relid"));
    sim.open(relid, 3, 3, [0; 120]).expect("an open channel");
    if with_faults & 1 == 1 {
        for (direction, action) in [
            (Direction::FromGuest, Action::Reorder),
            (Direction::ToGuest, Action::DelayMs(1)),
            (Direction::ToGuest, Action::Duplicate),
            (Direction::FromGuest, Action::NeverAnswer),
        ] {
            let added = sim.host.faults().add(Rule {
                channel: None,
                direction,
                kind: None,
                nth: None,
                probability: Some(0.5),
                times: None,
                action,
            });
            added.expect("a good rule");
        }
    }
    let (out, inward) = sim.ring_pages(relid).expect("an open channel");
    let pages: Vec<u64> = out.iter().chain(inward).copied().collect();
    let connection = sim.offer(relid).connection_id;
    while let [step, rest @ ..] = data {
        data = rest;
        match step % 8 {
            // Control words.
            0..=2 => {
                let [page, word] = take::<2>(&mut data);
                let value = u32::from_le_bytes(take(&mut data));
                // Half of the time one that could be an index.
                let value = if step & 8 == 0 {
                    (value % 0x2000) & !7
                } else {
                    value
                };
                let pfn = pages.get(usize::from(page % 2).saturating_mul(3)).copied();
                let word = [0, 4, 8, 12, 64].get(usize::from(word % 5)).copied();
                let at = pfn.unwrap_or(0).saturating_mul(PAGE_SIZE);
                let at = at.saturating_add(word.unwrap_or(0));
                let written = sim.memory().write_obj(value, GuestAddress(at));
                written.expect("guest memory");
            }
            // Data.
            3 | 4 => {
                let [page, offset] = take::<2>(&mut data);
                let bytes: [u8; 32] = take(&mut data);
                let page = [1, 2, 4, 5].get(usize::from(page % 4)).copied();
                let pfn = page.and_then(|page: usize| pages.get(page)).copied();
                let at = pfn.unwrap_or(0).saturating_mul(PAGE_SIZE);
                let at = at.saturating_add(u64::from(offset).saturating_mul(8));
                let written = sim.memory().write_slice(&bytes, GuestAddress(at));
                written.expect("guest memory");
            }
            // A device that sends.
            5 => {
                let [count, size] = take::<2>(&mut data);
                let request = json!({"command": "burst", "device": "echo",
                    "count": count, "size": size});
                if let serde_json::Value::Object(request) = request {
                    let reply = crate::Reply::new(|_| ());
                    sim.host.control(request, reply);
                }
            }
            6 => {
                sim.set_time(sim.now().saturating_add(Duration::from_millis(1)));
                sim.host.run_due();
            }
            _ => {
                let _ = sim.host.signal_event(connection, 1);
            }
        }
        for _ in 0..16 {
            if sim.host.deadline() == Some(Duration::ZERO) {
                sim.host.run_due();
            }
        }
        drain(&mut sim);
    }
}

/// Any extension of a GPA-direct packet, over 1 MiB of memory with a hole.
pub fn gpa_list(data: &[u8]) {
    let regions = [
        (GuestAddress(0), 0x8_0000),
        (GuestAddress(0x10_0000), 0x8_0000),
    ];
    let memory = GuestMemoryMmap::from_ranges(&regions);
    let memory = Arc::new(memory.expect("anonymous memory"));
    let Ok(list) = GpaList::parse(&memory, data) else {
        return;
    };
    assert!(list.len() <= data.len().saturating_mul(512));
    for range in list.ranges() {
        let bytes = range.to_vec();
        assert_eq!(bytes.len(), range.len());
        assert_eq!(range.write_at(0, &bytes), Ok(()));
        assert!(range.write_at(1, &bytes).is_err());
        let slices = range.slices(0, range.len()).expect("all of it");
        let sum = slices
            .iter()
            .fold(0, |sum: usize, s| sum.saturating_add(s.len()));
        assert_eq!(sum, range.len());
    }
}
