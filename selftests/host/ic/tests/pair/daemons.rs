// SPDX-License-Identifier: GPL-2.0

//! KVP and VSS as hv_utils has them, against the host's services: every version, with every fault on the channel, and with
//! every daemon that there may be.

use super::{ask, connected, status};
use core::time::Duration;
use hv_utils_proto::guest::{Endpoint, Incoming};
use hv_utils_proto::kvp::{self, Kvp};
use hv_utils_proto::relay::{Answer, Protocol, Relay};
use hv_utils_proto::vss::{Operation, Timeouts, Vss};
use hv_utils_proto::{Prefix, Service, Version};
use ic_vsp::{Ic, KvpOptions, Negotiation, VssOptions};
use serde_json::{json, Value};
use std::sync::mpsc::Receiver;
use vmbus_host::sim::Sim;
use vmbus_proto::Relid;
use vmbus_ring::OutgoingPacket;

/// How long the daemon may take, in milliseconds.
const TIMEOUT: u64 = 2000;
/// How long the host waits for the guest, which is longer.
const HOST_TIMEOUT: u64 = 5000;
/// The time in one step of a test, in milliseconds.
const STEP: u64 = 100;

/// A service in both its parts.
trait Daemonic: Protocol {
    /// Which.
    const SERVICE: Service;

    fn new() -> Self;

    /// The host's end, with one version of each kind if they are given.
    fn host(versions: Option<(Version, Version)>) -> Ic;

    /// What a daemon writes first.
    fn registration() -> u8;

    /// The daemon's work: a message becomes its answer.
    fn work(store: &mut Store, message: &mut [u8]);

    /// What the host is asked for, and what it says if all goes well, one after the other.
    fn conversation(version: Version) -> Vec<(Value, Value)>;
}

/// What a daemon keeps beyond its own life.
#[derive(Default)]
struct Store {
    /// Pool, and key and value as the files of the pools have them.
    pairs: Vec<(u8, Vec<u8>, Vec<u8>)>,
    /// Whether the file systems are frozen.
    frozen: bool,
}

/// How a daemon is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// It answers at once.
    Good,
    /// It never comes.
    Absent,
    /// It answers when the request was given up.
    Late,
    /// It reads and never answers.
    Silent,
    /// It dies with each second request, having done it, and is started again.
    Mortal,
    /// It writes what nobody asked for, of every size, and answers with other bytes.
    Mad,
}

/// A request or an offer: the packet's payload.
struct Message(Vec<u8>);

impl AsMut<[u8]> for Message {
    fn as_mut(&mut self) -> &mut [u8] {
        Prefix::parse_mut(&mut self.0).unwrap().1
    }
}

/// The guest's end: the state between channel and daemon, and the daemon.
struct Guest<P> {
    relid: Relid,
    endpoint: Endpoint,
    relay: Relay<P, Vec<u8>, Message, Message>,
    store: Store,
    manner: Manner,
    /// Whether the daemon has the device open.
    running: bool,
    /// When it will write what.
    work: Option<(u64, Vec<u8>)>,
    /// Requests that it has read.
    read: u32,
}

impl<P: Daemonic> Guest<P> {
    fn open(sim: &mut Sim, manner: Manner) -> Self {
        let relid = sim.wait_offer(P::SERVICE.class());
        sim.open(relid, 4, 4, [0; 120]).unwrap();
        Self {
            relid,
            endpoint: Endpoint::new(P::SERVICE),
            relay: Relay::new(P::new(), vec![0; P::MESSAGE_SIZE]),
            store: Store::default(),
            manner,
            running: false,
            work: None,
            read: 0,
        }
    }

    /// Does all that can be done now.
    fn run(&mut self, sim: &mut Sim) {
        let now = u64::try_from(sim.now().as_millis()).unwrap();
        while let Some(packet) = sim.receive(self.relid) {
            self.receive(sim, packet.payload, now);
        }
        if self.relay.deadline().is_some_and(|due| due <= now) {
            self.relay.expire(now);
        }
        self.act(now);
        self.answer(sim);
    }

