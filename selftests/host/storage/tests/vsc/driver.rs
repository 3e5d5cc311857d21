// SPDX-License-Identifier: GPL-2.0

//! What storvsc's glue does, in memory: it feeds the pure crate and carries out what that says.

use hvdef::Guid;
use serde_json::json;
use std::collections::VecDeque;
use std::time::Duration;
use storvsc_proto::recovery::LOOK_MS;
use storvsc_proto::{
    closing, completion, create_sub_channels, sizing, Address, Control, DataDirection, Fate,
    Handshake, HostByte, Incoming, Late, Operation, Packet, Place, Progress, Reset, ScsiStatus,
    Sent, Srb, Step, Transaction, Version, Wishes, CDB_SIZE, SENSE_SIZE, SRB_SIZE,
};
use vmbus_host::sim::{Received, Sim};
use vmbus_proto::{class, Relid};
use vmbus_ring::gpa::{extension_size, pages, GpaDirect};
use vmbus_ring::{OutgoingPacket, WriteError};
use zerocopy::{FromZeros, IntoBytes};

pub(crate) const SCSI: Guid = Guid::parse("f8b3781a-1e82-4818-a1c3-63d806ec15bb");

/// How long the host may take for a step of the handshake, in milliseconds.
pub(crate) const ANSWER_MS: u32 = 180_000;

/// The most commands of a queue.
const MAX_DEPTH: u32 = 32;

/// A command of the kernel's.
#[derive(Debug)]
pub(crate) struct Command {
    /// Which one it is, for the kernel.
    pub(crate) id: usize,
    pub(crate) lun: u8,
    pub(crate) cdb: [u8; CDB_SIZE],
    pub(crate) direction: DataDirection,
    /// Its buffer.
    pub(crate) pfns: Vec<u64>,
    pub(crate) offset: u32,
    pub(crate) length: u32,
}

/// What the kernel is told of a command.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) host: HostByte,
    pub(crate) scsi: ScsiStatus,
    pub(crate) residual: u32,
}

impl Ending {
    const fn of(host: HostByte) -> Self {
        Self {
            host,
            scsi: ScsiStatus::GOOD,
            residual: u32::MAX,
        }
    }

    /// Whether everything was done.
    pub(crate) fn is_good(&self) -> bool {
        self.host == HostByte::OK && self.scsi == ScsiStatus::GOOD && self.residual == 0
    }
}

/// A controller as the guest has it.
pub(crate) struct Driver {
    pub(crate) sim: Sim,
    /// The open channels.
    channels: Vec<Relid>,
    /// Places of each queue.
    pub(crate) depth: usize,
    places: Vec<Place>,
    commands: Vec<Option<Command>>,
    control: Control<()>,
    reply: Option<Packet>,
    pub(crate) dead: bool,
    /// Closed channels whose end the host has not confirmed, by number.
    pub(crate) kept: Vec<usize>,
    pub(crate) leaving: bool,
    pub(crate) limit_ms: Option<u32>,
    pub(crate) version: Version,
    /// Commands that have ended, which the kernel has not looked at.
    pub(crate) ended: Vec<(Command, Ending)>,
    /// How many packets pass until one of them comes again; 0 for never.
    pub(crate) echo: usize,
    /// The last packets that came, by channel.
    past: VecDeque<(u16, Received)>,
    pub(crate) unknown: u64,
    pub(crate) nonsense: u64,
}

/// Lets time pass.
fn milliseconds(ms: u32) -> Duration {
    Duration::from_millis(ms.into())
}

impl Driver {
    /// A guest that has the offer of a controller.
    pub(crate) fn new(sim: Sim, limit_ms: Option<u32>) -> Self {
        Self {
            sim,
            channels: Vec::new(),
            depth: 0,
            places: Vec::new(),
            commands: Vec::new(),
            control: Control::new(),
            reply: None,
            dead: false,
            kept: Vec::new(),
            leaving: false,
            limit_ms,
            version: Version(0),
            ended: Vec::new(),
            echo: 0,
            past: VecDeque::new(),
            unknown: 0,
            nonsense: 0,
        }
    }

