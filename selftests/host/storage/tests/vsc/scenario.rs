// SPDX-License-Identifier: GPL-2.0

//! A scenario: disks, a load on them, and what the host does wrong; and the kernel's mid-layer, in its main features.

use crate::driver::{Command, Driver, Ending, SCSI};
use crate::random::Random;
use serde_json::{json, Value};
use std::collections::{BTreeMap, BTreeSet};
use storage_vsp::{Controller, ControllerConfig, DiskSpec};
use storvsc_proto::{DataDirection, HostByte, Late, Version, CDB_SIZE};
use vmbus_host::sim::Sim;
use vmbus_host::{Config, GuestBuffer};
use vmbus_ring::gpa::pages;

/// Blocks of each disk that are used.
const BLOCKS: u64 = 200;

/// The most blocks of one command.
const MAX_BLOCKS: u64 = 24;

/// How often a command is tried.
const TRIES: u32 = 4;

/// What buffers hold that are no command's any more.
const POISON: u8 = 0xa5;

/// How long the mid-layer waits before it asks, and how long for a command of its own, in milliseconds.
const TIMEOUT_MS: u64 = 2000;

/// How long a guest with all its patience waits, in milliseconds.
const FOR_EVER_MS: u64 = 600_000;

/// What became of a scenario.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) good: u64,
    pub(crate) failed: u64,
    pub(crate) retried: u64,
    pub(crate) offline: bool,
    pub(crate) unknown: u64,
}

/// Something that the guest wants done.
#[derive(Clone, Debug)]
struct Task {
    lun: u8,
    lba: u64,
    blocks: u64,
    /// What is to be written; `None` to read.
    version: Option<u64>,
    tries: u32,
}

/// A task that the driver has.
struct Running {
    task: Task,
    buffer: GuestBuffer,
    queue: usize,
    tag: usize,
    /// When the task began, and when the mid-layer asks about it, in milliseconds.
    began: u64,
    due: u64,
    /// The mid-layer has given it to the error handler.
    late: bool,
}

pub(crate) struct Scenario {
    random: Random,
    driver: Driver,
    /// Bytes of a block.
    block: u32,
    luns: u8,
    /// Whether a disk takes its time.
    slow: bool,
    ring_pages: usize,
    /// What each block may hold, by LUN and number: the versions that were written and not overruled.
    contents: BTreeMap<(u8, u64), Vec<u64>>,
    running: BTreeMap<usize, Running>,
    next_id: usize,
    /// Buffers that are no command's any more.
    retired: Vec<GuestBuffer>,
    outcome: Outcome,
    /// Whether to tell what happens.
    tells: bool,
}

/// What a block holds in a version.
fn fill(version: u64, lun: u8, lba: u64, block: u32) -> Vec<u8> {
    let words = usize::try_from(block).unwrap() / 8;
    let word = match version {
        0 => 0,
        _ => Random(version << 32 | u64::from(lun) << 24 | lba).next(),
    };
    word.to_le_bytes().repeat(words)
}

