// SPDX-License-Identifier: GPL-2.0

//! The commands that the host has: what is known of each, and who gets it out when several try.
//!
//! The driver keeps one [`Place`] for every tag of every queue. A command is put into a place that is free, and leaves it
//! once: by the host's answer on the channel on which it went, or by a drain. Both are one exchange of the same word, so
//! that one of them gets the command. The next command of the place has another generation, and with it another
//! [transaction id](crate::Transaction).
//!
//! Nobody but this module touches the words, so that Rust's own atomics and memory model do.

use crate::lun::Address;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A place for one command.
///
/// The block layer gives a tag to one command at a time: nobody calls [`Self::free`] or [`Self::put`] while another does,
/// or before the earlier command of the place has ended.
#[derive(Debug)]
pub struct Place {
    /// In the upper 32 bits the generation; in the lower 0, or the number of the command's channel, from 1.
    state: AtomicU64,
    /// Where the command's LUN is.
    lun: AtomicU32,
    /// When the command was sent, by a clock of the driver's that may come round.
    sent: AtomicU32,
}

/// The state of a place that has, or had, the command of a generation.
#[inline]
fn state(generation: u32, occupant: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(occupant)
}

/// The same taken apart.
#[inline]
fn split(state: u64) -> (u32, u32) {
    let half = |half: u64| u32::try_from(half & u64::from(u32::MAX)).unwrap_or(0);
    (half(state >> 32), half(state))
}

/// How far the first generations of neighbours are apart: 2^32 by the golden ratio, so that no two come near each other.
const APART: u32 = 0x9e37_79b9;

/// What the lower half of the state is while the host has a command by this channel.
#[inline]
fn occupant(channel: u16) -> u32 {
    u32::from(channel).wrapping_add(1)
}

impl Place {
    /// The empty place with this number. A host that answers to a wrong place does not hit a command there, since that
    /// has quite another generation.
    #[must_use]
    pub fn new(number: u32) -> Self {
        Self {
            state: AtomicU64::new(state(number.wrapping_mul(APART), 0)),
            lun: AtomicU32::new(0),
            sent: AtomicU32::new(0),
        }
    }

    /// The generation of a command that is put here now; `None` while the host still has an earlier one.
    #[inline]
    #[must_use]
    pub fn free(&self) -> Option<u32> {
        let (generation, occupant) = split(self.state.load(Ordering::Relaxed));
        (occupant == 0).then_some(generation)
    }

    /// A command for a LUN is here from `now` on, which goes to the host by this channel. Its generation is that of
    /// [`Self::free`].
    #[inline]
    pub fn put(&self, generation: u32, channel: u16, lun: Address, now: u32) {
        self.lun.store(lun.into(), Ordering::Relaxed);
        self.sent.store(now, Ordering::Relaxed);
        let state = state(generation, occupant(channel));
        self.state.store(state, Ordering::Release);
    }

    /// The host has answered the command of this generation by this channel. Whoever gets `true` has the command.
    #[inline]
    #[must_use]
    pub fn take(&self, generation: u32, channel: u16) -> bool {
        self.empty(generation, occupant(channel))
    }

    /// The host has done with this channel. Whoever gets `true` has the command.
    #[must_use]
    pub fn drain(&self, channel: u16) -> bool {
        let (generation, inside) = split(self.state.load(Ordering::Relaxed));
        inside == occupant(channel) && self.empty(generation, inside)
    }

    /// Whether the host has a command here, for this LUN if one is named.
    #[must_use]
    pub fn is_busy(&self, lun: Option<Address>) -> bool {
        let (_, occupant) = split(self.state.load(Ordering::Acquire));
        let here = || self.lun.load(Ordering::Relaxed);
        occupant != 0 && lun.is_none_or(|lun| u32::from(lun) == here())
    }

    /// For how long the host has had the command; `None` if it has none. A command that is tried again is as old as its last
    /// try.
    #[must_use]
    pub fn age(&self, now: u32) -> Option<u32> {
        let age = || now.wrapping_sub(self.sent.load(Ordering::Relaxed));
        self.is_busy(None).then(age)
    }

