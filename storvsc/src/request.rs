// SPDX-License-Identifier: GPL-2.0

//! Requests of the driver's own, which are no commands: the handshake and resets. One is on the way at a time.

use hv_core::IrqLock;
use kernel::prelude::*;
use kernel::sync::{new_mutex, Arc, Mutex};
use kernel::time::delay::fsleep;
use kernel::time::Delta;
use storvsc_proto::{Packet, Transaction};
use vmbus::{Reply, SendError};

/// How long the ring may stay full, in milliseconds.
const ROOM_MS: u32 = 10_000;

/// Between two looks whether the ring has room, in milliseconds.
const LOOK_MS: u32 = 10;

/// A request on the way.
struct Pending {
    /// Which one it is.
    generation: u32,
    /// Gets the answer; `None` if there will be none.
    reply: Arc<Reply<Option<Packet>>>,
}

/// The requests of one controller.
#[pin_data]
pub(crate) struct Requests {
    /// The number of the last request. Held while there is one.
    #[pin]
    turn: Mutex<u32>,
    /// The request on the way.
    #[pin]
    pending: IrqLock<Option<Pending>>,
}

impl Requests {
    /// No requests.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            turn <- new_mutex!(0),
            pending <- hv_core::new_irq_lock!(None),
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
        let mut turn = self.turn.lock();
        *turn = turn.wrapping_add(1);
        let generation = *turn;
        let reply = Reply::new()?;
        let id = Transaction::Control { generation }.id();
        *self.pending.lock() = Some(Pending {
            generation,
            reply: reply.clone(),
        });
        let sent = Self::send(|| send(id));
        let answer = sent.map(|()| reply.wait(timeout_ms));
        let pending = self.pending.lock().take();
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
        let mut pending = self.pending.lock();
        if pending
            .as_ref()
            .is_none_or(|pending| pending.generation != generation)
        {
            return false;
        }
        if let Some(pending) = pending.take() {
            pending.reply.complete(Some(packet));
        }
        true
    }

    /// The host will not answer any more. Any context.
    pub(crate) fn cancel(&self) {
        if let Some(pending) = &*self.pending.lock() {
            pending.reply.complete(None);
        }
    }
}
