// SPDX-License-Identifier: GPL-2.0

//! Tests of freezing and thawing, against a daemon that really freezes something.

use super::*;
use crate::alarm::Alarm;
use crate::relay::{Answer, Relay};
use proptest::prelude::*;
use std::vec::Vec;

const TIMEOUTS: Timeouts = Timeouts {
    freeze: 900,
    request: 30,
    frozen: 500,
};

/// A host, a daemon and the file systems.
struct World {
    relay: Relay<Vss, Vec<u8>, Vec<u8>, ()>,
    now: u64,
    /// Whether the file systems are.
    frozen: bool,
    /// What the daemon works on.
    task: Option<Operation>,
}

impl World {
    /// Where host and daemon are there.
    fn new() -> Self {
        let mut world = Self {
            relay: Relay::new(Vss::new(TIMEOUTS), std::vec![0; 12]),
            now: 0,
            frozen: false,
            task: None,
        };
        world.start_daemon();
        world
    }

    fn start_daemon(&mut self) {
        assert!(self.relay.daemon_opens());
        let mut message = [0; 12];
        message[0] = REGISTER1;
        self.relay.daemon_writes(&message, self.now).unwrap();
        assert_eq!(self.relay.daemon_reads(&mut message), Some(4));
        assert_eq!(message[..4], [129, 0, 0, 0]);
    }

    fn ask(&mut self, operation: Operation) {
        let mut body = std::vec![0; 12];
        Vss::message(operation, &mut body);
        self.relay.requested(body, self.now);
    }

    /// How the oldest request ended, and the flags in its answer.
    fn answer(&mut self) -> Option<(Status, u32)> {
        match self.relay.next_answer()? {
            Answer::Offer(()) => panic!("there was none"),
            Answer::Request(body, status) => {
                Some((status, Message::parse(&body).unwrap().flags.get()))
            }
        }
    }

    /// The daemon reads, and starts to work. Freezing takes effect at once.
    fn read(&mut self) -> Option<Operation> {
        let mut message = [0; 12];
        self.relay.daemon_reads(&mut message)?;
        let operation = Message::parse(&message).unwrap().operation;
        match operation {
            Operation::FREEZE => self.frozen = true,
            Operation::THAW => self.frozen = false,
            _ => {}
        }
        self.task = Some(operation);
        self.task
    }

    /// The daemon answers.
    fn write(&mut self, status: Status) {
        if self.task.take().is_some() {
            let mut message = [0; 12];
            message[..4].copy_from_slice(&status.0.to_le_bytes());
            self.relay.daemon_writes(&message, self.now).unwrap();
        }
    }

    /// The daemon does all that it is asked.
    fn serve(&mut self) -> Vec<Operation> {
        self.write(Status::OK);
        core::iter::from_fn(|| {
            let operation = self.read()?;
            self.write(Status::OK);
            Some(operation)
        })
        .collect()
    }

    fn kill_daemon(&mut self) {
        self.task = None;
        self.relay.daemon_gone(self.now);
    }

    fn pass(&mut self, time: u64) {
        self.now += time;
        self.relay.expire(self.now);
    }

    /// While the host relies on a freeze, it has lasted, and no thaw is due that the host did not ask for.
    fn check(&self) -> Result<(), TestCaseError> {
        let vss = &self.relay.protocol;
        if vss.promised && !vss.broken {
            prop_assert!(!vss.thaw_due && !vss.orphans, "a thaw is due");
            prop_assert!(!vss.caller_thaws, "the caller thaws");
            prop_assert_eq!(vss.thaw_until, None);
            prop_assert!(
                self.frozen || vss.operation == Operation::THAW,
                "it was thawed"
            );
        }
        Ok(())
    }

    /// Asks, and has it done.
    fn done(&mut self, operation: Operation) -> Status {
        self.ask(operation);
        self.serve();
        self.answer().unwrap().0
    }
}

#[test]
fn a_backup_freezes_and_thaws() {
    let mut world = World::new();
    world.ask(Operation::HOT_BACKUP);
    assert_eq!(world.serve(), [Operation::HOT_BACKUP]);
    assert_eq!(world.answer(), Some((Status::OK, NO_AUTO_RECOVERY)));
    world.ask(Operation::GET_DM_INFO);
    assert_eq!(world.answer(), Some((Status::OK, 0)));
    assert_eq!(
        (world.done(Operation::FREEZE), world.frozen),
        (Status::OK, true)
    );
    assert_eq!(
        (world.done(Operation::THAW), world.frozen),
        (Status::OK, false)
    );
    assert_eq!(world.relay.deadline(), None);
    world.ask(Operation::BACKUP_COMPLETE);
    assert_eq!(world.answer(), Some((Status::OK, 0)));
    for operation in [Operation::CREATE, Operation::AUTO_RECOVER, Operation(99)] {
        world.ask(operation);
        assert_eq!(world.answer(), Some((Status::NOT_SUPPORTED, 0)));
    }
    assert!(world.serve().is_empty());
}