    /// Whether the host has a command here that went by this channel.
    #[must_use]
    pub fn is_on(&self, channel: u16) -> bool {
        split(self.state.load(Ordering::Relaxed)).1 == occupant(channel)
    }

    /// Takes the command out if it is still this one.
    #[inline]
    fn empty(&self, generation: u32, occupant: u32) -> bool {
        let next = state(generation.wrapping_add(1), 0);
        let exchanged = self.state.compare_exchange(
            state(generation, occupant),
            next,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        exchanged.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const LUN: Address = Address {
        path: 0,
        target: 1,
        lun: 7,
    };
    const OTHER: Address = Address { lun: 8, ..LUN };

    #[test]
    fn a_command_leaves_once_and_by_its_own_channel() {
        let place = Place::new(0);
        assert_eq!(place.free(), Some(0));
        assert!(!place.take(0, 0) && !place.drain(0));
        place.put(0, 3, LUN, 0);
        assert_eq!(place.free(), None);
        assert!(!place.take(0, 0) && !place.take(0, 2) && !place.take(1, 3));
        assert!(place.take(0, 3));
        assert!(!place.take(0, 3) && !place.drain(3));
        assert_eq!(place.free(), Some(1));
        place.put(1, 3, LUN, 0);
        assert!(!place.take(0, 3), "an answer that comes again");
        assert!(!place.drain(2));
        assert!(place.drain(3) && !place.take(1, 3));
        place.put(2, 0, LUN, 0);
        assert!(place.drain(0));
    }

    #[test]
    fn the_last_generation_and_channel() {
        let place = Place {
            state: AtomicU64::new(state(u32::MAX, 0)),
            lun: AtomicU32::new(0),
            sent: AtomicU32::new(0),
        };
        assert_eq!(place.free(), Some(u32::MAX));
        place.put(u32::MAX, u16::MAX, LUN, 0);
        assert!(!place.take(u32::MAX, 0));
        assert!(place.take(u32::MAX, u16::MAX));
        assert_eq!(place.free(), Some(0));
    }

    #[test]
    fn neighbours_have_other_generations() {
        let place = Place::new(7);
        let generation = place.free().unwrap();
        place.put(generation, 0, LUN, 0);
        assert!(!place.take(Place::new(6).free().unwrap(), 0));
        assert!(place.take(generation, 0));
    }

    #[test]
    fn whose_it_is() {
        let place = Place::new(0);
        assert!(!place.is_busy(None) && !place.is_busy(Some(LUN)));
        place.put(0, 0, LUN, 0);
        assert!(place.is_busy(None) && place.is_busy(Some(LUN)) && !place.is_busy(Some(OTHER)));
        assert!(place.take(0, 0));
        assert!(!place.is_busy(None) && !place.is_busy(Some(LUN)));
    }

    #[test]
    fn a_command_is_as_old_as_its_last_try() {
        let place = Place::new(0);
        assert_eq!(place.age(7), None);
        place.put(0, 1, LUN, u32::MAX);
        assert_eq!((place.age(u32::MAX), place.age(4)), (Some(0), Some(5)));
        assert!(place.take(0, 1));
        assert_eq!(place.age(4), None);
        place.put(1, 0, LUN, 100);
        assert_eq!(place.age(130), Some(30));
    }

    #[test]
    fn of_many_who_try_one_gets_it() {
        let place = Place::new(0);
        for generation in 0..2000 {
            place.put(generation, 1, LUN, 0);
            let got = thread::scope(|scope| {
                let tries = [
                    scope.spawn(|| place.take(generation, 1)),
                    scope.spawn(|| place.drain(1)),
                    scope.spawn(|| place.drain(1)),
                ];
                tries.map(|thread| thread.join().unwrap())
            });
            assert_eq!(got.iter().filter(|got| **got).count(), 1, "{generation}");
        }
    }
}