    /// Opens the channels, with rings of so many pages; an error says what went wrong.
    pub(crate) fn connect(&mut self, ring_pages: usize) -> Result<(), String> {
        let first = self.sim.find_channel(class::SCSI.id, 0).ok_or("gone")?;
        self.open(first, ring_pages)?;
        let wishes = Wishes {
            max_version: Version::V6_2,
            fibre_channel: false,
        };
        let (mut handshake, mut packet) = Handshake::new(wishes).unwrap();
        let agreed = loop {
            let answer = self.ask(&packet, ANSWER_MS).ok_or("no answer")?;
            match handshake.answered(answer.as_bytes()) {
                Ok(Step::Send(next)) => packet = next,
                Ok(Step::Ready(agreed)) => break agreed,
                Err(error) => return Err(format!("{error:?}")),
            }
        };
        self.version = agreed.version;
        let count = sizing::sub_channels(agreed.max_sub_channels, 4, 1);
        if count > 0 {
            let answer = self.ask(&create_sub_channels(count), ANSWER_MS);
            if answer.ok_or("no answer")?.is_success() {
                self.pass(1);
                for index in 1..=count {
                    if let Some(relid) = self.sim.find_channel(class::SCSI.id, index) {
                        self.open(relid, ring_pages)?;
                    }
                }
            }
        }
        self.depth = usize::try_from(sizing::queue_depth(ring_pages).min(MAX_DEPTH)).unwrap();
        let places = u32::try_from(self.depth * self.channels.len()).unwrap();
        self.places = (0..places).map(Place::new).collect();
        self.commands = (0..places).map(|_| None).collect();
        Ok(())
    }

    fn open(&mut self, relid: Relid, ring_pages: usize) -> Result<(), String> {
        let opened = self.sim.open(relid, ring_pages, ring_pages, [0; 120]);
        opened.map_err(|error| format!("{error:?}"))?;
        self.channels.push(relid);
        Ok(())
    }

    fn is_open(&self, relid: Relid) -> bool {
        self.sim.ring_pages(relid).is_some()
    }

    pub(crate) fn queues(&self) -> usize {
        self.channels.len()
    }

    /// Lets time pass, and takes what comes.
    pub(crate) fn pass(&mut self, ms: u32) {
        self.sim.advance(milliseconds(ms));
        self.receive();
    }

    /// A request of the driver's own.
    fn ask(&mut self, packet: &Packet, timeout_ms: u32) -> Option<Packet> {
        let id = self.control.begin(());
        let first = *self.channels.first()?;
        if self.dead || !self.is_open(first) {
            return None;
        }
        let sent = self
            .sim
            .try_send(first, &OutgoingPacket::request(id, &[packet.as_bytes()]));
        sent.ok()?;
        let mut left = timeout_ms;
        while self.reply.is_none() && !self.dead && left > 0 {
            self.pass(LOOK_MS);
            left = left.saturating_sub(LOOK_MS);
        }
        self.control.give_up();
        self.reply.take()
    }

    /// Sends a command, or gives it back if there is no room.
    pub(crate) fn queue(&mut self, command: Command, queue: usize, tag: usize) -> Option<Command> {
        let relid = self.channels[queue];
        if self.dead || !self.is_open(relid) {
            self.ended.push((command, Ending::of(HostByte::NO_CONNECT)));
            return None;
        }
        let number = queue * self.depth + tag;
        let channel = u16::try_from(queue).unwrap();
        let Some(generation) = self.places[number].free() else {
            self.ended.push((command, Ending::of(HostByte::ERROR)));
            return None;
        };
        let mut srb = Srb {
            length: SRB_SIZE.into(),
            lun: command.lun,
            cdb_length: 16,
            sense_info_length: u8::try_from(SENSE_SIZE).unwrap(),
            data_in: command.direction.0,
            data_transfer_length: command.length.into(),
            ..Srb::new_zeroed()
        };
        srb.cdb_or_sense[..CDB_SIZE].copy_from_slice(&command.cdb);
        let packet = Packet::request(Operation::EXECUTE_SRB).with(&srb);
        let payload = [packet.as_bytes()];
        let place = u32::try_from(number).unwrap();
        let id = Transaction::Command { place, generation }.id();
        let count = usize::try_from(pages(command.offset, command.length)).unwrap();
        let mut extension = vec![0; extension_size(1, count)];
        let lists = [match command.length {
            0 => &[][..],
            length => {
                let mut list = GpaDirect::new(&mut extension).unwrap();
                list.push(command.offset, length, command.pfns.iter().copied())
                    .unwrap();
                list.finish()
            }
        }];
        let outgoing = match command.length {
            0 => OutgoingPacket::request(id, &payload),
            _ => OutgoingPacket::gpa_direct(id, &lists, &payload),
        };
        let sent = self.sim.try_send(relid, &outgoing);
        match sent {
            Ok(()) => {
                let address = Self::address(command.lun);
                assert!(self.commands[number].replace(command).is_none());
                self.places[number].put(generation, channel, address, 0);
                None
            }
            Err(WriteError::Full { .. }) => Some(command),
            Err(_) => {
                self.ended.push((command, Ending::of(HostByte::NO_CONNECT)));
                self.broken();
                None
            }
        }
    }

    pub(crate) const fn address(lun: u8) -> Address {
        Address {
            path: 0,
            target: 0,
            lun,
        }
    }