#[test]
fn a_refused_check_has_no_flags() {
    let mut world = World::new();
    world.ask(Operation::HOT_BACKUP);
    world.read();
    world.write(Status::FAIL);
    assert_eq!(world.answer(), Some((Status::FAIL, 0)));
}

#[test]
fn a_freeze_that_takes_too_long_is_undone_when_the_daemon_is_back() {
    let mut world = World::new();
    world.ask(Operation::FREEZE);
    assert!(world.read().is_some());
    world.pass(899);
    assert_eq!(world.answer(), None);
    world.pass(1);
    assert_eq!(world.answer(), Some((Status::FAIL, 0)));
    // The daemon's late answer is followed by a thaw, which no host asked for.
    assert_eq!(
        (world.serve(), world.frozen),
        (std::vec![Operation::THAW], false)
    );
    assert_eq!(world.answer(), None);
    // One that was never read freezes nothing.
    world.ask(Operation::FREEZE);
    world.pass(900);
    assert_eq!(world.answer(), Some((Status::FAIL, 0)));
    assert!(world.serve().is_empty());
}

#[test]
fn a_freeze_that_fails_is_undone() {
    let mut world = World::new();
    world.ask(Operation::FREEZE);
    world.read();
    world.write(Status::FAIL);
    assert_eq!(world.answer(), Some((Status::FAIL, 0)));
    assert_eq!(world.serve(), [Operation::THAW]);
    assert_eq!(world.relay.deadline(), None);
}

#[test]
fn a_host_that_goes_away_leaves_nothing_frozen() {
    for read in [false, true] {
        let mut world = World::new();
        world.ask(Operation::FREEZE);
        if read {
            world.serve();
        }
        world.relay.host_gone(world.now);
        let thaws = if read {
            std::vec![Operation::THAW]
        } else {
            std::vec![]
        };
        assert_eq!((world.serve(), world.frozen), (thaws, false));
        assert_eq!(world.done(Operation::THAW), Status::OK);
    }
}

#[test]
fn a_host_that_forgets_to_thaw_learns_that_the_freeze_did_not_last() {
    let mut world = World::new();
    assert_eq!(world.done(Operation::FREEZE), Status::OK);
    assert_eq!(world.relay.deadline(), Some(500));
    world.pass(500);
    assert_eq!(
        (world.serve(), world.frozen),
        (std::vec![Operation::THAW], false)
    );
    assert_eq!(world.done(Operation::THAW), Status::FAIL);
    assert_eq!(world.done(Operation::THAW), Status::OK);
    assert_eq!(world.done(Operation::FREEZE), Status::OK);
    assert_eq!(world.done(Operation::THAW), Status::OK);
}

#[test]
fn what_a_dead_daemon_leaves_frozen_is_thawed_by_the_caller_and_by_the_next_daemon() {
    for answered in [false, true] {
        let mut world = World::new();
        world.ask(Operation::FREEZE);
        world.read();
        if answered {
            world.write(Status::OK);
        }
        world.kill_daemon();
        let status = if answered { Status::OK } else { Status::FAIL };
        assert_eq!(world.answer(), Some((status, 0)));
        assert!(world.relay.protocol.take_orphans());
        assert!(!world.relay.protocol.take_orphans());
        world.ask(Operation::THAW);
        assert_eq!(world.answer(), Some((Status::FAIL, 0)));
        world.start_daemon();
        assert_eq!(
            (world.serve(), world.frozen),
            (std::vec![Operation::THAW], false)
        );
        assert!(!world.relay.protocol.maybe_frozen());
    }
    // One that had nothing frozen leaves nothing.
    let mut world = World::new();
    world.kill_daemon();
    assert!(!world.relay.protocol.take_orphans());
}

