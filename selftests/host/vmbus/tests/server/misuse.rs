// SPDX-License-Identifier: GPL-2.0

//! A guest that asks for what it may not have, behind the back of its own client.

use crate::{assert_clean, exchange, host_counts, offered, opened, ECHO};
use serde_json::json;
use vmbus_host::sim::{Echo, Sim};
use vmbus_host::Output;
use vmbus_proto::message::{wire, Body, Outgoing};
use vmbus_proto::{class, Status, Version};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// Posts a message with a tail on the connection since 5.0, and returns the answers, without their headers.
fn ask<B: Body>(sim: &mut Sim, body: &B, tail: &[u8]) -> Vec<Vec<u8>> {
    let mut message = Outgoing::new(0x41, body);
    assert!(message.push(tail));
    sim.post(&message);
    let outputs = std::iter::from_fn(|| sim.host.next_output());
    let answers = outputs.filter_map(|output| match output {
        Output::Message { payload, .. } => Some(payload[8..].to_vec()),
        _ => None,
    });
    answers.collect()
}

/// The status of the one answer to a request to create a GPADL.
fn gpadl_status(answers: &[Vec<u8>]) -> Status {
    let [answer] = answers else {
        panic!("{answers:?}");
    };
    let (created, _) = wire::GpadlCreated::read_from_prefix(answer).unwrap();
    Status(created.status.get())
}

/// The status of the one answer to a request to open.
fn open_status(answers: &[Vec<u8>]) -> Status {
    let [answer] = answers else {
        panic!("{answers:?}");
    };
    let (result, _) = wire::OpenResult::read_from_prefix(answer).unwrap();
    Status(result.status.get())
}

/// The start of a GPADL of this many bytes and ranges.
fn header(gpadl: u32, bytes: u16, ranges: u16) -> wire::GpadlHeader {
    wire::GpadlHeader {
        relid: 1.into(),
        gpadl: gpadl.into(),
        range_buffer_len: bytes.into(),
        range_count: ranges.into(),
    }
}

/// A range and its PFNs.
fn range(byte_count: u32, byte_offset: u32, pfns: &[u64]) -> Vec<u8> {
    let head = wire::GpaRange {
        byte_count: byte_count.into(),
        byte_offset: byte_offset.into(),
    };
    let pfns = pfns.iter().flat_map(|pfn| pfn.to_le_bytes());
    head.as_bytes().iter().copied().chain(pfns).collect()
}

/// A request to open channel 1 in this memory.
fn open(ring_gpadl: u32) -> wire::OpenChannel {
    wire::OpenChannel {
        relid: 1.into(),
        ring_gpadl: ring_gpadl.into(),
        downstream_page_offset: 2.into(),
        ..wire::OpenChannel::new_zeroed()
    }
}

/// What was refused.
fn refused(sim: &mut Sim) -> serde_json::Value {
    host_counts(sim)["messages"]["refused"].clone()
}

