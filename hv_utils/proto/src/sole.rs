// SPDX-License-Identifier: GPL-2.0

//! What there is one of, such as the name of a device: the first who comes has it until it gives it back.

use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::{Acquire, Release};

/// Something that one may have at a time.
#[derive(Debug, Default)]
pub struct Sole(AtomicBool);

impl Sole {
    /// One that nobody has.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Takes it, unless somebody has it. Any context.
    #[must_use]
    pub fn take(&self) -> Option<Held<'_>> {
        match self.0.swap(true, Acquire) {
            true => None,
            false => Some(Held(self)),
        }
    }
}

/// Proof of having it. It goes back when this is dropped.
#[derive(Debug)]
pub struct Held<'a>(&'a Sole);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0 .0.store(false, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn the_second_gets_nothing_until_the_first_is_gone() {
        let sole = Sole::new();
        let first = sole.take();
        assert!(first.is_some());
        // As often as it is tried: a refusal changes nothing.
        assert!(sole.take().is_none());
        assert!(sole.take().is_none());
        drop(first);
        let second = sole.take();
        assert!(second.is_some());
        assert!(sole.take().is_none());
    }

    #[test]
    fn of_many_at_once_one_gets_it() {
        let sole = Sole::new();
        for _ in 0..100 {
            let start = std::sync::Barrier::new(4);
            let take = || {
                start.wait();
                sole.take()
            };
            let held: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
                let ends = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
                ends.map(Result::unwrap).collect()
            });
            assert_eq!(held.iter().flatten().count(), 1);
        }
    }
}
