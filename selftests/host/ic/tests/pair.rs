// SPDX-License-Identifier: GPL-2.0

//! Both ends of the services, over real rings in a guest's memory and in simulated time.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "A test may panic."
)]

use core::time::Duration;
use hv_utils_proto::guest::{Endpoint, Incoming};
use hv_utils_proto::heartbeat::{self, ApplicationState};
use hv_utils_proto::timesync::{HostClock, HostTime, UNIX_EPOCH};
use hv_utils_proto::{fcopy, kvp, shutdown, vss, Service, Status, Version};
use ic_vsp::{all, Ic, Negotiation, Options};
use serde_json::{json, Value};
use std::collections::BTreeMap;
use std::sync::mpsc::{channel, Receiver};
use vmbus_host::sim::{Received, Sim};
use vmbus_host::Reply;
use vmbus_proto::Relid;
use vmbus_ring::OutgoingPacket;

#[path = "pair/daemons.rs"]
mod daemons;

/// Size of each ring in pages, its control page included: that of hv_utils, and that of uio_hv_generic for fcopy.
fn ring_pages(service: Service) -> usize {
    match service {
        Service::Fcopy => 5,
        _ => 4,
    }
}

/// The guest's end of one service, with something behind it that does what it is asked for.
struct Driver {
    service: Service,
    relid: Relid,
    endpoint: Endpoint,
    /// Requests that were answered.
    served: u32,
    /// What the host asked a shutdown for.
    down: Option<shutdown::Action>,
    /// What the host said the time is.
    clock: HostClock,
    /// The guest's pairs.
    pairs: BTreeMap<String, [u8; size_of::<kvp::Pair>()]>,
    /// Whether the file systems are frozen.
    frozen: bool,
    /// The file that was copied.
    file: Vec<u8>,
}

impl Driver {
    /// Opens the channel.
    fn open(sim: &mut Sim, service: Service) -> Self {
        let relid = sim.wait_offer(service.class());
        let pages = ring_pages(service);
        sim.open(relid, pages, pages, [0; 120]).unwrap();
        Self {
            service,
            relid,
            endpoint: Endpoint::new(service),
            served: 0,
            down: None,
            clock: HostClock::new(),
            pairs: BTreeMap::new(),
            frozen: false,
            file: Vec::new(),
        }
    }

    /// Answers all that came.
    fn serve(&mut self, sim: &mut Sim) {
        for _ in 0..10_000 {
            let Some(packet) = sim.receive(self.relid) else {
                return;
            };
            self.answer(sim, packet);
        }
        panic!("the host never stops asking");
    }

    /// Answers one packet.
    fn answer(&mut self, sim: &mut Sim, packet: Received) {
        let mut payload = packet.payload;
        match self.endpoint.handle(&mut payload) {
            Ok(Incoming::Request(request)) => {
                let now = u64::try_from(sim.now().as_nanos() / 100).unwrap();
                let status = match self.service {
                    Service::Kvp => self.pair(request.body),
                    _ => self.act(request.version, request.body, now),
                };
                self.served += 1;
                request.answer(status);
            }
            Ok(Incoming::Negotiated(_) | Incoming::Refused(_)) => {}
            // Faults make such messages.
            Err(_) => return,
        }
        sim.send(self.relid, &OutgoingPacket::in_band(&[&payload]));
    }

    /// Does what a request asks for.
    fn act(&mut self, version: Version, body: &mut [u8], now: u64) -> Status {
        match self.service {
            Service::Shutdown => {
                let Ok(request) = shutdown::Request::parse(body) else {
                    return Status::FAIL;
                };
                self.down = request.flags().action();
            }
            Service::Heartbeat => {
                heartbeat::respond(version, ApplicationState::HEALTHY, body).unwrap();
            }
            Service::Timesync => {
                let told = HostTime::parse(version, body).unwrap();
                self.clock.set(&told, now);
            }
            Service::Vss => match vss::Message::parse(body).unwrap().operation {
                vss::Operation::FREEZE => self.frozen = true,
                vss::Operation::THAW => self.frozen = false,
                _ => {}
            },
            Service::Fcopy => match fcopy::Body::parse(body).unwrap() {
                fcopy::Body::Start(_) => self.file.clear(),
                fcopy::Body::Write(write) => self.file.extend_from_slice(write.data().unwrap()),
                _ => {}
            },
            Service::Kvp => panic!("see pair"),
        }
        Status::OK
    }

    /// Keeps and returns pairs.
    fn pair(&mut self, body: &mut [u8]) -> Status {
        let (_, parsed) = kvp::Body::parse(body).unwrap();
        match parsed {
            kvp::Body::Set(pair) => {
                let key: String = pair.key().unwrap().collect();
                self.pairs.insert(key, zerocopy::transmute!(*pair));
            }
            kvp::Body::Get(pair) => {
                let key: String = pair.key().unwrap().collect();
                let Some(pair) = self.pairs.get(&key) else {
                    return Status::NO_MORE_ITEMS;
                };
                body[4..][..pair.len()].copy_from_slice(pair);
            }
            _ => return Status::NOT_SUPPORTED,
        }
        Status::OK
    }
}