    /// Takes what the host has sent, and notices what it has withdrawn.
    pub(crate) fn receive(&mut self) {
        for (index, relid) in self.channels.clone().into_iter().enumerate() {
            let channel = u16::try_from(index).unwrap();
            while let Some(received) = self.sim.receive(relid) {
                self.take(channel, &received);
                if self.echo > 0 {
                    self.past.push_back((channel, received));
                }
                if self.past.len() > self.echo {
                    let (channel, again) = self.past.pop_front().unwrap();
                    self.take(channel, &again);
                }
            }
            if self.sim.broken(relid).is_some() || !(self.dead || self.is_open(relid)) {
                self.broken();
            }
        }
    }

    /// Takes a packet.
    fn take(&mut self, channel: u16, received: &Received) {
        match Incoming::sort(received.transaction_id, &received.payload) {
            Incoming::Command {
                place,
                generation,
                answer,
            } => self.answered(place, generation, channel, answer.copied()),
            Incoming::Control { generation, answer } => {
                if channel == 0 && self.control.answered(generation).is_some() {
                    self.reply = Some(*answer);
                } else {
                    self.unknown += 1;
                }
            }
            Incoming::LunsChanged => {}
            Incoming::Nonsense => self.nonsense += 1,
        }
    }

    fn answered(&mut self, place: u32, generation: u32, channel: u16, answer: Option<Packet>) {
        let number = usize::try_from(place).unwrap();
        let found = self.places.get(number);
        if !found.is_some_and(|found| found.take(generation, channel)) {
            self.unknown += 1;
            return;
        }
        let command = self.commands[number].take().unwrap();
        let Some(answer) = answer else {
            self.nonsense += 1;
            self.ended.push((command, Ending::of(HostByte::ERROR)));
            return;
        };
        let srb: Srb = answer.payload();
        let sent = Sent {
            opcode: command.cdb[0],
            length: command.length,
            fibre_channel: false,
        };
        let done = completion(sent, &srb);
        let ending = Ending {
            host: done.host,
            scsi: done.scsi,
            residual: done.residual,
        };
        self.ended.push((command, ending));
    }

    /// Ends the commands of a closed channel, if the host has confirmed that.
    fn end_closed(&mut self, channel: usize, confirmed: bool) {
        if Fate::of(confirmed, self.dead) == Fate::Kept {
            self.kept.push(channel);
            return;
        }
        let channel = u16::try_from(channel).unwrap();
        for (place, command) in self.places.iter().zip(&mut self.commands) {
            if place.drain(channel) {
                let command = command.take().unwrap();
                self.ended.push((command, Ending::of(HostByte::NO_CONNECT)));
            }
        }
    }

    /// The controller is withdrawn, or a ring is broken.
    fn broken(&mut self) {
        if !self.dead {
            self.close();
        }
    }

    /// Closes all channels, and ends the commands of those of which the host confirms it.
    pub(crate) fn close(&mut self) {
        self.dead = true;
        let withdrawn: Vec<_> = self.channels.iter().map(|it| !self.is_open(*it)).collect();
        for index in closing::order(withdrawn.len(), |index| withdrawn[index]) {
            if !self.kept.contains(&index) {
                let confirmed = self.sim.close(self.channels[index]);
                self.end_closed(index, confirmed);
            }
        }
    }

    /// Looks whether the host has withdrawn the channels that it has not closed.
    pub(crate) fn settle(&mut self) {
        for index in std::mem::take(&mut self.kept) {
            let channel = u16::try_from(index).unwrap();
            let withdrawn = self.sim.find_channel(class::SCSI.id, channel).is_none();
            self.end_closed(index, withdrawn);
        }
    }

    /// A command is late.
    pub(crate) fn late(&mut self, age_ms: u64) -> Late {
        let late = Late::of(age_ms, self.limit_ms, self.leaving);
        if late == Late::Close {
            self.broken();
        }
        late
    }

    /// Resets a LUN, or all.
    pub(crate) fn reset(&mut self, lun: Option<u8>) -> bool {
        let lun = lun.map(Self::address);
        let timeout = self.limit_ms.unwrap_or(ANSWER_MS);
        let answer = self.ask(&Reset::request(lun), timeout);
        let Some(mut reset) = answer.and_then(|answer| Reset::answered(&answer, timeout)) else {
            return false;
        };
        loop {
            let busy = self.places.iter().any(|place| place.is_busy(lun));
            match reset.progress(busy, self.dead) {
                Progress::Look => self.pass(LOOK_MS),
                Progress::Done => return true,
                Progress::Failed => return false,
            }
        }
    }

    /// The driver goes, and another comes to what the host offers.
    pub(crate) fn again(mut self) -> Self {
        self.close();
        self.sim
            .control(json!({"command": "faults_clear"}))
            .unwrap();
        if self.sim.find_channel(class::SCSI.id, 0).is_none() {
            let reoffer = json!({"command": "reoffer", "device": "scsi0"});
            self.sim.control(reoffer).unwrap();
        }
        Self::new(self.sim, None)
    }
}