#[test]
fn a_thaw_that_fails_is_tried_again() {
    let mut world = World::new();
    assert_eq!(world.done(Operation::FREEZE), Status::OK);
    world.ask(Operation::THAW);
    world.read();
    world.write(Status::FAIL);
    assert_eq!(world.answer(), Some((Status::FAIL, 0)));
    for _ in 1..OWN_TRIES {
        world.pass(30);
        assert_eq!(world.read(), Some(Operation::THAW));
        world.write(Status::FAIL);
    }
    world.pass(30);
    assert_eq!(world.serve(), [Operation::THAW]);
    assert_eq!(world.relay.deadline(), None);
}

#[test]
fn a_daemon_that_cannot_thaw_is_asked_only_so_often() {
    let mut world = World::new();
    let refuse = |world: &mut World| {
        assert_eq!(world.read(), Some(Operation::THAW));
        world.write(Status::FAIL);
    };
    for could in [true, false, true] {
        // Those that it can open are thawed again, and it can open as many when it thaws.
        world.ask(Operation::FREEZE);
        world.read();
        world.write(Status::FAIL);
        assert_eq!(world.answer(), Some((Status::FAIL, 0)));
        for _ in 1..OWN_TRIES {
            refuse(&mut world);
            assert!(!world.relay.protocol.take_orphans());
            world.pass(30);
        }
        refuse(&mut world);
        assert!(world.relay.protocol.take_orphans());
        if !could {
            // The caller could not either: once more, after a while.
            world.relay.protocol.caller_done(false, world.now);
            world.pass(30);
            refuse(&mut world);
            assert!(world.relay.protocol.take_orphans());
        }
        world.relay.protocol.caller_done(true, world.now);
        assert!(!world.relay.protocol.maybe_frozen());
        assert_eq!((world.read(), world.relay.deadline()), (None, None));
    }
}

/// A freeze that the daemon begins while the caller thaws what it could not is no matter of that.
#[test]
fn what_is_frozen_while_the_caller_thaws_is_thawed() {
    let mut world = World::new();
    assert_eq!(world.done(Operation::FREEZE), Status::OK);
    world.relay.host_gone(world.now);
    for _ in 1..OWN_TRIES {
        world.read();
        world.write(Status::FAIL);
        world.pass(30);
    }
    // The host asks while the daemon fails for the last time.
    assert_eq!(world.read(), Some(Operation::THAW));
    world.ask(Operation::FREEZE);
    world.write(Status::FAIL);
    assert!(world.relay.protocol.take_orphans());
    assert_eq!(world.read(), Some(Operation::FREEZE));
    world.relay.protocol.caller_done(true, world.now);
    assert_eq!(world.serve(), [Operation::THAW]);
    assert_eq!(world.answer(), Some((Status::FAIL, 0)));
    assert_eq!((world.frozen, world.relay.deadline()), (false, None));
}

#[test]
fn a_freeze_that_the_thaw_of_an_earlier_one_will_undo_is_refused() {
    let mut world = World::new();
    assert_eq!(world.done(Operation::FREEZE), Status::OK);
    world.ask(Operation::FREEZE);
    assert_eq!(world.read(), Some(Operation::FREEZE));
    world.pass(500);
    world.write(Status::OK);
    assert_eq!(world.answer(), Some((Status::FAIL, 0)));
    assert_eq!(
        (world.serve(), world.frozen),
        (std::vec![Operation::THAW], false)
    );
    // The next one lasts.
    assert_eq!(world.done(Operation::FREEZE), Status::OK);
    assert!(world.serve().is_empty());
    assert_eq!(world.done(Operation::THAW), Status::OK);
}

#[test]
fn what_a_stuck_daemon_does_not_thaw_in_time_is_left_to_the_caller() {
    for host_leaves in [false, true] {
        let mut world = World::new();
        assert_eq!(world.done(Operation::FREEZE), Status::OK);
        match host_leaves {
            true => world.relay.host_gone(world.now),
            false => world.pass(500),
        }
        // A host that leaves later does not put it off.
        world.pass(20);
        world.relay.host_gone(world.now);
        world.pass(9);
        assert!(!world.relay.protocol.take_orphans());
        assert_eq!(world.relay.deadline(), Some(world.now + 1));
        world.pass(1);
        assert!(world.relay.protocol.take_orphans());
        assert!(!world.relay.protocol.take_orphans());
        assert_eq!(world.relay.deadline(), None);
        // The daemon is asked all the same.
        assert_eq!(world.serve(), [Operation::THAW]);
        assert_eq!(world.relay.deadline(), None);
    }
}

