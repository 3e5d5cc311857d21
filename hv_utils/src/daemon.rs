// SPDX-License-Identifier: GPL-2.0

//! Services whose requests a daemon in user space answers: the pure [`Relay`] between a channel and a character device.
//!
//! All state is under one lock, and all of this in process context. What the relay leaves behind, see [`Daemon::with`], is
//! done each time that something went into it. What takes longer, see [`Kind::clean_up`], has a work item of its own.
//! Nothing here allocates memory once there is a device, which could have to wait for the file systems that the daemon has
//! frozen.

use crate::link::{Offer, Request};
use crate::miscdevice::{MiscDevice, Name, Talk};
use crate::service::Service;
use crate::workqueue;
use hv_core::ratelimited;
use hv_utils_proto::alarm::Alarm;
use hv_utils_proto::relay::{Answer, Protocol, Relay};
use kernel::bindings;
use kernel::fs::File;
use kernel::prelude::*;
use kernel::sync::poll::{PollCondVar, PollTable};
use kernel::sync::{new_mutex, Arc, ArcBorrow, Mutex};
use kernel::time::{msecs_to_jiffies, ClockSource, Monotonic};
use kernel::uaccess::{UserSliceReader, UserSliceWriter};
use kernel::workqueue::{
    impl_has_delayed_work, impl_has_work, new_delayed_work, new_work, system_long, DelayedWork,
    Work, WorkItem,
};

/// The work item that looks after what takes too long.
const TIMER: u64 = 0;
/// The work item that cleans up.
const CLEANER: u64 = 1;

/// What a service needs beside its protocol.
pub(crate) trait Kind: Protocol + Send + Sync + Unpin + 'static {
    /// The service's name.
    const NAME: &'static str;

    /// The device's name, of which there is one for all devices of the service.
    fn device() -> &'static Name;

    /// Whether there is something to do for [`Self::clean_up`], which is then called once.
    fn left_something(&mut self) -> bool {
        false
    }

    /// Does what a daemon should have done that is gone or stuck. Process context, and not under the lock.
    ///
    /// # Errors
    ///
    /// Any, if it could not be done.
    fn clean_up() -> Result {
        Ok(())
    }

    /// What came of [`Self::clean_up`].
    fn cleaned_up(&mut self, _result: Result, _now: u64) {}

    /// Whether [`Self::clean_up`] is about to be called, or is running.
    fn cleans_up(&self) -> bool {
        false
    }
}

/// A request's body is what its answer is made in.
impl AsMut<[u8]> for Request {
    fn as_mut(&mut self) -> &mut [u8] {
        self.body()
    }
}

/// What the lock is around.
struct State<P> {
    /// What to do.
    relay: Relay<P, KVVec<u8>, Request, Offer>,
    /// What the timer is set to, in milliseconds of the monotonic clock.
    alarm: Alarm,
    /// Whether the device is gone: nothing comes any more, and nobody waits. The timer is only set for a daemon that still
    /// has it open, which keeps the module loaded.
    gone: bool,
}

impl<P: Kind> State<P> {
    /// Whether nothing comes any more from either side, so that the timer is not to be set.
    fn is_over(&self) -> bool {
        self.gone && !self.relay.is_open()
    }
}

/// What channel and character device have in common.
#[pin_data]
pub(crate) struct Daemon<P: Kind> {
    /// See there.
    #[pin]
    state: Mutex<State<P>>,
    /// A message on its way to the daemon. Its memory may keep whoever copies to it waiting, and nobody else.
    #[pin]
    reading: Mutex<KVVec<u8>>,
    /// A message on its way from the daemon.
    #[pin]
    writing: Mutex<KVVec<u8>>,
    /// There may be something to read.
    #[pin]
    readable: PollCondVar,
    /// Something takes too long.
    #[pin]
    timer: DelayedWork<Daemon<P>, TIMER>,
    /// Somebody is to clean up.
    #[pin]
    cleaner: Work<Daemon<P>, CLEANER>,
}