    fn receive(&mut self, sim: &mut Sim, mut payload: Vec<u8>, now: u64) {
        match self.endpoint.handle(&mut payload) {
            Ok(Incoming::Request(_)) => self.relay.requested(Message(payload), now),
            Ok(Incoming::Negotiated(_)) => self.relay.offered(Message(payload), now),
            Ok(Incoming::Refused(_)) => {
                sim.send(self.relid, &OutgoingPacket::in_band(&[&payload]));
            }
            // Faults make such messages.
            Err(_) => {}
        }
        self.answer(sim);
    }

    fn answer(&mut self, sim: &mut Sim) {
        while let Some(answer) = self.relay.next_answer() {
            let payload = match answer {
                Answer::Offer(Message(payload)) => payload,
                Answer::Request(Message(mut payload), status) => {
                    Prefix::parse_mut(&mut payload).unwrap().0.answer(status);
                    payload
                }
            };
            sim.send(self.relid, &OutgoingPacket::in_band(&[&payload]));
        }
    }

    /// The daemon's part.
    fn act(&mut self, now: u64) {
        if self.manner == Manner::Absent {
            return;
        }
        if !self.running {
            assert!(self.relay.daemon_opens());
            let mut message = vec![0; P::MESSAGE_SIZE];
            message[0] = P::registration();
            self.relay.daemon_writes(&message, now).unwrap();
            self.running = true;
        }
        // Bounded: what never ends is a defect.
        for _ in 0..100 {
            if self.work.as_ref().is_some_and(|(due, _)| *due <= now) {
                let (_, message) = self.work.take().unwrap();
                self.relay.daemon_writes(&message, now).unwrap();
            }
            if self.manner == Manner::Mad {
                assert!(self.relay.daemon_writes(&[1; 3], now).is_err());
                if self.work.is_none() {
                    assert!(self
                        .relay
                        .daemon_writes(&vec![7; P::MESSAGE_SIZE], now)
                        .is_err());
                }
            }
            let mut message = vec![0; P::MESSAGE_SIZE];
            if self.work.is_some() || !self.take(&mut message) {
                return;
            }
            let greeting = self.read == 1;
            if greeting {
                continue;
            }
            P::work(&mut self.store, &mut message);
            let delay = match self.manner {
                Manner::Late => TIMEOUT + 300,
                Manner::Silent => u64::MAX - now,
                _ => 0,
            };
            if self.manner == Manner::Mad && !self.store.frozen {
                message = vec![u8::try_from(self.read % 251).unwrap(); P::MESSAGE_SIZE];
            }
            if self.manner == Manner::Mortal && self.read % 2 == 0 {
                self.kill(now);
                return;
            }
            self.work = Some((now + delay, message));
        }
        panic!("the daemon has always something to do");
    }

    fn take(&mut self, message: &mut [u8]) -> bool {
        let read = self.relay.readable().is_some();
        assert_eq!(self.relay.daemon_reads(message).is_some(), read);
        self.read += u32::from(read);
        read
    }

    /// The daemon ends.
    fn kill(&mut self, now: u64) {
        if core::mem::take(&mut self.running) {
            self.relay.daemon_gone(now);
        }
        self.work = None;
        self.read = 0;
    }

    /// The daemon is good from now on. One that never answers must be replaced.
    fn recovers(&mut self, sim: &Sim) {
        if self.manner == Manner::Silent {
            self.kill(u64::try_from(sim.now().as_millis()).unwrap());
        }
        self.manner = Manner::Good;
    }

    /// Waits for an answer of the control socket, which comes exactly once.
    fn wait(
        &mut self,
        sim: &mut Sim,
        asked: &Receiver<Result<Value, String>>,
    ) -> Result<Value, String> {
        for _ in 0..1000 {
            self.run(sim);
            if let Ok(answer) = asked.try_recv() {
                assert!(asked.try_recv().is_err(), "a second answer");
                return answer;
            }
            sim.advance(Duration::from_millis(STEP));
        }
        panic!("{:?}: no answer", P::SERVICE);
    }

