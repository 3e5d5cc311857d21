// SPDX-License-Identifier: GPL-2.0

//! Where the fault rules meet what passes: packets and messages that go on never, twice, late or otherwise.

use crate::bus::{Bus, Notice};
use crate::channel::{OwnedPacket, PortId};
use crate::fault::{Direction, Outcome, Step};
use crate::host::Output;
use core::time::Duration;
use vmbus_ring::{OutgoingPacket, PacketType, RingMem};

/// Something that a fault rule kept back.
#[derive(Debug)]
pub(crate) enum Delayed {
    /// A packet to the guest, of this opening of the channel.
    Sent(PortId, u64, OwnedPacket),
    /// A packet from the guest, of this opening of the channel.
    Received(PortId, u64, OwnedPacket),
    /// A message to the guest.
    MessageSent(Output),
    /// A message from the guest.
    MessageReceived(Vec<u8>),
}

impl Delayed {
    /// Which packets or messages this one is one of.
    pub(crate) fn lane(&self) -> (Direction, Option<PortId>) {
        match self {
            Self::Sent(port, ..) => (Direction::ToGuest, Some(*port)),
            Self::Received(port, ..) => (Direction::FromGuest, Some(*port)),
            Self::MessageSent(_) => (Direction::MessageToGuest, None),
            Self::MessageReceived(_) => (Direction::MessageFromGuest, None),
        }
    }
}

/// The most things that fault rules keep back.
const MAX_DELAYED: usize = 4096;

/// The most completions that a channel owes for ever.
const MAX_NEVER_ANSWERED: usize = 4096;

impl Bus {
    /// Sends a packet of a device's, unless the channel is closed or a fault rule has it otherwise.
    pub(crate) fn send(&mut self, id: PortId, packet: &OutgoingPacket<'_>) {
        let Some((_, open)) = self.open_mut(id) else {
            return;
        };
        if packet.packet_type == PacketType::COMPLETION {
            let owed = &mut open.never_answered;
            if let Some(at) = owed.iter().position(|owed| *owed == packet.transaction_id) {
                owed.swap_remove(at);
                return;
            }
        }
        if self.faults.is_empty() {
            return self.stage(id, packet);
        }
        let mut packet = OwnedPacket::outgoing(packet);
        let outcome = self.apply(Direction::ToGuest, Some(id), Step::Packet(&mut packet));
        self.before(&outcome, Some(id));
        let generation = self.port(id).map_or(0, |port| port.generation);
        self.deliver(&outcome, &packet, |packet| {
            Delayed::Sent(id, generation, packet)
        });
        self.after(&outcome, Some(id));
    }

    /// Asks the fault rules.
    pub(crate) fn apply(
        &mut self,
        direction: Direction,
        id: Option<PortId>,
        step: Step<'_>,
    ) -> Outcome {
        if self.faults.is_empty() {
            return Outcome::default();
        }
        let name = id.and_then(|id| Some((self.entries.get(&id.device)?.name.clone(), id.channel)));
        self.faults.apply(direction, name, step)
    }

    /// What a fault rule wants done before its step.
    pub(crate) fn before(&mut self, outcome: &Outcome, id: Option<PortId>) {
        if let (true, Some(id)) = (outcome.rescind_before, id) {
            self.rescind(id.device);
        }
    }

    /// What a fault rule wants done after its step.
    pub(crate) fn after(&mut self, outcome: &Outcome, id: Option<PortId>) {
        let Some(id) = id else {
            return;
        };
        let indices = outcome.indices.iter();
        self.overwrites
            .extend(indices.map(|&(direction, word, value)| (id, direction, word, value)));
        if outcome.rescind_after {
            self.rescind(id.device);
        }
    }

    /// Overwrites the indices that fault rules want overwritten. The guest is interrupted, or it would not look.
    pub(crate) fn overwrite(&mut self) {
        for (id, direction, word, value) in core::mem::take(&mut self.overwrites) {
            if let Some((_, open)) = self.open_mut(id) {
                let ring = match direction {
                    Direction::FromGuest | Direction::MessageFromGuest => open.reader.mem(),
                    Direction::ToGuest | Direction::MessageToGuest => open.writer.mem(),
                };
                ring.store(word, value);
                self.interrupt(id);
            }
        }
    }

    /// Carries out how often, when and in which order something goes on.
    pub(crate) fn deliver<T: Clone>(
        &mut self,
        outcome: &Outcome,
        step: &T,
        wrap: impl Fn(T) -> Delayed,
    ) {
        let lane = wrap(step.clone()).lane();
        for _ in 0..outcome.copies {
            let one = wrap(step.clone());
            match outcome.delay {
                Some(delay) => self.delay(delay, outcome.reorder, one),
                None => self.proceed(one),
            }
        }
        if !outcome.reorder && outcome.copies > 0 {
            self.release_reordered(lane);
        }
    }

    /// Keeps something back.
    fn delay(&mut self, delay: Duration, reorder: bool, what: Delayed) {
        if self.delayed.len() < MAX_DELAYED {
            let due = self.clock.now().saturating_add(delay);
            self.delayed
                .insert((due, self.delayed_count), (reorder, what));
            self.delayed_count = self.delayed_count.wrapping_add(1);
        }
    }

    /// Lets go on what waits for the next one of its lane to pass.
    fn release_reordered(&mut self, lane: (Direction, Option<PortId>)) {
        let waiting: Vec<_> = self
            .delayed
            .iter()
            .filter(|(_, (reorder, what))| *reorder && what.lane() == lane)
            .map(|(key, _)| *key)
            .collect();
        for key in waiting {
            if let Some((_, what)) = self.delayed.remove(&key) {
                self.proceed(what);
            }
        }
    }

    /// Lets go on what is due.
    pub(crate) fn release_due(&mut self) {
        let now = self.clock.now();
        while let Some(first) = self.delayed.first_entry() {
            if first.key().0 > now {
                return;
            }
            let (_, what) = first.remove();
            self.proceed(what);
        }
    }

    /// Lets something go on, with no more regard to fault rules.
    fn proceed(&mut self, what: Delayed) {
        let current =
            |bus: &Self, id, generation| bus.port(id).is_some_and(|p| p.generation == generation);
        match what {
            Delayed::Sent(id, generation, packet) if current(self, id, generation) => {
                packet.with(|packet| self.stage(id, packet));
            }
            Delayed::Received(id, generation, packet) if current(self, id, generation) => {
                self.notices.push_back(Notice::Received(id, packet));
            }
            Delayed::Sent(..) | Delayed::Received(..) => {}
            Delayed::MessageSent(output) => self.outputs.push_back(output),
            Delayed::MessageReceived(bytes) => self.carry_out(&bytes, None),
        }
    }

    /// A packet from the guest, to which the fault rules are applied: the device gets what is left of it as notices.
    pub(crate) fn received(&mut self, id: PortId, mut packet: OwnedPacket) {
        let outcome = self.apply(Direction::FromGuest, Some(id), Step::Packet(&mut packet));
        self.before(&outcome, Some(id));
        if outcome.never_answer {
            if let Some((_, open)) = self.open_mut(id) {
                if open.never_answered.len() < MAX_NEVER_ANSWERED {
                    open.never_answered.push(packet.transaction_id);
                }
            }
        }
        packet.forced_status = outcome.error_status;
        let generation = self.port(id).map_or(0, |port| port.generation);
        self.deliver(&outcome, &packet, |packet| {
            Delayed::Received(id, generation, packet)
        });
        self.after(&outcome, Some(id));
    }
}