impl_has_delayed_work! {
    impl{P: Kind} HasDelayedWork<Daemon<P>, 0> for Daemon<P> { self.timer }
}

impl_has_work! {
    impl{P: Kind} HasWork<Daemon<P>, 1> for Daemon<P> { self.cleaner }
}

impl<P: Kind> WorkItem<TIMER> for Daemon<P> {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let late = Self::with(this.as_arc_borrow(), |state, now| {
            state.alarm.rang();
            state.relay.expire(now)
        });
        if late {
            ratelimited!(pr_warn, "{}: the daemon did not answer in time\n", P::NAME);
        }
    }
}

impl<P: Kind> WorkItem<CLEANER> for Daemon<P> {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        let result = P::clean_up();
        Self::with(this.as_arc_borrow(), |state, now| {
            state.relay.protocol.cleaned_up(result, now);
        });
    }
}

impl<P: Kind> Daemon<P> {
    /// Before anybody has come. Process context.
    fn new(protocol: P) -> Result<Arc<Self>> {
        let buffer = || KVVec::from_elem(0, P::MESSAGE_SIZE, GFP_KERNEL);
        let state = State {
            relay: Relay::new(protocol, buffer()?),
            alarm: Alarm::new(),
            gone: false,
        };
        let (reading, writing) = (buffer()?, buffer()?);
        Arc::pin_init(
            pin_init!(Self {
                state <- new_mutex!(state),
                reading <- new_mutex!(reading),
                writing <- new_mutex!(writing),
                readable <- kernel::new_poll_condvar!(),
                timer <- new_delayed_work!("hv_utils/daemon"),
                cleaner <- new_work!("hv_utils/cleaner"),
            }),
            GFP_KERNEL,
        )
    }

    /// Does something with the state and the time; then sends answers, wakes who reads, and sets the timer.
    fn with<R>(this: ArcBorrow<'_, Self>, change: impl FnOnce(&mut State<P>, u64) -> R) -> R {
        let mut guard = this.state.lock();
        let state = &mut *guard;
        let now = now();
        let result = change(state, now);
        while let Some(answer) = state.relay.next_answer() {
            match answer {
                Answer::Offer(offer) => offer.accept(),
                Answer::Request(request, status) => request.answer(status),
            }
        }
        let due = state.relay.deadline().filter(|_| !state.is_over());
        if let Some(delay) = state.alarm.follow(due, now) {
            workqueue::run_after(this.into(), msecs_to_jiffies(delay));
        }
        if state.relay.protocol.left_something() {
            // It is not queued: what was left before is cleaned up, or was by the very item that this is called from.
            let _ = system_long().enqueue::<Arc<Self>, CLEANER>(this.into());
        }
        if state.gone || state.relay.readable().is_some() {
            this.readable.notify_all();
        }
        result
    }

    /// Has nothing run any more, where the change that was made before this says that it is over: waits for what does.
    fn cancel_if(this: ArcBorrow<'_, Self>, over: bool) {
        if !over {
            return;
        }
        workqueue::cancel(&Arc::from(this));
        loop {
            // It may find that there is more to clean up.
            let again = this.state.lock().relay.protocol.cleans_up();
            vmbus::flush(&this.cleaner);
            if !again {
                return;
            }
        }
    }

    /// Copies to the daemon what there is to be read, if anything.
    fn read_now(&self, to: &mut UserSliceWriter) -> Result<Option<usize>> {
        let mut message = self.reading.lock();
        let mut state = self.state.lock();
        if state
            .relay
            .readable()
            .is_some_and(|length| length > to.len())
        {
            return Err(EINVAL);
        }
        let Some(length) = state.relay.daemon_reads(&mut message) else {
            return if state.gone { Err(EBADF) } else { Ok(None) };
        };
        drop(state);
        to.write_slice(message.get(..length).unwrap_or_default())?;
        Ok(Some(length))
    }
}

/// Milliseconds of the monotonic clock.
fn now() -> u64 {
    u64::try_from(Monotonic::ktime_get() / 1_000_000).unwrap_or(0)
}