    /// Asks the host, and waits.
    fn ask(&mut self, sim: &mut Sim, request: &Value) -> Result<Value, String> {
        let asked = ask(sim, P::SERVICE, request.clone());
        self.wait(sim, &asked)
    }

    /// Waits until the versions are agreed, or the host does not try any more.
    fn settle(&mut self, sim: &mut Sim) {
        for _ in 0..10_000 {
            self.run(sim);
            if status(sim, P::SERVICE, "state") != "negotiating" {
                return;
            }
            sim.advance(Duration::from_millis(STEP));
        }
        panic!("the host never stops to negotiate");
    }
}

impl Daemonic for Kvp {
    const SERVICE: Service = Service::Kvp;

    fn new() -> Self {
        Self::new(10_000, TIMEOUT)
    }

    fn host(versions: Option<(Version, Version)>) -> Ic {
        let mut options = KvpOptions {
            timeout: Duration::from_millis(HOST_TIMEOUT),
            ..KvpOptions::default()
        };
        if let Some((framework, message)) = versions {
            options.negotiation = options.negotiation.only(framework, message);
        }
        Ic::kvp(options)
    }

    fn registration() -> u8 {
        100
    }

    /// As that of Linux: keys and values are compared and copied by the sizes in the message.
    fn work(store: &mut Store, message: &mut [u8]) {
        let size = |message: &[u8], at: usize| {
            usize::try_from(u32::from_le_bytes(message[at..at + 4].try_into().unwrap())).unwrap()
        };
        let (operation, pool) = (message[0], message[1]);
        let (key_size, value_size) = (size(message, 8), size(message, 12));
        let mut error = 0u32;
        match operation {
            0 | 1 => {
                let key = message[16..16 + key_size].to_vec();
                let found = store
                    .pairs
                    .iter_mut()
                    .find(|(of, known, _)| *of == pool && known.starts_with(&key));
                let value = 528..528 + value_size;
                match (operation, found) {
                    (0, Some((_, _, known))) => {
                        message[value].copy_from_slice(&known[..value_size])
                    }
                    (1, Some((_, _, known))) => {
                        known[..value_size].copy_from_slice(&message[value])
                    }
                    (1, None) => {
                        let mut pair = (pool, key, message[value].to_vec());
                        pair.1.resize(512, 0);
                        pair.2.resize(2048, 0);
                        store.pairs.push(pair);
                    }
                    _ => error = 0x8007_0103,
                }
            }
            2 => {
                let key = message[8..8 + size(message, 4)].to_vec();
                let at = store
                    .pairs
                    .iter()
                    .position(|(of, known, _)| *of == pool && known.starts_with(&key));
                match at {
                    Some(at) => drop(store.pairs.remove(at)),
                    None => error = 0x8007_0103,
                }
            }
            3 => {
                let index = size(message, 4);
                match store.pairs.iter().filter(|(of, ..)| *of == pool).nth(index) {
                    Some((_, key, value)) => {
                        message[20..532].copy_from_slice(key);
                        message[532..2580].copy_from_slice(value);
                    }
                    None => error = 0x8007_0103,
                }
            }
            4 => message[4 + 258..][..9].copy_from_slice(b"10.0.0.1;"),
            _ => assert!(message[4 + 258..].starts_with(b"10.0.0.2\0")),
        }
        message[..4].copy_from_slice(&error.to_le_bytes());
    }

    fn conversation(version: Version) -> Vec<(Value, Value)> {
        let mut conversation = vec![
            (
                json!({"command": "set", "pool": 1, "key": "ключ", "value": "🙂 €"}),
                Value::Null,
            ),
            (
                json!({"command": "set", "pool": 1, "key": "n", "value": 77}),
                Value::Null,
            ),
            (
                json!({"command": "get", "pool": 1, "key": "ключ"}),
                json!("🙂 €"),
            ),
            (
                json!({"command": "get", "pool": 1, "key": "n"}),
                json!("77"),
            ),
            (
                json!({"command": "enumerate", "pool": 1}),
                json!([{"key": "ключ", "value": "🙂 €"}, {"key": "n", "value": "77"}]),
            ),
            (
                json!({"command": "delete", "pool": 1, "key": "ключ"}),
                Value::Null,
            ),
            (
                json!({"command": "delete", "pool": 1, "key": "n"}),
                Value::Null,
            ),
            (json!({"command": "enumerate", "pool": 1}), json!([])),
        ];
        if version >= kvp::IP_VERSION {
            let addresses = json!({
                "adapter_id": "x", "family": "ipv4", "dhcp": false, "addresses": ["10.0.0.1"],
                "subnets": [], "gateways": [], "dns_servers": [],
            });
            conversation.push((json!({"command": "get_ip", "adapter_id": "x"}), addresses));
            conversation.push((
                json!({"command": "set_ip", "adapter_id": "x", "addresses": ["10.0.0.2"]}),
                Value::Null,
            ));
        }
        conversation
    }
}

