// SPDX-License-Identifier: GPL-2.0

//! A guest in memory, for tests: the VMBus client and rings of the guest's own crates, one thread, simulated time.
//!
//! Tests of a VSC put a device into a [`Sim`], connect, open its channel, and exchange packets:
//!
//! ```
//! use vmbus_host::sim::{Echo, Sim};
//! use vmbus_ring::OutgoingPacket;
//!
//! let mut sim = Sim::new();
//! sim.add("echo", Echo::default());
//! sim.connect(vmbus_proto::Version::V5_3);
//! let relid = sim.wait_offer(Echo::CLASS);
//! sim.open(relid, 5, 5, [0; 120]).unwrap();
//! sim.send(relid, &OutgoingPacket::request(7, &[b"8 bytes."]));
//! let packet = sim.expect_packet(relid);
//! assert_eq!((packet.transaction_id, &packet.payload[..]), (7, &b"8 bytes."[..]));
//! ```
//!
//! What the host or the guest does wrong is a panic here, and so is a host that does not come to rest.

#![expect(
    clippy::panic,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "A test fails by a panic. Here every number is the test's own."
)]

mod echo;
mod guest;
pub mod hostile;

pub use echo::Echo;
pub use guest::{OpenError, Received};

use crate::device::{Device, Reply};
use crate::host::{Clock, Config, DeviceId, Host, HypercallStatus, Memory, Output};
use crate::memory::{GuestBuffer, PAGE_SIZE};
use core::time::Duration;
use guest::{Guest, Table};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{channel, Receiver};
use std::sync::Arc;
use std::time::Instant;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmbus_proto::{Client, Event, Outgoing, ProtocolError, Version};

/// Size of the guest's memory, in bytes.
const MEMORY: usize = 64 << 20;

/// The most rounds until the host and the guest come to rest.
const MAX_ROUNDS: usize = 100_000;

/// How long something may take that a test waits for, in real time.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a device's threads may take for one piece of work, in real time, before simulated time goes on.
const THREADS: Duration = Duration::from_millis(500);

/// Deadlines not farther away than this are the host's polling, which no thread competes with.
const POLLING: Duration = Duration::from_millis(1);

/// Simulated time.
#[derive(Clone, Debug, Default)]
struct SimClock(Arc<AtomicU64>);

impl Clock for SimClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::SeqCst))
    }

    fn wall_clock(&self) -> u64 {
        // 2020-01-01, in units of 100 ns since 1601.
        132_223_104_000_000_000_u64.saturating_add(self.reference_time())
    }

    fn reference_time(&self) -> u64 {
        self.0.load(Ordering::SeqCst) / 100
    }
}

/// A host, and a guest in memory.
pub struct Sim {
    /// The host.
    pub host: Host,
    /// The guest's memory.
    memory: Memory,
    /// Simulated time.
    clock: SimClock,
    /// Devices that were woken.
    wakes: Receiver<DeviceId>,
    /// Pages that are not in use, by PFN.
    free_pages: Vec<u64>,
    /// Connections that the guest may signal.
    signals: BTreeSet<u32>,
    /// The guest.
    guest: Guest,
    /// The guest's client.
    pub client: Client<Table>,
    /// What the host's messages meant, and no test has taken.
    pub events: Vec<Event>,
    /// Messages of the host's that made no sense.
    pub errors: Vec<ProtocolError>,
    /// Seed of the host.
    seed: u64,
}

impl Default for Sim {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the simulation's seed was {}", self.seed);
        }
    }
}