impl<P: Kind> Talk for Daemon<P> {
    fn open(this: ArcBorrow<'_, Self>) -> Result {
        Self::with(this, |state, _| match state.relay.daemon_opens() {
            true => Ok(()),
            false => Err(EBUSY),
        })
    }

    fn release(this: ArcBorrow<'_, Self>) {
        let over = Self::with(this, |state, now| {
            state.relay.daemon_gone(now);
            state.is_over()
        });
        Self::cancel_if(this, over);
    }

    fn read(this: ArcBorrow<'_, Self>, mut to: UserSliceWriter, wait: bool) -> Result<usize> {
        loop {
            if let Some(length) = this.read_now(&mut to)? {
                return Ok(length);
            }
            if !wait {
                return Err(EAGAIN);
            }
            let mut state = this.state.lock();
            while !state.gone && state.relay.readable().is_none() {
                if this.readable.wait_interruptible(&mut state) {
                    return Err(EINTR);
                }
            }
        }
    }

    fn write(this: ArcBorrow<'_, Self>, mut from: UserSliceReader) -> Result {
        let may = P::may_write(from.len());
        let mut message = this.writing.lock();
        if may.is_ok() {
            from.read_slice(&mut message)?;
        }
        Self::with(this, |state, now| {
            let written = may.and_then(|()| state.relay.daemon_writes(&message, now));
            written.map_err(|_| if state.gone { EBADF } else { EINVAL })
        })
    }

    fn poll(this: ArcBorrow<'_, Self>, file: &File, table: &PollTable<'_>) -> u32 {
        table.register_wait(file, &this.readable);
        let state = this.state.lock();
        let mut ready = 0;
        if state.relay.readable().is_some() {
            ready |= bindings::POLLIN | bindings::POLLRDNORM;
        }
        if state.gone {
            ready |= bindings::POLLERR | bindings::POLLHUP;
        }
        ready
    }
}

/// A service with a character device, for as long as the channel is open.
#[pin_data(PinnedDrop)]
pub(crate) struct Daemonic<P: Kind> {
    /// What both have in common.
    daemon: Arc<Daemon<P>>,
    /// The device.
    #[pin]
    device: Mutex<Option<MiscDevice<Daemon<P>>>>,
}

impl<P: Kind> Daemonic<P> {
    /// The service and its device. Process context.
    ///
    /// # Errors
    ///
    /// Those of [`MiscDevice::new`].
    pub(crate) fn new(protocol: P) -> Result<Arc<Self>> {
        let daemon = Daemon::new(protocol)?;
        let device = MiscDevice::new(P::device(), daemon.clone()).inspect_err(|error| {
            if *error == EBUSY {
                ratelimited!(pr_err, "{}: a device of the bus has it already\n", P::NAME);
            }
        })?;
        Arc::pin_init(
            pin_init!(Self {
                daemon,
                device <- new_mutex!(Some(device)),
            }),
            GFP_KERNEL,
        )
    }

    /// Ends the conversation with host and daemon. May be called again.
    fn end(&self) {
        drop(self.device.lock().take());
        let daemon = self.daemon.as_arc_borrow();
        let over = Daemon::with(daemon, |state, now| {
            state.gone = true;
            state.relay.host_gone(now);
            state.is_over()
        });
        Daemon::cancel_if(daemon, over);
    }
}

impl<P: Kind> Service for Daemonic<P> {
    fn offered(&self, offer: Offer) {
        Daemon::with(self.daemon.as_arc_borrow(), |state, now| {
            state.relay.offered(offer, now);
        });
    }

    fn requested(&self, request: Request) {
        Daemon::with(self.daemon.as_arc_borrow(), |state, now| {
            state.relay.requested(request, now);
        });
    }

    fn closed(&self) {
        self.end();
    }
}

#[pinned_drop]
impl<P: Kind> PinnedDrop for Daemonic<P> {
    fn drop(self: Pin<&mut Self>) {
        self.end();
    }
}
