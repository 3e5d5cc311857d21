// SPDX-License-Identifier: GPL-2.0

//! A channel's whole life, disturbed at every single step.

use crate::guest::{relid, Guest};
use vmbus_proto::{Event, GpadlId, Request, RequestError, Version};

/// The steps of a channel's life. Each answer is read in a step of its own.
const STEPS: usize = 15;

/// One life of channel 1.
struct Life {
    /// The guest.
    guest: Guest,
    /// The memory of the rings.
    ring: GpadlId,
    /// Other memory.
    buffer: GpadlId,
}

impl Life {
    /// The channel is offered.
    fn new() -> Self {
        let guest = Guest::connected(Version::V6_0, &[(1, 1, 0)]);
        Self {
            guest,
            ring: GpadlId(0),
            buffer: GpadlId(0),
        }
    }

    /// Takes one step.
    fn step(&mut self, step: usize) -> Result<(), RequestError> {
        let (guest, relid) = (&mut self.guest, relid(1));
        match step {
            0 => self.ring = guest.create_gpadl(relid)?,
            2 => guest.open(relid, self.ring)?,
            4 => self.buffer = guest.create_gpadl(relid)?,
            6 => guest.modify(relid, 2)?,
            8 => guest.teardown_gpadl(relid, self.buffer)?,
            10 => guest.close(relid)?,
            11 => guest.teardown_gpadl(relid, self.ring)?,
            13 => guest.release(relid)?,
            14 => {}
            _ => assert!(guest.deliver()),
        }
        Ok(())
    }

    /// Takes all the steps before this one.
    fn until(step: usize) -> Self {
        let mut life = Self::new();
        for step in 0..step {
            life.step(step).unwrap();
        }
        life
    }
}

#[test]
fn an_undisturbed_life_leaves_nothing() {
    let life = Life::until(STEPS);
    assert_eq!(life.guest.errors, []);
    assert_eq!(life.guest.host.released, [1]);
    life.guest.assert_empty();
}

#[test]
fn a_rescind_at_any_step_completes_everything_once() {
    for step in 0..14 {
        // The answer that is under way is read before the rescind, is lost, or comes after it.
        for crossing in 0..3 {
            let mut life = Life::until(step);
            let guest = &mut life.guest;
            let answer = guest.host.to_guest.pop_front();
            if !guest.host.offers(1) {
                continue;
            }
            guest.host.rescind(1);
            match (crossing, answer) {
                (0, Some(answer)) => guest.host.to_guest.push_front(answer),
                (2, Some(answer)) => guest.host.to_guest.push_back(answer),
                _ => {}
            }
            guest.deliver_all();
            assert_eq!(guest.outstanding, [], "step {step}, crossing {crossing}");
            let rescinds = guest
                .events
                .iter()
                .filter(|event| matches!(event, Event::Rescinded { .. }));
            assert_eq!(rescinds.count(), 1);

            // The device does not know yet, and goes on.
            for later in step..13 {
                if !matches!(later, 1 | 3 | 5 | 7 | 9 | 12) {
                    let result = life.step(later);
                    assert_eq!(
                        result,
                        Err(RequestError::Rescinded),
                        "step {step}, then {later}"
                    );
                }
            }
            life.step(13).unwrap();
            assert_eq!(life.guest.host.released, [1]);
            life.guest.assert_empty();

            // The relid is good for another channel.
            life.guest.host.offer(1, 1, 0);
            life.guest.deliver_all();
            life.guest.opened(relid(1));
        }
    }
}

#[test]
fn an_unload_at_any_step_completes_everything_once() {
    for step in 0..14 {
        let mut life = Life::until(step);
        life.guest.unload().unwrap();
        life.guest.deliver_all();
        assert_eq!(life.guest.errors, [], "step {step}");
        life.guest.assert_empty();
    }
}

#[test]
fn an_answer_that_comes_twice_changes_nothing() {
    for step in [1, 3, 5, 7, 9, 12] {
        let mut life = Life::until(step);
        let answer = life.guest.host.to_guest[0].clone();
        life.step(step).unwrap();
        for _ in 0..3 {
            life.guest.handle(&answer);
        }
        assert_eq!(life.guest.errors.len(), 3, "step {step}");
        for later in step + 1..STEPS {
            life.step(later).unwrap();
        }
        life.guest.assert_empty();
    }
}

#[test]
fn an_abandoned_request_is_undone_when_its_answer_comes() {
    for step in [0, 2, 4, 6, 8, 11] {
        let mut life = Life::until(step + 1);
        let request = life.guest.outstanding[0];
        life.guest.abandon(request).unwrap();
        life.guest.deliver_all();
        assert_eq!(life.guest.outstanding, [], "{request:?}");
        assert_eq!(life.guest.errors, []);
        assert!(life.guest.client.abandon(request).is_err());

        // Whatever is left can be cleaned up, and what is gone says so.
        let (ring, buffer) = (life.ring, life.buffer);
        let guest = &mut life.guest;
        let _ = guest.close(relid(1));
        let _ = guest.teardown_gpadl(relid(1), ring);
        let _ = guest.teardown_gpadl(relid(1), buffer);
        guest.deliver_all();
        guest.release(relid(1)).unwrap();
        guest.assert_empty();
    }
}

#[test]
fn a_rescind_frees_what_was_abandoned() {
    for step in [0, 2, 4, 6, 8, 11] {
        let mut life = Life::until(step + 1);
        let request: Request = life.guest.outstanding[0];
        life.guest.abandon(request).unwrap();
        life.guest.host.to_guest.clear();
        life.guest.host.rescind(1);
        life.guest.deliver_all();
        life.guest.release(relid(1)).unwrap();
        life.guest.assert_empty();
    }
}