impl Sim {
    /// A host of the newest version for a guest with four VPs.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Config {
            max_version: Version::V6_0,
            vps: 4,
            seed: 1,
        })
    }

    /// A host of this kind, and a guest that has not made contact.
    #[must_use]
    pub fn with(config: Config) -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)]);
        let memory = Arc::new(memory.expect("anonymous memory"));
        let clock = SimClock::default();
        let (send, wakes) = channel();
        let wake = Arc::new(move |device| {
            // A simulation that is gone needs no wake.
            let _ = send.send(device);
        });
        let seed = config.seed;
        let host = Host::new(config, Arc::clone(&memory), Box::new(clock.clone()), wake);
        let pages = u64::try_from(MEMORY).expect("64 bits") / PAGE_SIZE;
        // Neighbours are taken one after the other only by accident: every second page first.
        let odd = (1..pages).step_by(2);
        let even = (2..pages).step_by(2);
        let mut sim = Self {
            host,
            memory,
            clock,
            wakes,
            free_pages: odd.chain(even).collect(),
            signals: BTreeSet::new(),
            guest: Guest::default(),
            client: Client::new(Table::default()),
            events: Vec::new(),
            errors: Vec::new(),
            seed,
        };
        sim.guest.pages = sim.allocate(3);
        sim
    }

    /// Adds a device.
    pub fn add(&mut self, name: &str, device: impl Device + 'static) -> DeviceId {
        let id = self.host.add(name, Box::new(device));
        let id = id.expect("a new name");
        self.run();
        id
    }

    /// The guest's memory.
    #[must_use]
    pub const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Simulated time.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Takes pages of guest memory, cleared and in no order, and returns their PFNs.
    pub fn allocate(&mut self, pages: usize) -> Vec<u64> {
        let at = self.free_pages.len().checked_sub(pages);
        let pfns = self.free_pages.split_off(at.expect("guest memory left"));
        for pfn in &pfns {
            self.write_page(*pfn, &[0; 4096]);
        }
        pfns
    }

    /// Gives pages back.
    pub fn free(&mut self, pfns: Vec<u64>) {
        self.free_pages.extend(pfns);
    }

    /// Writes to the start of a page.
    pub fn write_page(&self, pfn: u64, bytes: &[u8]) {
        let address = GuestAddress(pfn.saturating_mul(PAGE_SIZE));
        let written = self.memory.write_slice(bytes, address);
        written.expect("a page of guest memory");
    }

    /// The guest's view of `len` bytes on these pages, from `offset` in the first of them on.
    #[must_use]
    pub fn buffer(&self, pfns: &[u64], offset: u32, len: u32) -> GuestBuffer {
        let buffer = GuestBuffer::new(&self.memory, offset, len, pfns.iter().copied());
        buffer.expect("exactly the pages that the bytes touch")
    }

    /// Has the host and the guest do all that they can without time passing.
    pub fn run(&mut self) {
        for _ in 0..MAX_ROUNDS {
            let mut busy = false;
            while let Ok(device) = self.wakes.try_recv() {
                self.host.wake(device);
                busy = true;
            }
            if self.host.deadline().is_some_and(|due| due <= self.now()) {
                self.host.run_due();
                busy = true;
            }
            while let Some(output) = self.host.next_output() {
                self.carry_out(output);
                busy = true;
            }
            if !busy {
                return;
            }
        }
        panic!("the host and the guest do not come to rest");
    }

    /// Lets time pass, with all that happens in it.
    pub fn advance(&mut self, time: Duration) {
        let end = self.now().saturating_add(time);
        self.run();
        for _ in 0..MAX_ROUNDS {
            match self.host.deadline().filter(|due| *due <= end) {
                Some(due) => {
                    self.set_time(due.max(self.now()));
                    self.run();
                }
                None => return self.set_time(end),
            }
        }
        panic!("the host's deadlines never pass");
    }

    /// Sets the clock.
    fn set_time(&mut self, now: Duration) {
        let nanos = u64::try_from(now.as_nanos()).expect("a short simulation");
        self.clock.0.store(nanos, Ordering::SeqCst);
    }

    /// Runs until `done`. A device's threads get real time for it. Simulated time passes for the host's polling, and for
    /// other deadlines when threads have done nothing for half a second; a test that wants a timer to run calls
    /// [`Self::advance`].
    pub fn run_until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        let mut idle = start;
        self.run();
        while !done(self) {
            assert!(start.elapsed() < PATIENCE, "{what}: waited in vain");
            if let Ok(device) = self.wakes.recv_timeout(Duration::from_millis(1)) {
                self.host.wake(device);
                idle = Instant::now();
            } else if let Some(due) = self.host.deadline() {
                let ahead = due.saturating_sub(self.now());
                if ahead <= POLLING || idle.elapsed() > THREADS {
                    self.advance(ahead);
                    idle = Instant::now();
                }
            }
            self.run();
        }
    }

    /// A request of the control socket; returns the answer, which has to come without time passing.
    ///
    /// # Errors
    ///
    /// As the host answered.
    pub fn control(&mut self, request: Value) -> Result<Value, String> {
        let (send, answer) = channel();
        let Value::Object(request) = request else {
            panic!("a request is an object");
        };
        self.host.control(
            request,
            Reply::new(move |result| {
                let _ = send.send(result);
            }),
        );
        self.run();
        let waited = Instant::now();
        loop {
            if let Ok(result) = answer.try_recv() {
                self.run();
                return result;
            }
            assert!(
                waited.elapsed() < PATIENCE,
                "no answer from the control socket"
            );
            if let Ok(device) = self.wakes.recv_timeout(Duration::from_millis(5)) {
                self.host.wake(device);
            }
            self.run();
        }
    }

    /// Adds a fault rule, given as JSON.
    pub fn fault(&mut self, mut rule: Value) {
        if let Value::Object(members) = &mut rule {
            members.insert("command".into(), "fault".into());
        }
        self.control(rule).expect("a fault rule");
    }

    /// What is counted of a channel, from the control socket: `packets_in` and so on.
    pub fn count(&mut self, device: &str, channel: usize, name: &str) -> u64 {
        let mut request = Map::new();
        request.insert("command".into(), "counters".into());
        request.insert("device".into(), device.into());
        let counters = self.control(Value::Object(request)).expect("counters");
        let count = counters.get(channel).and_then(|counts| counts.get(name));
        count.and_then(Value::as_u64).expect("a counter")
    }

    /// Does what the host wants done for the guest.
    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Message { payload, .. } => self.handle_message(&payload),
            Output::Event { vp, flag, .. } => self.handle_event(vp, flag),
            Output::AddSignal { connection_id } => {
                let new = self.signals.insert(connection_id);
                assert!(new, "connection {connection_id:#x} was added twice");
            }
            Output::RemoveSignal { connection_id } => {
                let old = self.signals.remove(&connection_id);
                assert!(old, "connection {connection_id:#x} was not there");
            }
        }
    }

    /// Posts a message of the guest's.
    pub fn post(&mut self, message: &Outgoing) -> HypercallStatus {
        self.host
            .post_message(message.connection_id(), 1, message.as_bytes())
    }

    /// Signals a connection, which the host must know unless the channel is rescinded.
    fn signal(&mut self, connection_id: u32) -> HypercallStatus {
        self.host.signal_event(connection_id, 1)
    }
}