/// A host with the services, and a guest that is connected.
fn connected(devices: Vec<Ic>) -> Sim {
    let mut sim = Sim::new();
    for ic in devices {
        sim.add(ic.name(), ic);
    }
    sim.connect(vmbus_proto::Version::V5_3);
    sim
}

/// A member of a service's status.
fn status(sim: &mut Sim, service: Service, name: &str) -> Value {
    let list = sim.control(json!({"command": "list"})).unwrap();
    let mut devices = list.as_array().unwrap().iter();
    let device = devices.find(|device| device["name"] == service.name());
    device.unwrap()["status"][name].clone()
}

/// Asks as the control socket does, without waiting.
fn ask(sim: &mut Sim, service: Service, request: Value) -> Receiver<Result<Value, String>> {
    let (send, answer) = channel();
    let Value::Object(mut request) = request else {
        panic!("a request is an object");
    };
    request.insert("device".into(), service.name().into());
    let reply = Reply::new(move |result| {
        // The test may not care.
        let _ = send.send(result);
    });
    sim.host.control(request, reply);
    sim.run();
    answer
}

#[test]
fn every_service_works_over_its_rings() {
    let mut sim = connected(all(Options::default()));
    let mut drivers = Service::ALL.map(|service| Driver::open(&mut sim, service));
    for driver in &mut drivers {
        let service = driver.service;
        driver.serve(&mut sim);
        assert_eq!(status(&mut sim, service, "state"), "ready");
        let best = service.message_versions()[0];
        assert_eq!(status(&mut sim, service, "version"), best.to_string());
        let request = match service {
            Service::Shutdown => json!({"command": "shutdown", "reboot": true}),
            Service::Heartbeat => continue,
            Service::Timesync => json!({"command": "timesync", "offset_ms": 5000}),
            Service::Kvp => json!({"command": "set", "pool": 0, "key": "k", "value": "🙂"}),
            Service::Vss => json!({"command": "freeze"}),
            Service::Fcopy => json!({"command": "copy_file", "path": "/f", "size": 1_000_000}),
        };
        let asked = ask(&mut sim, service, request);
        driver.serve(&mut sim);
        assert!(asked.try_recv().unwrap().is_ok());
    }
    let [shutdown, _, timesync, kvp, vss, fcopy] = &mut drivers;
    assert_eq!(shutdown.down, Some(shutdown::Action::Restart));
    let now = u64::try_from(sim.now().as_nanos()).unwrap();
    // See the clock of the simulation.
    let start = (132_223_104_000_000_000 - UNIX_EPOCH) * 100;
    assert_eq!(
        timesync.clock.read(now / 100),
        Ok(start + now + 5_000_000_000)
    );
    assert!(vss.frozen);
    assert!(fcopy
        .file
        .iter()
        .copied()
        .eq((0..1_000_000u32).map(|at| u8::try_from(at % 251).unwrap())));
    let asked = ask(
        &mut sim,
        Service::Kvp,
        json!({"command": "get", "pool": 0, "key": "k"}),
    );
    kvp.serve(&mut sim);
    assert_eq!(asked.try_recv().unwrap(), Ok(json!("🙂")));
    for driver in &mut drivers {
        assert_eq!(status(&mut sim, driver.service, "malformed"), 0);
        assert_eq!(status(&mut sim, driver.service, "unexpected"), 0);
        assert!(sim.close(driver.relid));
    }
}

#[test]
fn a_living_guest_is_seen_to_live() {
    let mut sim = connected(vec![Ic::heartbeat(ic_vsp::HeartbeatOptions::default())]);
    let mut driver = Driver::open(&mut sim, Service::Heartbeat);
    for _ in 0..10 {
        driver.serve(&mut sim);
        sim.advance(Duration::from_secs(2));
    }
    assert_eq!(status(&mut sim, Service::Heartbeat, "beats"), 10);
    assert_eq!(
        status(&mut sim, Service::Heartbeat, "application_state"),
        "healthy"
    );
    assert_eq!(status(&mut sim, Service::Heartbeat, "lost"), false);
}

/// A service that offers these message versions.
fn offering(service: Service, message: &[Version]) -> Ic {
    let mut options = Options::default();
    let negotiation = Negotiation {
        message: message.to_vec(),
        ..Negotiation::of(service)
    };
    match service {
        Service::Shutdown => options.shutdown.negotiation = negotiation,
        Service::Heartbeat => options.heartbeat.negotiation = negotiation,
        Service::Timesync => options.timesync.negotiation = negotiation,
        Service::Kvp => options.kvp.negotiation = negotiation,
        Service::Vss => options.vss.negotiation = negotiation,
        Service::Fcopy => options.fcopy.negotiation = negotiation,
    }
    let mut devices = all(options);
    let at = devices.iter().position(|ic| ic.name() == service.name());
    devices.swap_remove(at.unwrap())
}