#[test]
fn descriptions_of_memory_are_whole_or_nothing() {
    let (mut sim, _) = offered(Version::V5_3);
    let good = range(8192, 0, &[5, 6]);
    let mut created = Vec::new();
    for (number, (bytes, ranges, tail, good)) in [
        (24, 1, good.clone(), true),
        (48, 2, [good.clone(), good.clone()].concat(), true),
        // An offset takes one page more.
        (24, 1, range(5000, 3000, &[5, 6]), true),
        (24, 1, range(8192, 1, &[5, 6]), false),
        // More or less than the ranges take.
        (24, 0, good.clone(), false),
        (24, 2, good.clone(), false),
        (48, 1, [good.clone(), good.clone()].concat(), false),
        (16, 1, good.clone(), false),
        (0, 1, good.clone(), false),
        (24, 1, range(8192, 4096, &[5, 6]), false),
        (8, 1, range(0, 0, &[]), false),
    ]
    .into_iter()
    .enumerate()
    {
        let id = u32::try_from(number).unwrap() + 1;
        let status = gpadl_status(&ask(&mut sim, &header(id, bytes, ranges), &tail));
        assert_eq!(status == Status::SUCCESS, good, "case {id}: {status:?}");
        if good {
            created.push(id);
        }
    }
    // A name in use, and none.
    for id in [1, 0] {
        let status = gpadl_status(&ask(&mut sim, &header(id, 24, 1), &good));
        assert_eq!(status, Status::INVALID_PARAMETER, "{id}");
    }
    assert_eq!(host_counts(&mut sim)["gpadls"], 3);
    // A body to something complete, and one that brings too much.
    let body = |gpadl: u32| wire::GpadlBody {
        message_number: 0.into(),
        gpadl: gpadl.into(),
    };
    assert!(ask(&mut sim, &body(1), &[0; 8]).is_empty());
    assert!(ask(&mut sim, &header(50, 24, 1), &good[..16]).is_empty());
    let status = gpadl_status(&ask(&mut sim, &body(50), &[0; 16]));
    assert_eq!(status, Status::INVALID_PARAMETER);
    assert_eq!(refused(&mut sim), json!({"GPADL body without a header": 1}));
    // Rings lie in one range of whole pages only.
    for id in created {
        let status = open_status(&ask(&mut sim, &open(id), &[]));
        assert_eq!(status, Status::INVALID_PARAMETER, "{id}");
    }
}

#[test]
fn rings_stay_where_they_are_while_the_channel_is_open() {
    let (mut sim, relid) = opened(Version::V5_3);
    let pages = sim.allocate(4);
    let other = range(4 * 4096, 0, &pages);
    let status = gpadl_status(&ask(&mut sim, &header(0xe1e10, 40, 1), &other));
    assert_eq!(status, Status::INVALID_PARAMETER, "the name of the rings");
    let teardown = wire::GpadlTeardown {
        relid: 1.into(),
        gpadl: 0xe1e10.into(),
    };
    assert!(ask(&mut sim, &teardown, &[]).is_empty());
    // It is open already.
    ask(&mut sim, &header(7, 40, 1), &other);
    let status = open_status(&ask(&mut sim, &open(7), &[]));
    assert_eq!(status, Status::INVALID_PARAMETER);
    let release = wire::RelidReleased { relid: 1.into() };
    assert!(ask(&mut sim, &release, &[]).is_empty());
    assert_eq!(
        refused(&mut sim),
        json!({"teardown of the rings of an open channel": 1, "release of a relid in use": 1})
    );
    exchange(&mut sim, relid, 1);
    assert_eq!(sim.count(ECHO, 0, "opens"), 1);
}

#[test]
fn memory_belongs_to_one_channel() {
    let (mut sim, _) = offered(Version::V5_3);
    let mut echo = Echo::default();
    echo.spec.class = class::SCSI.id;
    sim.add("other", echo);
    let other = sim.wait_offer(class::SCSI.id);
    let pages = sim.allocate(4);
    let gpadl = sim.lend(other, &pages).unwrap();
    // The first channel, with the memory of another.
    let status = open_status(&ask(&mut sim, &open(gpadl.0), &[]));
    assert_eq!(status, Status::INVALID_PARAMETER);
    let teardown = wire::GpadlTeardown {
        relid: 1.into(),
        gpadl: gpadl.0.into(),
    };
    assert!(ask(&mut sim, &teardown, &[]).is_empty());
    assert!(sim.take_back(other, gpadl));
}

