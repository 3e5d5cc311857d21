// SPDX-License-Identifier: GPL-2.0

//! Defect 7 of the C driver: where its message handler gets no memory, it forgets the message, and the slot with it.

#![expect(clippy::arithmetic_side_effects, reason = "A test may panic.")]

use super::*;
use proptest::prelude::*;
use std::boxed::Box;
use std::collections::VecDeque;
use std::vec;
use std::vec::Vec;

/// The only CPU that receives messages.
const CPU: u32 = 3;

/// A message that says `number`.
fn numbered(number: u8) -> Message {
    [number; MESSAGE_SIZE]
}

/// An inbox for `size` messages.
fn inbox(size: usize) -> Inbox<Box<[Message]>, u32> {
    Inbox::new(vec![numbered(0); size].into())
}

/// The hypervisor's queue, the slot of one CPU, the inbox behind it, and the worker.
struct World {
    /// Messages that the hypervisor holds back.
    queue: VecDeque<u8>,
    /// The message in the slot.
    slot: Option<u8>,
    /// Whether the CPU has an interrupt to take.
    interrupt: bool,
    /// The inbox.
    inbox: Inbox<Box<[Message]>, u32>,
    /// Whether the worker has something to do.
    queued: bool,
    /// What the worker has seen.
    seen: Vec<u8>,
    /// How often a message had to stay in the slot.
    busy: usize,
}

impl World {
    /// The hypervisor moves the next message to the slot, if that is free.
    fn fill_slot(&mut self) {
        if self.slot.is_none() {
            self.slot = self.queue.pop_front();
            self.interrupt |= self.slot.is_some();
        }
    }

    /// What the interrupt does, and `resume` again: offers the message to the inbox, and frees the slot if it is taken.
    fn deliver(&mut self) {
        self.interrupt = false;
        let Some(number) = self.slot else { return };
        match self.inbox.push(CPU, &numbered(number)) {
            Ok(()) => {
                self.slot = None;
                self.fill_slot();
            }
            Err(InboxFull) => self.busy += 1,
        }
        self.queued = true;
    }

    /// The worker takes one message; false if there is none.
    fn work(&mut self) -> bool {
        let Some((message, stalled)) = self.inbox.pop() else {
            self.queued = false;
            return false;
        };
        if let Some(cpu) = stalled {
            assert_eq!(cpu, CPU);
            self.deliver();
        }
        self.seen.push(message[0]);
        true
    }
}

#[test]
fn defect_7_a_full_inbox_leaves_the_message_in_its_slot() {
    for size in [1, 2, 64] {
        let mut inbox = inbox(size);
        for number in 0..size {
            let message = numbered(u8::try_from(number).unwrap());
            assert_eq!(inbox.push(CPU, &message), Ok(()));
        }
        assert_eq!(inbox.push(CPU, &numbered(0xee)), Err(InboxFull));
        assert_eq!(inbox.push(CPU, &numbered(0xff)), Err(InboxFull));
        // The first room that there is brings the CPU to deliver it, and only that.
        for number in 0..size {
            let (message, stalled) = inbox.pop().unwrap();
            assert_eq!(usize::from(message[0]), number);
            assert_eq!(stalled, (number == 0).then_some(CPU));
        }
        assert_eq!(inbox.pop(), None);
    }
}

#[test]
fn defect_7_without_any_room_nothing_is_taken() {
    let mut inbox = inbox(0);
    assert_eq!(inbox.push(CPU, &numbered(1)), Err(InboxFull));
    assert_eq!(inbox.pop(), None);
}

proptest! {
    /// However slow the worker is, each message comes through once and in order, and the slot does not stay taken.
    #[test]
    fn defect_7_no_message_is_lost_however_slow_the_worker(
        size in 1..5usize,
        steps in prop::collection::vec(0..3u8, 0..400),
    ) {
        let mut world = World {
            queue: VecDeque::new(),
            slot: None,
            interrupt: false,
            inbox: inbox(size),
            queued: false,
            seen: Vec::new(),
            busy: 0,
        };
        let mut sent = Vec::new();
        for step in steps {
            match step {
                0 => {
                    let number = u8::try_from(sent.len() % 251).unwrap();
                    sent.push(number);
                    world.queue.push_back(number);
                    world.fill_slot();
                }
                1 if world.interrupt => world.deliver(),
                2 if world.queued => drop(world.work()),
                _ => {}
            }
            // A message that had to stay means a worker that will come.
            prop_assert!(world.slot.is_none() || world.interrupt || world.queued);
        }
        while world.interrupt || world.queued {
            if world.interrupt {
                world.deliver();
            }
            while world.work() {}
        }
        prop_assert!(world.busy <= sent.len());
        prop_assert_eq!(world.seen, sent);
        prop_assert_eq!(world.slot, None);
    }
}