#[test]
fn a_caller_who_cannot_thaw_is_to_try_again() {
    for daemon_dies in [false, true] {
        let mut world = World::new();
        assert_eq!(world.done(Operation::FREEZE), Status::OK);
        world.relay.host_gone(world.now);
        match daemon_dies {
            true => world.kill_daemon(),
            false => world.pass(30),
        }
        for _ in 0..3 {
            assert!(world.relay.protocol.take_orphans());
            world.relay.protocol.caller_done(false, world.now);
            world.pass(29);
            assert!(!world.relay.protocol.take_orphans());
            world.pass(1);
        }
        assert!(world.relay.protocol.take_orphans());
        world.relay.protocol.caller_done(false, world.now);
        if daemon_dies {
            world.start_daemon();
        }
        assert_eq!(world.serve(), [Operation::THAW]);
        assert_eq!(world.relay.deadline(), None);
        // Nothing is left to try.
        world.relay.protocol.caller_done(false, world.now);
        assert_eq!(world.relay.deadline(), None);
    }
}

/// The timer of a caller who cannot thaw. Time passes for the relay by nothing else, and the timer rings too early: halfway.
struct Timer {
    world: World,
    alarm: Alarm,
    /// When it rings, if it is set.
    at: Option<u64>,
}

impl Timer {
    /// Changes something, and then sets the timer.
    fn with<R>(&mut self, change: impl FnOnce(&mut World) -> R) -> R {
        let result = change(&mut self.world);
        let (due, now) = (self.world.relay.deadline(), self.world.now);
        if let Some(delay) = self.alarm.follow(due, now) {
            self.at = Some(now + u64::from(delay.div_ceil(2)));
        }
        result
    }

    /// Time passes; returns when the caller tried to thaw, which takes time, too.
    fn pass_to(&mut self, end: u64) -> Vec<u64> {
        let mut tries = Vec::new();
        while let Some(at) = self.at.take_if(|at| *at <= end) {
            self.world.now = self.world.now.max(at);
            self.alarm.rang();
            let orphans = self.with(|world| {
                world.relay.expire(world.now);
                world.relay.protocol.take_orphans()
            });
            if orphans {
                tries.push(self.world.now);
                self.world.now += 5;
                self.with(|world| world.relay.protocol.caller_done(false, world.now));
            }
        }
        self.world.now = self.world.now.max(end);
        tries
    }
}

/// The timer alone has a caller that cannot thaw try again, for as long as the daemon does not, and each time when it is due:
/// not when something else was before.
#[test]
fn a_timer_has_the_caller_try_again_and_again() {
    let mut timer = Timer {
        world: World::new(),
        alarm: Alarm::new(),
        at: None,
    };
    let freeze = |world: &mut World| assert_eq!(world.done(Operation::FREEZE), Status::OK);
    timer.with(freeze);
    assert_eq!(timer.pass_to(100), []);
    // It is set for the end of the freeze, and something is due before that.
    timer.with(|world| world.relay.host_gone(world.now));
    assert_eq!(timer.pass_to(269), [130, 165, 200, 235]);
    timer.with(|world| assert_eq!(world.serve(), [Operation::THAW]));
    assert_eq!(timer.pass_to(600), []);
    // The same after it has rung for nothing, and for something that is due later.
    timer.with(freeze);
    assert_eq!(timer.pass_to(900), []);
    timer.with(|world| assert_eq!(world.done(Operation::THAW), Status::OK));
    timer.with(freeze);
    assert_eq!(timer.pass_to(1500), [1430, 1465, 1500]);
}

#[test]
fn a_freeze_that_the_caller_may_undo_is_refused() {
    // Asked for while the caller thaws: the daemon is not even asked.
    let mut world = World::new();
    assert_eq!(world.done(Operation::FREEZE), Status::OK);
    world.kill_daemon();
    assert!(world.relay.protocol.take_orphans());
    world.start_daemon();
    assert_eq!(world.serve(), [Operation::THAW]);
    world.ask(Operation::FREEZE);
    assert_eq!(world.answer(), Some((Status::FAIL, 0)));
    assert!(world.serve().is_empty());
    world.relay.protocol.caller_done(true, world.now);
    assert_eq!(world.done(Operation::THAW), Status::FAIL);
    assert_eq!(world.done(Operation::FREEZE), Status::OK);
    assert_eq!(world.done(Operation::THAW), Status::OK);
    // Asked for before, and done after the caller has begun; it ends before the daemon answers.
    let mut world = World::new();
    assert_eq!(world.done(Operation::FREEZE), Status::OK);
    world.relay.host_gone(world.now);
    assert_eq!(world.read(), Some(Operation::THAW));
    world.ask(Operation::FREEZE);
    world.pass(30);
    assert!(world.relay.protocol.take_orphans());
    world.write(Status::OK);
    assert_eq!(world.read(), Some(Operation::FREEZE));
    world.frozen = false;
    world.relay.protocol.caller_done(true, world.now);
    world.write(Status::OK);
    assert_eq!(world.answer(), Some((Status::FAIL, 0)));
    assert_eq!(world.serve(), [Operation::THAW]);
    assert_eq!(world.done(Operation::FREEZE), Status::OK);
}