#[test]
fn messages_to_nobody_and_from_nobody_are_counted() {
    let (mut sim, _) = offered(Version::V5_3);
    let close = |relid: u32| wire::CloseChannel {
        relid: relid.into(),
    };
    for relid in [0, 2, 2047, 2048, 0x1_0001] {
        assert!(ask(&mut sim, &close(relid), &[]).is_empty());
    }
    assert!(ask(&mut sim, &close(1), &[]).is_empty());
    assert!(ask(&mut sim, &wire::RequestOffers {}, &[]).is_empty());
    assert!(ask(&mut sim, &wire::UnloadResponse {}, &[]).is_empty());
    sim.host.post_message(0x41, 1, &[99, 0, 0, 0, 0, 0, 0, 0]);
    sim.host.post_message(0x41, 1, &[]);
    assert_eq!(
        refused(&mut sim),
        json!({
            "message to an unknown relid": 5,
            "close of a closed channel": 1,
            "offers requested twice": 1,
            "message that only a host sends": 1,
            "malformed or unknown message": 2,
        })
    );
    // Sockets do not exist here, and the answer says so.
    let connect = wire::TlConnectRequest::new_zeroed();
    assert_eq!(ask(&mut sim, &connect, &[]).len(), 1);
    assert_eq!(sim.take_errors(), []);
}

#[test]
fn contact_with_bad_pages_is_not_accepted() {
    let mut sim = crate::host(Version::V5_3);
    let contact = |page: u64, target_vp: u32, sint: u8| wire::InitiateContact {
        version: Version::V5_3.0.into(),
        target_vp: target_vp.into(),
        interrupt_page_or_target: [sint, 0, 0, 0, 0, 0, 0, 0],
        parent_to_child_monitor_page: 0.into(),
        child_to_parent_monitor_page: page.into(),
    };
    let mut answer = |page, target_vp, sint| {
        sim.post(&Outgoing::new(4, &contact(page, target_vp, sint)));
        match sim.host.next_output() {
            Some(Output::Message {
                vp, sint, payload, ..
            }) => Some((vp, sint, payload[8], payload[9])),
            _ => None,
        }
    };
    assert_eq!(answer(4096, 3, 5), Some((3, 5, 1, 0)));
    assert_eq!(answer(0, 0, 2), Some((0, 2, 1, 0)));
    for page in [4097, 64 << 20, !0xfff] {
        assert_eq!(answer(page, 0, 2), Some((0, 2, 1, 2)), "{page:#x}");
    }
    assert_eq!(answer(0, 4, 2), None);
    assert_eq!(answer(0, 0, 16), None);
    sim.connect(Version::V5_3);
    assert_eq!(
        refused(&mut sim),
        json!({"contact without a VP or SINT to answer to": 2})
    );
}

#[test]
fn the_connection_is_modified_at_6_0() {
    // Our client does not ask for the feature: another one does.
    let mut sim = crate::host(Version::V6_0);
    let contact = wire::InitiateContact {
        version: Version::V6_0.0.into(),
        target_vp: 0.into(),
        interrupt_page_or_target: [2, 0, 0, 0, 0xff, 0, 0, 0],
        parent_to_child_monitor_page: 0.into(),
        child_to_parent_monitor_page: 0.into(),
    };
    sim.post(&Outgoing::new(4, &contact));
    let Some(Output::Message { payload, .. }) = sim.host.next_output() else {
        panic!("no answer");
    };
    // Only that one is granted.
    assert_eq!(payload[8..], [1, 0, 0, 0, 0x41, 0, 0, 0, 4, 0, 0, 0]);
    let modify = |page: u64| wire::ModifyConnection {
        parent_to_child_monitor_page: page.into(),
        child_to_parent_monitor_page: page.into(),
    };
    assert_eq!(ask(&mut sim, &modify(8192), &[]), [[0]]);
    assert_eq!(ask(&mut sim, &modify(0), &[]), [[0]]);
    assert_eq!(ask(&mut sim, &modify(5), &[]), [[2]]);
    // It does not exist without the feature.
    let (mut sim, _) = offered(Version::V6_0);
    assert!(ask(&mut sim, &modify(8192), &[]).is_empty());
    let (mut sim, relid) = opened(Version::V6_0);
    exchange(&mut sim, relid, 1);
    assert!(sim.close(relid));
    assert_clean(&mut sim);
}
