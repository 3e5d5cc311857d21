// SPDX-License-Identifier: GPL-2.0

//! Tests of the time synchronisation service.

use super::*;
use crate::guest::{units, Guest, Request, REFERENCE_TIME, WALL_CLOCK};
use hv_utils_proto::timesync::HostTime;
use hv_utils_proto::{MessageType, Version};

const V1_0: Version = Version::new(1, 0);
const V3_0: Version = Version::new(3, 0);
const V4_0: Version = Version::new(4, 0);

fn service() -> Ic {
    Ic::timesync(TimesyncOptions::default())
}

fn told(request: &Request, version: Version) -> HostTime {
    assert_eq!(request.prefix.message_type(), MessageType::TIMESYNC);
    HostTime::parse(version, &request.body).unwrap()
}

/// Takes and answers a message.
fn taken(guest: &mut Guest, version: Version) -> HostTime {
    let request = guest.expect();
    guest.answer(&request, Status::OK, &[]);
    told(&request, version)
}

#[test]
fn the_first_time_is_an_order_and_the_others_are_hints() {
    for (version, length) in [(V1_0, 25), (V3_0, 25), (V4_0, 22)] {
        let mut guest = Guest::ready(service(), V3_0, version);
        for round in 0..4 {
            let request = guest.expect();
            assert_eq!(request.body.len(), length);
            guest.answer(&request, Status::OK, &[]);
            let time = told(&request, version);
            let passed = units(guest.now);
            assert_eq!(time.time, WALL_CLOCK + passed);
            let reference = (version == V4_0).then_some(REFERENCE_TIME + passed);
            assert_eq!(time.reference_time, reference);
            let flags = if round == 0 {
                Flags::SYNC
            } else {
                Flags::SAMPLE
            };
            assert_eq!(time.flags, flags);
            guest.pass(Duration::from_secs(5));
        }
        assert_eq!(
            (guest.status("synced"), guest.status("sampled")),
            (json!(1), json!(4))
        );
    }
}

#[test]
fn a_shift_stays() {
    let mut guest = Guest::ready(service(), V3_0, V4_0);
    taken(&mut guest, V4_0);
    let asked = guest.control("timesync", json!({"offset_ms": -3_600_000}));
    assert_eq!(asked.answer(), None);
    let time = taken(&mut guest, V4_0);
    let hour = units(Duration::from_secs(3600));
    assert_eq!(time.time, WALL_CLOCK + units(guest.now) - hour);
    assert_eq!(time.flags, Flags::SYNC);
    let unix = u128::from(time.time - UNIX_EPOCH) * 100;
    assert_eq!(asked.only().unwrap()["unix_ns"], unix.to_string());
    guest.pass(Duration::from_secs(5));
    let time = taken(&mut guest, V4_0);
    assert_eq!(
        (time.time, time.flags),
        (WALL_CLOCK + units(guest.now) - hour, Flags::SAMPLE)
    );
}

#[test]
fn the_clock_can_be_set() {
    let mut guest = Guest::ready(service(), V3_0, V4_0);
    taken(&mut guest, V4_0);
    let _asked = guest.control("timesync", json!({"unix_ms": 1_000, "sample": true}));
    let time = taken(&mut guest, V4_0);
    assert_eq!(
        (time.time, time.flags),
        (UNIX_EPOCH + 10_000_000, Flags::SAMPLE)
    );
}

#[test]
fn an_old_time_is_consistent_with_its_reference_time() {
    let mut guest = Guest::ready(service(), V3_0, V4_0);
    taken(&mut guest, V4_0);
    let _asked = guest.control("timesync", json!({"age_ms": 1_200}));
    let time = taken(&mut guest, V4_0);
    assert_eq!(time.time, WALL_CLOCK + units(guest.now) - 12_000_000);
    assert_eq!(
        time.reference_time,
        Some(REFERENCE_TIME + units(guest.now) - 12_000_000)
    );
}

#[test]
fn hints_can_be_stopped() {
    let mut guest = Guest::ready(service(), V3_0, V4_0);
    taken(&mut guest, V4_0);
    let asked = guest.control("timesync", json!({"interval_ms": 0}));
    taken(&mut guest, V4_0);
    assert!(asked.only().is_ok());
    guest.pass(Duration::from_secs(1000));
    assert!(guest.take().is_none());
}

#[test]
fn times_out_of_range_are_refused() {
    let mut guest = Guest::ready(service(), V3_0, V4_0);
    taken(&mut guest, V4_0);
    for arguments in [
        json!({"offset_ms": i64::MAX}),
        json!({"unix_ms": i64::MIN}),
        json!({"unix_ms": 1, "offset_ms": 1}),
        json!({"offset_ms": "1"}),
    ] {
        assert!(guest.control("timesync", arguments).only().is_err());
    }
    assert!(guest.take().is_none());
}

#[test]
fn a_refusal_and_silence_are_errors() {
    let mut guest = Guest::ready(service(), V3_0, V4_0);
    taken(&mut guest, V4_0);
    let asked = guest.control("timesync", json!({}));
    let request = guest.expect();
    guest.answer(&request, Status::FAIL, &[]);
    assert!(asked.only().unwrap_err().contains("FAIL"));
    let asked = guest.control("timesync", json!({}));
    guest.pass(Duration::from_secs(10));
    assert!(asked.only().unwrap_err().contains("in time"));
    assert_eq!(guest.status("unanswered"), 1);
}