#[test]
fn the_guest_chooses_the_best_of_whatever_is_offered() {
    for service in Service::ALL {
        let known = service.message_versions();
        let unknown = [Version::new(2, 7), Version::new(9, 0)];
        for set in 0u32..1 << known.len() {
            let chosen = known
                .iter()
                .enumerate()
                .filter(|(at, _)| set & (1 << at) != 0);
            let mut offered: Vec<Version> = chosen.map(|(_, version)| *version).collect();
            let best = offered.first().copied();
            offered.reverse();
            offered.extend(unknown);
            let mut sim = connected(vec![offering(service, &offered)]);
            let mut driver = Driver::open(&mut sim, service);
            driver.serve(&mut sim);
            let version = best.map(|version| version.to_string());
            assert_eq!(
                status(&mut sim, service, "version"),
                json!(version),
                "{service:?} {offered:?}"
            );
            assert_eq!(driver.endpoint.versions().map(|(_, message)| message), best);
        }
    }
}

#[test]
fn a_rescind_in_the_middle_of_a_request_answers_it_and_the_next_guest_is_served() {
    let mut sim = connected(all(Options::default()));
    for (service, request) in [
        (Service::Shutdown, json!({"command": "shutdown"})),
        (Service::Timesync, json!({"command": "timesync"})),
        (
            Service::Kvp,
            json!({"command": "get", "pool": 0, "key": "k"}),
        ),
        (Service::Vss, json!({"command": "backup"})),
        (
            Service::Fcopy,
            json!({"command": "copy_file", "path": "/f", "size": 9999}),
        ),
    ] {
        let mut driver = Driver::open(&mut sim, service);
        driver.serve(&mut sim);
        let asked = ask(&mut sim, service, request.clone());
        let rescinded = ask(&mut sim, service, json!({"command": "rescind"}));
        assert!(rescinded.try_recv().unwrap().is_ok());
        let error = asked.try_recv().unwrap().unwrap_err();
        assert!(error.contains("closed"), "{error}");
        assert_eq!(status(&mut sim, service, "state"), "closed");
        sim.close(driver.relid);
        if let Ok(message) = sim.client.release(driver.relid) {
            sim.post(&message);
        }
        let offered = ask(&mut sim, service, json!({"command": "reoffer"}));
        assert!(offered.try_recv().unwrap().is_ok());
        let mut driver = Driver::open(&mut sim, service);
        driver.serve(&mut sim);
        let asked = ask(&mut sim, service, request);
        for _ in 0..3 {
            driver.serve(&mut sim);
            sim.advance(Duration::from_millis(10));
        }
        let answer = asked.try_recv().unwrap();
        assert!(!answer.is_err_and(|error| error.contains("closed")));
        sim.close(driver.relid);
    }
}

/// Has the requests of a service answered, or not, while packets go astray; each must be answered once in bounded time.
fn with_fault(service: Service, request: &Value, rule: Value) -> (u32, u32) {
    let mut sim = connected(all(Options::default()));
    let mut driver = Driver::open(&mut sim, service);
    driver.serve(&mut sim);
    sim.fault(rule);
    let (mut good, mut bad) = (0, 0);
    for _ in 0..30 {
        let asked = ask(&mut sim, service, request.clone());
        let answer = (0..1000).find_map(|_| {
            driver.serve(&mut sim);
            sim.advance(Duration::from_millis(100));
            asked.try_recv().ok()
        });
        match answer {
            Some(Ok(_)) => good += 1,
            Some(Err(_)) => bad += 1,
            None => panic!("{service:?}: no answer"),
        }
        assert!(asked.try_recv().is_err(), "a second answer");
    }
    (good, bad)
}

#[test]
fn no_fault_leaves_a_request_without_an_answer() {
    for (service, request) in [
        (
            Service::Shutdown,
            json!({"command": "shutdown", "timeout_ms": 1000}),
        ),
        (Service::Timesync, json!({"command": "timesync"})),
        (
            Service::Kvp,
            json!({"command": "set", "pool": 0, "key": "k", "value": 1, "timeout_ms": 1000}),
        ),
        (
            Service::Vss,
            json!({"command": "backup", "hold_ms": 50, "timeout_ms": 1000}),
        ),
        (
            Service::Fcopy,
            json!({"command": "copy_file", "path": "/f", "size": 9999, "timeout_ms": 1000}),
        ),
    ] {
        for direction in ["to-guest", "from-guest"] {
            for action in [
                json!("drop"),
                json!("duplicate"),
                json!("reorder"),
                json!({"delay_ms": 1500}),
                json!({"truncate": 20}),
                // The type, the length and the transaction id of the message, and the start of the body.
                json!({"corrupt": {"offset": 12, "xor": 6}}),
                json!({"corrupt": {"offset": 18, "xor": 0xffff}}),
                json!({"corrupt": {"offset": 24, "xor": 1}}),
                json!({"corrupt": {"offset": 28, "xor": 0x40}}),
            ] {
                let rule = json!({"channel": service.name(), "direction": direction, "probability": 0.3, "action": action});
                let (good, bad) = with_fault(service, &request, rule.clone());
                assert!(good > 0, "{rule}: {good} succeeded and {bad} failed");
            }
        }
    }
}
