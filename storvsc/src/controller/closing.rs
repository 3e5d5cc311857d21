// SPDX-License-Identifier: GPL-2.0

//! How a controller ends, or one of its channels: because the host has withdrawn it, has broken a ring or is given up, or
//! because the driver goes.

use super::{now_ms, Controller, Route, COMMAND_MS};
use crate::link::Link;
use crate::moduleparam;
use crate::scsi_cmnd::Ending;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use hv_core::NoIo;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::time::delay::fsleep;
use kernel::time::Delta;
use kernel::workqueue::{system_long, WorkItem};
use storvsc_proto::{closing, Deadline, Fate, Silence};

/// How long it is waited for that the host confirms the end of all channels together, in milliseconds.
const CLOSE_MS: u32 = 30_000;

/// Between two looks whether it has done so later, in milliseconds.
const CLOSE_LOOK_MS: u32 = 100;

/// The work item that closes channels which have been lost.
pub(super) const LOSS: u64 = 1;
/// The work item that closes a controller which is being removed, if its host is silent.
pub(super) const SILENCE: u64 = 2;

impl WorkItem<LOSS> for Controller {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let _no_io = NoIo::new();
        if this.is_dead() {
            this.close();
            this.settle();
        } else {
            this.close_lost();
        }
    }
}

impl WorkItem<SILENCE> for Controller {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let patience = moduleparam::io_timeout_ms().unwrap_or(COMMAND_MS);
        // As long as a flush of the cache has.
        let patience = patience.saturating_mul(2);
        let mut silence = Silence::after(this.answers());
        while this.removed.wait(patience).is_none() && !this.is_dead() {
            if silence.lasts(this.answers(), this.in_flight.busy(None)) {
                say!(pr_err, this, "the host is silent; it is closed");
                this.broken();
            }
        }
    }
}

impl Route {
    /// Whether the host has withdrawn the channel.
    fn is_lost(&self) -> bool {
        self.lost.load(SeqCst)
    }
}

impl Controller {
    /// Follows events no more, since the controller is being removed; from here on the host's silence has a limit. Process
    /// context.
    pub(crate) fn stop_events(self: &Arc<Self>) {
        self.stopping.store(true, Relaxed);
        let _ = system_long().enqueue::<Arc<Self>, SILENCE>(self.clone());
        vmbus::flush(&self.events_work);
    }

    /// Waits for all work items. Nothing may queue them any more. Process context.
    pub(crate) fn flush(&self) {
        self.removed.complete(());
        vmbus::flush(&self.silence_work);
        vmbus::flush(&self.events_work);
        vmbus::flush(&self.loss_work);
    }

    /// The host has withdrawn a channel. Any context.
    pub(crate) fn lost(self: &Arc<Self>, index: u16) {
        if let Some(route) = self.routes.get(usize::from(index)) {
            route.lost.store(true, SeqCst);
        }
        if index == 0 {
            self.dead.store(true, Relaxed);
            self.requests.cancel();
            self.sub_channel_came();
        }
        let _ = self.workers.enqueue::<Arc<Self>, LOSS>(self.clone());
    }

    /// The host broke a ring. Any context.
    pub(crate) fn broken(self: &Arc<Self>) {
        self.dead.store(true, Relaxed);
        self.requests.cancel();
        let _ = self.workers.enqueue::<Arc<Self>, LOSS>(self.clone());
    }

    /// Closes all channels, and ends the commands of those of which the host confirms it in time. Process context.
    pub(crate) fn close(&self) {
        let mut closing = self.closing.lock();
        self.dead.store(true, Relaxed);
        self.requests.cancel();
        let lost = |index| self.routes.get(index).is_some_and(Route::is_lost);
        self.shut(&mut closing, closing::order(self.routes.len(), lost));
    }

    /// Closes the sub-channels that the host has withdrawn; their commands are tried again on the first channel.
    pub(super) fn close_lost(&self) {
        let mut closing = self.closing.lock();
        let routes = self.routes.iter().enumerate();
        let lost = routes.filter_map(|(index, route)| route.is_lost().then_some(index));
        for index in lost.clone() {
            for queue in &self.queues {
                if queue.load(Relaxed) as usize == index {
                    queue.store(0, Relaxed);
                }
            }
        }
        self.shut(&mut closing, lost);
    }

    /// Closes channels, all of them within [`CLOSE_MS`].
    fn shut(&self, closing: &mut [Option<KBox<Link>>], channels: impl Iterator<Item = usize>) {
        let deadline = Deadline::after(CLOSE_MS, now_ms());
        for index in channels {
            let (Some(route), Some(closed)) = (self.routes.get(index), closing.get_mut(index))
            else {
                continue;
            };
            // From here on nobody puts commands of this channel into the table.
            if let Some(link) = route.link.replace(None) {
                *closed = Some(link);
            }
            self.end_closed(closed, deadline.left_ms(now_ms()));
        }
    }

    /// Ends the commands of a channel that was closed, if the host confirms that within this time. Afterwards a channel is
    /// in `closed` only if the host still has commands of it.
    fn end_closed(&self, closed: &mut Option<KBox<Link>>, timeout_ms: u32) {
        let Some(link) = closed else { return };
        let channel = link.index();
        let ending = match Fate::of(link.shut(timeout_ms), self.is_dead()) {
            Fate::Kept if self.in_flight.count(channel) != 0 => return,
            Fate::Kept | Fate::Gone => &Ending::GONE,
            Fate::Retried => &Ending::DISRUPTED,
        };
        self.in_flight
            .drain(channel, |command| command.complete(ending));
        *closed = None;
    }

    /// Waits until the host has no command any more of a channel that was closed, however long that takes: until it has
    /// confirmed the end, it may write to the memory of these commands. Process context.
    pub(super) fn settle(&self) {
        let mut told = false;
        loop {
            let mut closing = self.closing.lock();
            for closed in closing.iter_mut() {
                self.end_closed(closed, CLOSE_LOOK_MS);
            }
            // Under the lock, so that whoever took the last command out of the table has also ended it.
            let kept = self.kept();
            drop(closing);
            if kept == 0 {
                return;
            }
            if !told {
                say!(
                    pr_err,
                    self,
                    "the host does not confirm that it is closed: {} commands stay with it, and their memory, until it does",
                    kept
                );
                told = true;
            }
            fsleep(Delta::from_millis(CLOSE_LOOK_MS.into()));
        }
    }

    /// How many commands stay with the host although their channels are closed. Any context.
    pub(crate) fn kept(&self) -> usize {
        let routes = (0..).zip(&self.routes);
        let closed = routes.filter(|(_, route)| route.link.with(|_| ()).is_none());
        closed.map(|(index, _)| self.in_flight.count(index)).sum()
    }

    /// How many commands the host has answered, on the channels that are open.
    fn answers(&self) -> u64 {
        let mut sum = 0;
        self.for_each_link(|_, link| sum += link.statistics().completed.get());
        sum
    }
}
