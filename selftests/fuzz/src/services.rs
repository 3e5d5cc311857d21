// SPDX-License-Identifier: GPL-2.0

//! The services that the driver answers itself, towards a host that sends anything.

use hv_utils_proto::guest::{Endpoint, Incoming};
use hv_utils_proto::heartbeat::{respond, ApplicationState, Beat};
use hv_utils_proto::shutdown;
use hv_utils_proto::timesync::{HostClock, HostTime, MAX_AGE, NANOSECONDS_PER_UNIT};
use hv_utils_proto::{Prefix, Service, Status};

use crate::input::Input;

/// The longest packet.
const MAX_PACKET: usize = 4096;

/// Packets of shutdown, heartbeat and time. What is an answer has the length of the packet, is its transaction's, and says
/// nothing that it should not.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    let service = match input.u8() % 3 {
        0 => Service::Shutdown,
        1 => Service::Heartbeat,
        _ => Service::Timesync,
    };
    let mut endpoint = Endpoint::new(service);
    let mut clock = HostClock::new();
    let mut now: u64 = 0;
    while !input.is_empty() {
        now = now.saturating_add(u64::from(input.u32()) << (input.u8() % 32));
        let len = usize::from(input.u8());
        let mut payload = input.bytes(len).to_vec();
        payload.resize(usize::from(input.u16()) % MAX_PACKET, input.u8());
        let before = payload.clone();
        let versions = endpoint.versions();
        match endpoint.handle(&mut payload) {
            Ok(Incoming::Request(request)) => {
                assert_eq!(versions.map(|(_, version)| version), Some(request.version));
                let good = match service {
                    Service::Shutdown => shutdown::Request::parse(request.body)
                        .is_ok_and(|asked| asked.flags().action().is_some()),
                    Service::Heartbeat => beat(request.version, request.body),
                    _ => tell(&mut clock, request.version, request.body, now),
                };
                request.answer(if good { Status::OK } else { Status::FAIL });
            }
            Ok(Incoming::Negotiated(chosen)) => assert_eq!(chosen, endpoint.versions()),
            Ok(Incoming::Refused(_)) => {}
            Err(_) => continue,
        }
        let (asked, _) = Prefix::parse(&before).expect("it has been answered");
        let (answer, _) = Prefix::parse(&payload).expect("as above");
        assert_eq!(payload.len(), before.len());
        assert_eq!(answer.message_type(), asked.message_type());
        assert_eq!(answer.flags().bits(), 5);
    }
}

/// A heartbeat: the next number, and nothing else changes but the state.
fn beat(version: hv_utils_proto::Version, body: &mut [u8]) -> bool {
    let before = Beat::parse(body);
    let after = body.get(12..).map(<[u8]>::to_vec);
    if respond(version, ApplicationState::HEALTHY, body).is_err() {
        assert!(before.is_err());
        return false;
    }
    let ((before, _), (next, _)) = (before.unwrap(), Beat::parse(body).unwrap());
    assert_eq!(next, before.wrapping_add(1));
    assert_eq!(body.get(12..).map(<[u8]>::to_vec), after);
    true
}

/// A time: what the clock shows goes on from there, until it is too old.
fn tell(clock: &mut HostClock, version: hv_utils_proto::Version, body: &[u8], now: u64) -> bool {
    let Ok(told) = HostTime::parse(version, body) else {
        return false;
    };
    clock.set(&told, now);
    let shown = clock.read(now);
    if let Ok(later) = clock.read(now.saturating_add(1)) {
        let shown = shown.expect("a younger time is not stale");
        assert!(later == shown + NANOSECONDS_PER_UNIT || now == u64::MAX);
    }
    if let Some(too_late) = now.checked_add(MAX_AGE + 1) {
        assert!(clock.read(too_late).is_err());
    }
    assert!(clock
        .step(told.flags, now, None)
        .is_none_or(|step| Ok(step) == shown));
    true
}
