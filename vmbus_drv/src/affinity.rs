// SPDX-License-Identifier: GPL-2.0

//! Which CPU the events of a channel interrupt.

use crate::isolation;
use hv_core::Cpu;
use kernel::prelude::*;
use vmbus_proto::{Class, Offer};

/// How many channels each CPU has.
pub(crate) struct Affinity {
    /// Channels of each CPU, by its number.
    load: KVVec<u32>,
    /// The node that is to have the next channel, in a circle.
    next_node: i32,
}

impl Affinity {
    /// Nobody has a channel. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            load: KVVec::from_elem(0, Cpu::count(), GFP_KERNEL)?,
            next_node: 0,
        })
    }

    /// Chooses a CPU for a channel that was offered, and counts it.
    ///
    /// Channels of slow devices go to `connect`, as with the stock driver. The others go round the NUMA nodes, and
    /// within a node to the CPU with the fewest, but to one where the device has no channel yet (`has_one`) if there is
    /// any: a device with as many channels as there are CPUs serves each CPU by its own.
    pub(crate) fn assign(
        &mut self,
        offer: &Offer,
        connect: Cpu,
        has_one: impl Fn(Cpu) -> bool,
    ) -> Cpu {
        let fast = Class::find(&offer.class).is_some_and(|class| class.performance);
        let cpu = if fast {
            let free = self.pick(|cpu| !has_one(cpu));
            free.or_else(|| self.pick(|_| true)).unwrap_or(connect)
        } else {
            connect
        };
        self.add(cpu);
        cpu
    }

    /// Chooses another CPU for a channel whose CPU `old` goes offline, of the same node if possible.
    pub(crate) fn reassign(&self, old: Cpu, connect: Cpu) -> Cpu {
        let near = self.least_loaded(|cpu| cpu != old && cpu.node() == old.node());
        near.or_else(|| self.least_loaded(|cpu| cpu != old))
            .unwrap_or(connect)
    }

    /// A channel is gone from `cpu`.
    pub(crate) fn remove(&mut self, cpu: Cpu) {
        if let Some(load) = self.load.get_mut(cpu.index()) {
            *load = load.saturating_sub(1);
        }
    }

    /// A channel has come to `cpu`.
    pub(crate) fn add(&mut self, cpu: Cpu) {
        if let Some(load) = self.load.get_mut(cpu.index()) {
            *load = load.saturating_add(1);
        }
    }

    /// The least loaded CPU of the next node that has one.
    fn pick(&mut self, wanted: impl Fn(Cpu) -> bool) -> Option<Cpu> {
        let nodes = Cpu::possible().map(Cpu::node).max()?.checked_add(1)?;
        (0..nodes).find_map(|_| {
            let node = self.next_node;
            self.next_node = node.wrapping_add(1).checked_rem(nodes).unwrap_or(0);
            self.least_loaded(|cpu| cpu.node() == node && wanted(cpu))
        })
    }

    /// The eligible CPU with the fewest channels among the wanted ones.
    fn least_loaded(&self, wanted: impl Fn(Cpu) -> bool) -> Option<Cpu> {
        Cpu::possible()
            .filter(|cpu| cpu.online() && isolation::takes_managed_irqs(*cpu) && wanted(*cpu))
            .min_by_key(|cpu| self.load.get(cpu.index()).copied().unwrap_or(u32::MAX))
    }
}
