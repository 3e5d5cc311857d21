// SPDX-License-Identifier: GPL-2.0

//! What happens to LUNs: they come, go and change.
//!
//! Noted in softirq context, where nothing may be allocated and nothing must be lost, and followed in a work item.

use hv_core::IrqLock;
use kernel::prelude::*;
use storvsc_proto::{Action, Address};

/// Words of a set.
const WORDS: usize = Address::COUNT / 64;

/// A set of LUNs.
struct Set([u64; WORDS]);

impl Set {
    /// Adds a LUN.
    fn insert(&mut self, address: Address) {
        if let Some(index) = address.index() {
            if let Some(word) = self.0.get_mut(index / 64) {
                *word |= 1 << (index % 64);
            }
        }
    }

    /// Takes a LUN out.
    fn pop(&mut self) -> Option<Address> {
        let (index, word) = self
            .0
            .iter_mut()
            .enumerate()
            .find(|(_, word)| **word != 0)?;
        let bit = word.trailing_zeros();
        *word &= *word - 1;
        Address::from_index(index * 64 + bit as usize)
    }
}

/// One thing to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// Something is to be done with one LUN.
    Lun(Action, Address),
    /// LUNs have come or gone.
    Scan,
}

/// What is to be done.
struct Noted {
    /// LUNs to remove.
    remove: Set,
    /// LUNs to look at again.
    rescan: Set,
    /// Whether to look for LUNs.
    scan: bool,
}

/// What is to be done about the LUNs of one controller.
#[pin_data]
pub(crate) struct Events {
    /// What is noted.
    #[pin]
    noted: IrqLock<Noted>,
}

impl Events {
    /// Nothing to be done.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            noted <- hv_core::new_irq_lock!(Noted {
                remove: Set([0; WORDS]),
                rescan: Set([0; WORDS]),
                scan: false,
            }),
        })
    }

    /// Notes something. Any context.
    pub(crate) fn note(&self, event: Event) {
        let mut noted = self.noted.lock();
        match event {
            Event::Lun(Action::Remove, address) => noted.remove.insert(address),
            Event::Lun(Action::Rescan, address) => noted.rescan.insert(address),
            Event::Scan => noted.scan = true,
        }
    }

    /// The next thing to do. Removals come first, as they spare the rest work.
    pub(crate) fn next(&self) -> Option<Event> {
        let mut noted = self.noted.lock();
        if let Some(address) = noted.remove.pop() {
            return Some(Event::Lun(Action::Remove, address));
        }
        if let Some(address) = noted.rescan.pop() {
            return Some(Event::Lun(Action::Rescan, address));
        }
        core::mem::take(&mut noted.scan).then_some(Event::Scan)
    }
}
