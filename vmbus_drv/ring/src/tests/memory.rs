// SPDX-License-Identifier: GPL-2.0

//! Ring memory that a test can look into, write as the host would, and script.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::vec;
use std::vec::Vec;

use crate::{Control, RingMem};

/// A ring in one thread. Panics if the code under test reaches outside it.
pub(super) struct TestMem {
    control: [Cell<u32>; 5],
    data: RefCell<Vec<u8>>,
    /// Values that the next loads of these words return instead: a host that changes them each
    /// time.
    script: RefCell<VecDeque<(Control, u32)>>,
    /// Words loaded, in order.
    pub(super) loads: RefCell<Vec<Control>>,
    /// Bytes written to the data area.
    pub(super) written: Cell<usize>,
}

impl TestMem {
    pub(super) fn new(size: usize) -> Self {
        Self {
            control: Default::default(),
            data: RefCell::new(vec![0; size]),
            script: RefCell::default(),
            loads: RefCell::default(),
            written: Cell::new(0),
        }
    }

    fn word(&self, word: Control) -> &Cell<u32> {
        let all = [
            Control::WriteIndex,
            Control::ReadIndex,
            Control::InterruptMask,
            Control::PendingSendSize,
            Control::FeatureBits,
        ];
        let position = all.iter().position(|&candidate| candidate == word);
        &self.control[position.expect("all words are listed")]
    }

    pub(super) fn get(&self, word: Control) -> u32 {
        self.word(word).get()
    }

    pub(super) fn set(&self, word: Control, value: u32) {
        self.word(word).set(value);
    }

    /// Has the next load of `word` that is at the head of the script return `value`.
    pub(super) fn script(&self, word: Control, value: u32) {
        self.script.borrow_mut().push_back((word, value));
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.data.borrow().clone()
    }

    pub(super) fn set_bytes(&self, offset: usize, bytes: &[u8]) {
        self.data.borrow_mut()[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}

impl RingMem for TestMem {
    fn size(&self) -> u32 {
        u32::try_from(self.data.borrow().len()).expect("a test ring is small")
    }

    fn load(&self, word: Control) -> u32 {
        self.loads.borrow_mut().push(word);
        let mut script = self.script.borrow_mut();
        match script.front() {
            Some(&(scripted, value)) if scripted == word => {
                script.pop_front();
                value
            }
            _ => self.word(word).get(),
        }
    }

    fn store(&self, word: Control, value: u32) {
        self.word(word).set(value);
    }

    fn full_fence(&self) {}

    fn read(&self, offset: u32, dest: &mut [u8]) {
        let offset = usize::try_from(offset).expect("64-bit host");
        dest.copy_from_slice(&self.data.borrow()[offset..offset + dest.len()]);
    }

    fn write(&self, offset: u32, src: &[u8]) {
        let offset = usize::try_from(offset).expect("64-bit host");
        self.data.borrow_mut()[offset..offset + src.len()].copy_from_slice(src);
        self.written.set(self.written.get() + src.len());
    }
}

/// A packet as the host would write it: descriptor, `body` (a multiple of 8 bytes) and trailer.
pub(super) fn wire(
    packet_type: u16,
    offset8: u16,
    length8: u16,
    flags: u16,
    id: u64,
    body: &[u8],
) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in [packet_type, offset8, length8, flags] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend(id.to_le_bytes());
    bytes.extend(body);
    bytes.extend([0; 8]);
    bytes
}