impl Scenario {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let block = random.of(&[512, 512, 4096]);
        let luns = random.of(&[1, 2, 3]);
        let versions = random.of(&[&[Version::V6_2, Version::V6_0][..], &[Version::V6_0]]);
        let mut controller = Controller::new(ControllerConfig {
            max_sub_channels: random.of(&[0, 1, 3]),
            versions: versions.to_vec(),
            ..ControllerConfig::scsi(SCSI)
        });
        let mut slow = false;
        for lun in 0..luns {
            let delay = random.of(&[0, 0, 0, 1, 7, 300, 1900]);
            slow |= delay > 0;
            let words = format!("ram=1M,lun={lun},sector={block},delay_ms={delay}");
            controller
                .add_spec(&DiskSpec::parse(&words).unwrap())
                .unwrap();
        }
        let mut sim = Sim::with(Config {
            max_version: vmbus_proto::Version::V6_0,
            vps: 4,
            seed,
        });
        sim.add("scsi0", controller);
        sim.connect(vmbus_proto::Version::V6_0);
        let limit = random.of(&[Some(2000), Some(2000), Some(2000), None]);
        let mut driver = Driver::new(sim, limit);
        driver.echo = random.of(&[0, 0, 1, 5, 30]);
        Self {
            driver,
            block,
            luns,
            slow,
            ring_pages: random.of(&[5, 9, 33]),
            contents: BTreeMap::new(),
            running: BTreeMap::new(),
            next_id: 0,
            retired: Vec::new(),
            outcome: Outcome::default(),
            tells: std::env::var("SEED").is_ok(),
            random,
        }
    }

    fn tell(&self, text: impl FnOnce() -> String) {
        if self.tells {
            println!("{:>8} ms: {}", self.now(), text());
        }
    }

    /// Milliseconds since the start.
    fn now(&self) -> u64 {
        u64::try_from(self.driver.sim.now().as_millis()).unwrap()
    }

    pub(crate) fn run(mut self) -> Outcome {
        // Before the handshake, or under load.
        let early = self.random.once_in(4);
        if early {
            self.add_faults(8);
        }
        if let Err(error) = self.driver.connect(self.ring_pages) {
            assert!(early, "without a fault: {error}");
            self.tell(|| format!("no controller: {error}"));
            self.outcome.offline = true;
            return self.verify();
        }
        if !early {
            self.add_faults(100);
        }
        let mut tasks: Vec<Task> = (0..self.random.below(100)).map(|_| self.task()).collect();
        let depth = 1 + self.random.index(24);
        let mut pause = 0;
        while !tasks.is_empty() || !self.running.is_empty() {
            while self.running.len() < depth {
                let Some(task) = tasks.pop() else { break };
                if let Some(task) = self.start(task) {
                    tasks.insert(0, task);
                    break;
                }
            }
            // Longer and longer while nothing happens.
            pause = match self.driver.ended.is_empty() {
                true => (pause * 2 + 1).min(1000),
                false => self.random.of(&[0, 0, 1, 3, 10]),
            };
            self.end(&mut tasks);
            self.driver.pass(pause);
            self.look_for_late(&mut tasks);
        }
        self.outcome.offline = self.driver.dead;
        self.verify()
    }

    /// Something at random to do.
    fn task(&mut self) -> Task {
        let random = &mut self.random;
        let blocks = 1 + random.below(MAX_BLOCKS);
        Task {
            lun: u8::try_from(random.below(self.luns.into())).unwrap(),
            lba: random.below(BLOCKS - blocks),
            blocks,
            version: random.once_in(2).then(|| 1 + random.below(1 << 30)),
            tries: 0,
        }
    }

    /// Has the host do something wrong, once or thrice, within so many packets.
    fn add_faults(&mut self, within: u64) {
        for _ in 0..1 + self.random.below(3) {
            let rule = self.fault(within);
            self.tell(|| format!("fault {rule}"));
            self.driver.sim.fault(rule);
        }
    }

    fn fault(&mut self, within: u64) -> Value {
        let random = &mut self.random;
        let to_guest = random.once_in(2);
        let delay = random.of(&[1, 20, 1000, 3000, 7000, 30_000]);
        let (offset, xor) = (random.below(64), random.next() & 0xffff_ffff | 1);
        let end = random.of(&["before", "after"]);
        let status = random.of(&[
            2,
            4,
            5,
            6,
            8,
            9,
            0xa,
            0xe,
            0x12,
            0x20,
            0x30,
            0xc000_000d_u64,
        ]);
        let mut actions = vec![
            json!("drop"),
            json!({"delay_ms": delay}),
            json!("reorder"),
            json!({"truncate": offset}),
            json!("wrong-id"),
            json!("unknown-id"),
            json!({"rescind": end}),
        ];
        // A slow host that carries out again what it has answered uses memory that is not its own any more.
        if to_guest || !self.slow {
            actions.push(json!("duplicate"));
        }
        match to_guest {
            true => {
                actions.push(json!({"corrupt": {"offset": offset, "xor": xor}}));
                actions.push(json!({"index": {"write": xor}}));
                actions.push(json!({"index": {"write": xor & 0x3ff8}}));
            }
            // A request that was changed on its way means something else, and no guest can know.
            false => actions.extend([
                json!("never-answer"),
                // Of the ring to the host: the index that is the guest's, and one that is none.
                json!({"index": {"write": xor}}),
                json!({"index": {"read": xor | 0x10_0000}}),
                json!({"error-status": status}),
                json!({"error-status": status}),
            ]),
        }
        let action = &actions[random.index(actions.len())];
        json!({
            "channel": random.of(&["scsi0", "scsi0", "scsi0/0", "scsi0/1"]),
            "direction": if to_guest { "to-guest" } else { "from-guest" },
            "nth": 1 + random.below(within),
            "times": random.of(&[1, 1, 2, 5]),
            "action": action,
        })
    }

    /// Starts a task; gives it back if that is not possible now.
    fn start(&mut self, mut task: Task) -> Option<Task> {
        let area = |task: &Task| (task.lun, task.lba..task.lba + task.blocks);
        let (lun, blocks) = area(&task);
        let overlaps = |running: &Running| {
            let (other, others) = area(&running.task);
            other == lun && others.start < blocks.end && blocks.start < others.end
        };
        if self.running.values().any(overlaps) {
            return Some(task);
        }
        let taken: BTreeSet<_> = self.running.values().map(|r| (r.queue, r.tag)).collect();
        let queue = match self.driver.queues() {
            0 => 0,
            queues => self.random.index(queues),
        };
        let tag = (0..self.driver.depth).find(|tag| !taken.contains(&(queue, *tag)));
        let Some(tag) = tag else { return Some(task) };
        let block = self.block;
        let length = u32::try_from(task.blocks).unwrap() * block;
        let offset = self.random.of(&[0, 512, 24, 4088]);
        let count = usize::try_from(pages(offset, length)).unwrap();
        let pfns = self.driver.sim.allocate(count);
        let buffer = self.driver.sim.buffer(&pfns, offset, length);
        let (opcode, direction) = match task.version {
            Some(version) => {
                let all: Vec<_> = blocks
                    .clone()
                    .map(|lba| fill(version, lun, lba, block))
                    .collect();
                buffer.write_at(0, &all.concat()).unwrap();
                for lba in blocks {
                    let versions = self.contents.entry((lun, lba)).or_insert_with(|| vec![0]);
                    versions.push(version);
                }
                (0x8a, DataDirection::WRITE)
            }
            None => (0x88, DataDirection::READ),
        };
        let mut cdb = [0; CDB_SIZE];
        cdb[0] = opcode;
        cdb[2..10].copy_from_slice(&task.lba.to_be_bytes());
        cdb[10..14].copy_from_slice(&u32::try_from(task.blocks).unwrap().to_be_bytes());
        let id = self.next_id;
        let command = Command {
            id,
            lun,
            cdb,
            direction,
            pfns,
            offset,
            length,
        };
        if self.driver.queue(command, queue, tag).is_some() {
            self.retire(buffer);
            return Some(task);
        }
        self.next_id += 1;
        task.tries += 1;
        self.tell(|| format!("{id}: {task:?} on queue {queue} with tag {tag}"));
        let now = self.now();
        let running = Running {
            task,
            buffer,
            queue,
            tag,
            began: now,
            due: now + TIMEOUT_MS,
            late: false,
        };
        self.running.insert(id, running);
        None
    }

    /// A buffer is no command's any more.
    fn retire(&mut self, buffer: GuestBuffer) {
        let poison = vec![POISON; buffer.len()];
        buffer.write_at(0, &poison).unwrap();
        self.retired.push(buffer);
    }

    /// Looks at what has ended.
    fn end(&mut self, tasks: &mut Vec<Task>) {
        for (command, ending) in std::mem::take(&mut self.driver.ended) {
            let id = command.id;
            self.tell(|| format!("{id}: {ending:?}"));
            let running = self.running.remove(&id);
            let Running { task, buffer, .. } = running.expect("a command ends once");
            let found = buffer.to_vec();
            self.retire(buffer);
            if ending.is_good() {
                self.succeeded(&task, &found);
            } else if task.tries < TRIES && Self::is_worth_another_try(&ending) {
                self.outcome.retried += 1;
                tasks.push(task);
            } else {
                self.outcome.failed += 1;
            }
        }
    }

    fn is_worth_another_try(ending: &Ending) -> bool {
        !matches!(ending.host, HostByte::NO_CONNECT | HostByte::PASSTHROUGH)
    }

    /// What was read is what may be there; what was written is there.
    fn succeeded(&mut self, task: &Task, found: &[u8]) {
        self.outcome.good += 1;
        let size = usize::try_from(self.block).unwrap();
        for (lba, bytes) in (task.lba..).zip(found.chunks(size)) {
            let versions = self
                .contents
                .entry((task.lun, lba))
                .or_insert_with(|| vec![0]);
            let is = |version: u64| fill(version, task.lun, lba, self.block) == bytes;
            let version = task
                .version
                .or_else(|| versions.iter().copied().find(|v| is(*v)));
            let version = version.unwrap_or_else(|| {
                panic!(
                    "LUN {} block {lba} is none of {versions:?}: {:x?}",
                    task.lun,
                    &bytes[..8]
                )
            });
            *versions = vec![version];
        }
    }

    /// What the mid-layer does about commands that take long.
    fn look_for_late(&mut self, tasks: &mut Vec<Task>) {
        let now = self.now();
        let mut resets = false;
        let due: Vec<usize> = self
            .running
            .iter()
            .filter(|(_, running)| running.due <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let began = self.running[&id].began;
            self.driver.leaving |= now - began > FOR_EVER_MS;
            let late = self.driver.late(now - began);
            self.tell(|| format!("{id}: {late:?}"));
            // Closing has ended it.
            let Some(running) = self.running.get_mut(&id) else {
                continue;
            };
            match late {
                Late::Reset => (running.late, resets) = (true, true),
                Late::Wait | Late::Close => running.due = now + TIMEOUT_MS * 10,
            }
        }
        if resets {
            self.recover(tasks);
        }
    }

    /// The mid-layer's error handler.
    fn recover(&mut self, tasks: &mut Vec<Task>) {
        let late = |this: &Self| {
            let mut running = this.running.values();
            running.find(|r| r.late).map(|r| r.task.lun)
        };
        while let Some(lun) = late(self) {
            for step in [Some(lun), None] {
                let ok = self.driver.reset(step);
                self.tell(|| format!("reset of {step:?}: {ok}"));
                self.end(tasks);
                if ok {
                    let left = |r: &Running| r.late && step.is_none_or(|lun| r.task.lun == lun);
                    assert!(!self.running.values().any(left), "a reset ends them all");
                    break;
                }
                if step.is_none() {
                    self.tell(|| "given up".into());
                    self.driver.close();
                    self.end(tasks);
                    assert!(self.running.is_empty(), "closing ends them all");
                }
            }
        }
    }

    /// Looks at the disks with another driver, and at memory that must not have changed.
    fn verify(mut self) -> Outcome {
        self.outcome.unknown = self.driver.unknown;
        self.driver = self.driver.again();
        // What the host still has of before.
        self.driver.pass(60_000);
        let all: Vec<(u8, u64)> = self.contents.keys().copied().collect();
        self.driver.connect(33).unwrap();
        let kept = std::mem::take(&mut self.outcome);
        for (lun, lba) in all {
            let task = Task {
                lun,
                lba,
                blocks: 1,
                version: None,
                tries: 0,
            };
            self.read_back(task);
        }
        for buffer in &self.retired {
            let bytes = buffer.to_vec();
            assert!(bytes == vec![POISON; bytes.len()], "a late write");
        }
        kept
    }

    /// Reads a block; a unit attention may come before.
    fn read_back(&mut self, task: Task) {
        for _ in 0..TRIES {
            assert!(self.start(task.clone()).is_none());
            while self.driver.ended.is_empty() {
                self.driver.pass(1);
            }
            let good = self.outcome.good;
            self.end(&mut Vec::new());
            if self.outcome.good > good {
                return;
            }
        }
        panic!("{task:?} cannot be read");
    }
}