#[test]
fn what_the_caller_may_have_missed_is_thawed_by_another_go() {
    let mut world = World::new();
    assert_eq!(world.done(Operation::FREEZE), Status::OK);
    world.kill_daemon();
    assert!(world.relay.protocol.take_orphans());
    world.start_daemon();
    world.kill_daemon();
    // One at a time.
    assert!(!world.relay.protocol.take_orphans());
    world.relay.protocol.caller_done(true, world.now);
    assert!(world.relay.protocol.take_orphans());
    world.relay.protocol.caller_done(true, world.now);
    assert!(!world.relay.protocol.take_orphans());
}

/// What may happen.
#[derive(Clone, Copy, Debug)]
enum Action {
    Ask(Operation),
    Read,
    Write(Status),
    Kill,
    Start,
    HostGone,
    Pass(u64),
    /// The caller thaws, if it is about to, and may end then.
    Caller {
        ends: bool,
    },
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => Just(Action::Ask(Operation::FREEZE)),
        2 => Just(Action::Ask(Operation::THAW)),
        1 => Just(Action::Ask(Operation::HOT_BACKUP)),
        4 => Just(Action::Read),
        5 => prop_oneof![4 => Just(Status::OK), 1 => Just(Status::FAIL)].prop_map(Action::Write),
        1 => Just(Action::Kill),
        2 => Just(Action::Start),
        1 => Just(Action::HostGone),
        2 => (0u64..1000).prop_map(Action::Pass),
        3 => any::<bool>().prop_map(|ends| Action::Caller { ends }),
    ]
}

proptest! {
    /// Whatever has happened: a daemon that works, or a caller where there is none, has all thawed in bounded time, once
    /// the host asks for nothing more; and a host that is told that a freeze lasted was told the truth.
    #[test]
    fn nothing_stays_frozen(
        actions in proptest::collection::vec(action(), 0..80),
        host_leaves in any::<bool>(),
        stuck in any::<bool>(),
    ) {
        let mut world = World::new();
        let mut orphans = false;
        for action in actions {
            match action {
                Action::Ask(operation) => world.ask(operation),
                Action::Read => drop(world.read()),
                Action::Write(status) => world.write(status),
                Action::Kill => world.kill_daemon(),
                Action::Start => {
                    world.kill_daemon();
                    world.start_daemon();
                }
                Action::HostGone => {
                    world.relay.host_gone(world.now);
                }
                Action::Pass(time) => world.pass(time),
                // A caller who can thaw, and one who can not.
                Action::Caller { ends } if world.relay.protocol.caller_thaws() => {
                    world.frozen &= !stuck;
                    if ends {
                        world.relay.protocol.caller_done(stuck, world.now);
                    }
                }
                Action::Caller { .. } => {}
            }
            orphans |= world.relay.protocol.take_orphans();
            prop_assert!(!world.frozen || world.relay.protocol.maybe_frozen(), "frozen and unknown");
            world.check()?;
            while world.answer().is_some() {}
        }
        if host_leaves {
            world.relay.host_gone(world.now);
        }
        if stuck {
            // The daemon does nothing more, if there is one.
            for _ in 0..10 {
                world.pass(1000);
                let _ = world.relay.protocol.take_orphans();
                if world.relay.protocol.caller_thaws() {
                    world.frozen = false;
                    world.relay.protocol.caller_done(true, world.now);
                }
            }
            prop_assert!(!world.frozen);
            prop_assert_eq!(world.relay.deadline(), None);
        }
        if world.relay.daemon_opens() {
            // What the caller does when it is told of orphans; it may fail, and then the next daemon has to.
            prop_assert!(!world.frozen || orphans);
            world.relay.daemon_gone(world.now);
            world.start_daemon();
        }
        for _ in 0..10 {
            world.serve();
            world.pass(1000);
        }
        prop_assert!(!world.frozen);
        prop_assert_eq!(world.relay.deadline(), None);
    }
}