impl Daemonic for Vss {
    const SERVICE: Service = Service::Vss;

    fn new() -> Self {
        Self::new(Timeouts {
            freeze: TIMEOUT,
            request: TIMEOUT,
            frozen: 60_000,
        })
    }

    fn host(versions: Option<(Version, Version)>) -> Ic {
        let mut options = VssOptions {
            timeout: Duration::from_millis(HOST_TIMEOUT),
            ..VssOptions::default()
        };
        if let Some((framework, message)) = versions {
            options.negotiation = options.negotiation.only(framework, message);
        }
        Ic::vss(options)
    }

    fn registration() -> u8 {
        129
    }

    fn work(store: &mut Store, message: &mut [u8]) {
        match Operation(message[0]) {
            Operation::FREEZE => store.frozen = true,
            Operation::THAW => store.frozen = false,
            Operation::HOT_BACKUP => {}
            other => panic!("the daemon does not know {other:?}"),
        }
        message[..4].fill(0);
    }

    fn conversation(_: Version) -> Vec<(Value, Value)> {
        let flags = json!({"hot_backup": 5, "dm_info": 0});
        vec![
            (json!({"command": "check"}), flags.clone()),
            (json!({"command": "freeze"}), Value::Null),
            (json!({"command": "thaw"}), Value::Null),
            (json!({"command": "backup", "hold_ms": 300}), flags),
        ]
    }
}

/// What may happen to a packet.
fn faults() -> Vec<Value> {
    let mut rules = Vec::new();
    for direction in ["to-guest", "from-guest"] {
        for action in [
            json!("drop"),
            json!("duplicate"),
            json!("reorder"),
            json!({"delay_ms": 1500}),
            json!({"truncate": 20}),
            json!({"truncate": 31}),
            // The type, the length and the transaction id of the message, then the operation, the pool, and sizes.
            json!({"corrupt": {"offset": 12, "xor": 6}}),
            json!({"corrupt": {"offset": 18, "xor": 0xffff}}),
            json!({"corrupt": {"offset": 24, "xor": 1}}),
            json!({"corrupt": {"offset": 28, "xor": 0x42}}),
            json!({"corrupt": {"offset": 29, "xor": 0xf0}}),
            json!({"corrupt": {"offset": 36, "xor": 0x8001}}),
        ] {
            rules.push(json!({"direction": direction, "probability": 0.4, "action": action}));
        }
    }
    rules
}

