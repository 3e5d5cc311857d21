// SPDX-License-Identifier: GPL-2.0

//! Requests of the driver's own, which are no commands: the handshake and resets. One is on the way at a time.

use hv_core::IrqLock;
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex};
use kernel::time::delay::fsleep;
use kernel::time::Delta;
use storvsc_proto::{Control, Packet};
use vmbus::{Reply, SendError};

/// How long the ring may stay full, in milliseconds.
const ROOM_MS: u32 = 10_000;

/// Between two looks whether the ring has room, in milliseconds.
const LOOK_MS: u32 = 10;

/// The requests of one controller.
#[pin_data]
pub(crate) struct Requests {
    /// Held while there is a request.
    #[pin]
    turn: Mutex<()>,
    /// The request on the way, and what gets the answer; `None` if there will be none.
    #[pin]
    pending: IrqLock<Control<Arc<Reply<Option<Packet>>>>>,
}

impl Requests {
    /// No requests.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            turn <- new_mutex!(()),
            pending <- hv_core::new_irq_lock!(Control::new()),
        })
    }

    /// Makes a request by `send`, which gets the transaction id, and waits for its answer. Process context.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT`, `ENODEV` if the channel is gone, `ENOMEM`.
    pub(crate) fn ask(
        &self,
        timeout_ms: u32,
        send: impl Fn(u64) -> Result<(), SendError>,
    ) -> Result<Packet> {
        let _turn = self.turn.lock();
        let reply = Reply::new()?;
        let id = self.pending.lock().begin(reply.clone());
        let sent = Self::send(|| send(id));
        let answer = sent.map(|()| reply.wait(timeout_ms));
        let pending = self.pending.lock().give_up();
        drop(pending);
        answer?.ok_or(ETIMEDOUT)?.ok_or(ENODEV)
    }

    /// Sends, and waits for room if there is none.
    fn send(send: impl Fn() -> Result<(), SendError>) -> Result {
        let mut left = ROOM_MS;
        loop {
            match send() {
                Err(SendError::Full) if left > 0 => {}
                result => return Ok(result?),
            }
            left = left.saturating_sub(LOOK_MS);
            fsleep(Delta::from_millis(LOOK_MS.into()));
        }
    }

    /// The host has answered; whether anybody had asked. Any context.
    pub(crate) fn answer(&self, generation: u32, packet: Packet) -> bool {
        let waiting = self.pending.lock().answered(generation);
        if let Some(reply) = &waiting {
            reply.complete(Some(packet));
        }
        waiting.is_some()
    }

    /// The host will not answer any more. Any context.
    pub(crate) fn cancel(&self) {
        let waiting = self.pending.lock().give_up();
        if let Some(reply) = waiting {
            reply.complete(None);
        }
    }
}
