// SPDX-License-Identifier: GPL-2.0

//! Timers and threads of devices.

use core::time::Duration;
use serde_json::{json, Value};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;
use std::thread;
use vmbus_host::sim::{Echo, Sim};
use vmbus_host::{Context, Control, Device, OfferSpec, Packet, Reply};
use vmbus_proto::Version;
use vmbus_ring::OutgoingPacket;

/// Answers each packet from another thread, and beats once in 2 s.
#[derive(Default)]
struct Slow {
    /// Requests that the thread has carried out.
    done: Vec<u64>,
    /// Calls of `woken`.
    wakes: u64,
    /// When to beat next, while the channel is open.
    next_beat: Option<Duration>,
    /// A request of the control socket that is answered by the next beat.
    waiting: Option<Reply>,
}

impl Device for Slow {
    fn offer(&self) -> OfferSpec {
        Echo::default().spec
    }

    fn opened(&mut self, _channel: u16, context: &mut Context<'_>) {
        self.next_beat = Some(context.now() + Duration::from_secs(2));
    }

    fn received(&mut self, _channel: u16, packet: &Packet<'_>, context: &mut Context<'_>) {
        self.done.push(packet.transaction_id);
        let waker = context.waker();
        thread::spawn(move || {
            for _ in 0..100 {
                waker.wake();
            }
        });
    }

    fn closed(&mut self, _channel: u16, _context: &mut Context<'_>) {
        self.next_beat = None;
    }

    fn woken(&mut self, context: &mut Context<'_>) {
        self.wakes += 1;
        for id in self.done.drain(..) {
            context.send(0, &OutgoingPacket::completion(id, &[]));
        }
    }

    fn deadline(&self) -> Option<Duration> {
        self.next_beat
    }

    fn timer(&mut self, context: &mut Context<'_>) {
        assert_eq!(
            Some(context.now()),
            self.next_beat,
            "neither early nor late"
        );
        self.next_beat = Some(context.now() + Duration::from_secs(2));
        let time = [context.wall_clock(), context.reference_time()];
        let time = time.map(u64::to_le_bytes).concat();
        context.send(0, &OutgoingPacket::in_band(&[&time]));
        if let Some(reply) = self.waiting.take() {
            reply.ok(json!(self.wakes));
        }
    }

    fn control(&mut self, control: Control, _context: &mut Context<'_>) {
        match control.command.as_str() {
            "wait" => self.waiting = Some(control.reply),
            "forget" => drop(control.reply),
            _ => control.reply.ok(json!(self.wakes)),
        }
    }
}

/// A connected guest with an open channel of such a device.
fn slow() -> (Sim, vmbus_proto::Relid) {
    let mut sim = Sim::new();
    sim.add("slow", Slow::default());
    sim.connect(Version::V6_0);
    let relid = sim.wait_offer(Echo::CLASS);
    sim.open(relid, 5, 5, [0; 120]).unwrap();
    (sim, relid)
}

#[test]
fn threads_wake_their_device() {
    let (mut sim, relid) = slow();
    for id in 1..=50 {
        sim.send(relid, &OutgoingPacket::request(id, &[]));
        assert_eq!(sim.expect_packet(relid).transaction_id, id);
    }
    let wakes = sim.control(json!({"command": "wakes", "device": "slow"}));
    let wakes = wakes.unwrap().as_u64().unwrap();
    assert!((50..=5000).contains(&wakes), "{wakes}");
}

#[test]
fn a_device_is_woken_once_for_any_number_of_calls() {
    let woken = Arc::new(AtomicU32::new(0));
    let count = woken.clone();
    let sim = Sim::new();
    // A host of its own, whose wakes nobody carries out.
    let mut host = vmbus_host::Host::new(
        vmbus_host::Config {
            max_version: Version::V6_0,
            vps: 1,
            seed: 0,
        },
        sim.memory().clone(),
        Box::new(Stopped),
        Arc::new(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
        }),
    );
    /// Wakes itself, as often as it is asked to.
    struct Own;
    impl Device for Own {
        fn offer(&self) -> OfferSpec {
            Echo::default().spec
        }
        fn opened(&mut self, _channel: u16, _context: &mut Context<'_>) {}
        fn received(&mut self, _channel: u16, _: &Packet<'_>, _context: &mut Context<'_>) {}
        fn closed(&mut self, _channel: u16, _context: &mut Context<'_>) {}
        fn control(&mut self, control: Control, context: &mut Context<'_>) {
            let waker = context.waker();
            (0..10).for_each(|_| waker.wake());
            control.reply.ok(Value::Null);
        }
    }
    let id = host.add("own", Box::new(Own)).unwrap();
    for round in 1..4 {
        let Value::Object(request) = json!({"command": "wake", "device": "own"}) else {
            panic!("an object");
        };
        host.control(request, Reply::new(|answer| assert!(answer.is_ok())));
        assert_eq!(woken.load(Ordering::SeqCst), round);
        host.wake(id);
    }
}

/// A clock that stands still.
struct Stopped;

impl vmbus_host::Clock for Stopped {
    fn now(&self) -> Duration {
        Duration::ZERO
    }
    fn wall_clock(&self) -> u64 {
        0
    }
    fn reference_time(&self) -> u64 {
        0
    }
}

#[test]
fn timers_run_in_simulated_time() {
    let (mut sim, relid) = slow();
    sim.advance(Duration::from_millis(1999));
    assert_eq!(sim.receive(relid), None);
    sim.advance(Duration::from_millis(1));
    let first = sim.receive(relid).unwrap().payload;
    sim.advance(Duration::from_secs(60));
    let beats: Vec<_> = std::iter::from_fn(|| sim.receive(relid)).collect();
    assert_eq!(beats.len(), 30);
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    for at in [0, 8] {
        let passed = word(&beats[29].payload, at) - word(&first, at);
        assert_eq!(passed, 60 * 10_000_000);
    }
    // No beat of a closed channel.
    assert!(sim.close(relid));
    assert_eq!(sim.host.deadline(), None);
}

#[test]
fn answers_may_come_later_or_never() {
    let (mut sim, _) = slow();
    let forgotten = sim.control(json!({"command": "forget", "device": "slow"}));
    assert!(forgotten.unwrap_err().contains("without an answer"));
    let (send, answer) = std::sync::mpsc::channel();
    let Value::Object(request) = json!({"command": "wait", "device": "slow"}) else {
        panic!("an object");
    };
    let reply = Reply::new(move |result| send.send(result).unwrap());
    sim.host.control(request, reply);
    assert!(answer.try_recv().is_err());
    sim.advance(Duration::from_secs(3));
    assert_eq!(answer.try_recv().unwrap(), Ok(json!(0)));
}