/// One cell of the matrix: whatever is said is answered once, and when all is well again, all works again.
fn survives<P: Daemonic>(
    versions: Option<(Version, Version)>,
    fault: Option<&Value>,
    manner: Manner,
) {
    let mut sim = connected(vec![P::host(versions)]);
    let mut guest = Guest::<P>::open(&mut sim, manner);
    guest.settle(&mut sim);
    let chosen = versions
        .unwrap_or((Version::new(3, 0), P::SERVICE.message_versions()[0]))
        .1;
    assert_eq!(status(&mut sim, P::SERVICE, "version"), chosen.to_string());
    if let Some(fault) = fault {
        let mut rule = fault.clone();
        rule["channel"] = P::SERVICE.name().into();
        sim.fault(rule);
    }
    let conversation = P::conversation(chosen);
    for (request, expected) in &conversation {
        let answer = guest.ask(&mut sim, request);
        if fault.is_none() && manner == Manner::Good {
            assert_eq!(answer, Ok(expected.clone()), "{request}");
        }
        let may_succeed =
            matches!(manner, Manner::Good | Manner::Mortal | Manner::Mad) || fault.is_some();
        assert!(
            answer.is_err() || may_succeed || request["command"] == "check",
            "{manner:?} {request}"
        );
    }
    if P::SERVICE == Service::Vss {
        // Nobody thaws.
        let _ = guest.ask(&mut sim, &json!({"command": "freeze"}));
    }
    sim.control(json!({"command": "faults_clear"})).unwrap();
    guest.recovers(&sim);
    // What was delayed comes, and what was left undone is done.
    for _ in 0..100 {
        guest.run(&mut sim);
        sim.advance(Duration::from_secs(1));
    }
    assert!(!guest.store.frozen, "{versions:?} {fault:?} {manner:?}");
    // A request that was given up or corrupt may have left a pair.
    guest.store.pairs.clear();
    for (request, expected) in &conversation {
        let answer = guest.ask(&mut sim, request);
        assert_eq!(
            answer,
            Ok(expected.clone()),
            "{request}: {versions:?} {fault:?} {manner:?}"
        );
    }
    // The host vanishes in the middle of something.
    for (request, _) in &conversation {
        let asked = ask(&mut sim, P::SERVICE, request.clone());
        guest.run(&mut sim);
        drop(asked);
    }
    sim.close(guest.relid);
    let now = u64::try_from(sim.now().as_millis()).unwrap();
    guest.relay.host_gone(now);
    guest.act(now);
    assert!(!guest.store.frozen && guest.relay.next_answer().is_none());
    assert_eq!(guest.relay.deadline(), None);
}

/// All manners of daemons.
const MANNERS: [Manner; 6] = [
    Manner::Good,
    Manner::Absent,
    Manner::Late,
    Manner::Silent,
    Manner::Mortal,
    Manner::Mad,
];

/// All pairs of versions of a service, and what the host offers by itself.
fn versions(service: Service) -> Vec<Option<(Version, Version)>> {
    let pairs = service.framework_versions().iter().flat_map(|framework| {
        let messages = service.message_versions().iter();
        messages.map(|message| Some((*framework, *message)))
    });
    core::iter::once(None).chain(pairs).collect()
}

fn matrix<P: Daemonic>() {
    for versions in versions(P::SERVICE) {
        for manner in MANNERS {
            survives::<P>(versions, None, manner);
            for fault in faults() {
                survives::<P>(versions, Some(&fault), manner);
            }
        }
    }
}

#[test]
fn kvp_survives_every_fault_in_every_version_with_every_daemon() {
    matrix::<Kvp>();
}

#[test]
fn vss_survives_every_fault_in_every_version_with_every_daemon() {
    matrix::<Vss>();
}

#[test]
fn vss_settles_on_what_its_daemon_knows() {
    let newer = Negotiation {
        message: vec![Version::new(6, 0), Version::new(7, 0)],
        ..Negotiation::of(Service::Vss)
    };
    let options = VssOptions {
        negotiation: newer,
        ..VssOptions::default()
    };
    let mut sim = connected(vec![Ic::vss(options)]);
    let mut guest = Guest::<Vss>::open(&mut sim, Manner::Good);
    guest.settle(&mut sim);
    assert_eq!(status(&mut sim, Service::Vss, "state"), "refused");
    assert_eq!(status(&mut sim, Service::Vss, "version"), Value::Null);
}

#[test]
fn a_host_of_kvp_hears_nothing_before_there_is_a_daemon_or_no_hope() {
    let mut sim = connected(vec![Kvp::host(None)]);
    let mut guest = Guest::<Kvp>::open(&mut sim, Manner::Absent);
    for _ in 0..99 {
        guest.run(&mut sim);
        sim.advance(Duration::from_millis(STEP));
        assert_eq!(status(&mut sim, Service::Kvp, "state"), "negotiating");
    }
    guest.recovers(&sim);
    guest.run(&mut sim);
    assert_eq!(status(&mut sim, Service::Kvp, "state"), "ready");
}
