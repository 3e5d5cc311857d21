// SPDX-License-Identifier: GPL-2.0

//! Ring memory in the hands of a hostile host.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use vmbus_ring::{Control, RingMem};

use crate::input::Input;

/// Bytes in the data area.
pub(crate) const SIZE: u32 = 512;

/// A ring in one thread. Panics if the ring code reaches outside it.
pub(crate) struct Memory {
    control: [Cell<u32>; 5],
    data: RefCell<Vec<u8>>,
    /// Values that the next loads return, whatever the words hold.
    flicker: RefCell<VecDeque<u32>>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        let data = vec![0; usize::try_from(SIZE).unwrap()];
        Self {
            control: Default::default(),
            data: RefCell::new(data),
            flicker: RefCell::default(),
        }
    }

    fn word(&self, word: Control) -> &Cell<u32> {
        &self.control[match word {
            Control::WriteIndex => 0,
            Control::ReadIndex => 1,
            Control::InterruptMask => 2,
            Control::PendingSendSize => 3,
            Control::FeatureBits => 4,
        }]
    }

    /// The value of a word, as the host sees it.
    pub(crate) fn get(&self, word: Control) -> u32 {
        self.word(word).get()
    }

    /// Writes a word, as the host.
    pub(crate) fn set(&self, word: Control, value: u32) {
        self.word(word).set(value);
    }

    /// Has the host write any word, or a value that only the next load sees.
    pub(crate) fn hostile_word(&self, input: &mut Input<'_>) {
        let choice = usize::from(input.u8());
        let value = match input.u8() {
            // Valid indices are rare among all numbers.
            units @ 0..=0xfe => u32::from(units) * 8,
            0xff => input.u32(),
        };
        match self.control.get(choice) {
            Some(word) => word.set(value),
            None => self.flicker.borrow_mut().push_back(value),
        }
    }

    /// Has the host write data.
    pub(crate) fn hostile_data(&self, input: &mut Input<'_>) {
        let offset = usize::from(input.u8()) * 2;
        let len = usize::from(input.u8());
        let bytes = input.bytes(len);
        for (byte, value) in self.data.borrow_mut().iter_mut().skip(offset).zip(bytes) {
            *byte = *value;
        }
    }

    /// The bytes from index `from` to index `to`, with those beyond the end of the data area
    /// joined.
    pub(crate) fn between(&self, from: u32, to: u32) -> Vec<u8> {
        let (from, to) = (usize::try_from(from).unwrap(), usize::try_from(to).unwrap());
        let data = self.data.borrow();
        if from <= to {
            data[from..to].to_vec()
        } else {
            [&data[from..], &data[..to]].concat()
        }
    }
}

impl RingMem for Memory {
    fn size(&self) -> u32 {
        SIZE
    }

    fn load(&self, word: Control) -> u32 {
        self.flicker
            .borrow_mut()
            .pop_front()
            .unwrap_or_else(|| self.get(word))
    }

    fn store(&self, word: Control, value: u32) {
        self.set(word, value);
    }

    fn full_fence(&self) {}

    fn read(&self, offset: u32, dest: &mut [u8]) {
        let offset = usize::try_from(offset).unwrap();
        dest.copy_from_slice(&self.data.borrow()[offset..offset + dest.len()]);
    }

    fn write(&self, offset: u32, src: &[u8]) {
        let offset = usize::try_from(offset).unwrap();
        self.data.borrow_mut()[offset..offset + src.len()].copy_from_slice(src);
    }
}
