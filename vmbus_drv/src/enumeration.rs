// SPDX-License-Identifier: GPL-2.0

//! Puts the devices of offered channels on the bus, one after the other in the order of their offers.
//!
//! The names of disks and network cards depend on that order. A driver whose probe is slow asks for an asynchronous
//! one. This does not run in the worker of messages, for a probe waits for messages.

use crate::acpi::AcpiDevice;
use crate::channel::Channel;
use crate::workqueue::OwnQueue;
use kernel::prelude::*;
use kernel::sync::{Arc, Mutex};
use kernel::workqueue::{impl_has_work, new_work, Work, WorkItem};

/// The devices that are to come.
#[pin_data]
pub(crate) struct Enumeration {
    /// The parent of all devices.
    parent: AcpiDevice,
    /// First channels without a device, in order.
    #[pin]
    queue: Mutex<KVec<Arc<Channel>>>,
    /// Works on the queue.
    #[pin]
    work: Work<Self>,
    /// Where that happens.
    workers: Arc<OwnQueue>,
}

impl_has_work! {
    impl HasWork<Self> for Enumeration { self.work }
}

impl WorkItem for Enumeration {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        loop {
            let next = this.queue.lock().remove(0);
            let Ok(channel) = next else { return };
            // The host may offer a device anew, with another relid, before its old self is gone.
            for old in channel.connection.channels.iter() {
                if old.is_gone() && old.offer().same_device(channel.offer()) {
                    old.flush_lifecycle();
                }
            }
            channel.register_device(&this.parent);
        }
    }
}

impl Enumeration {
    /// Nothing to come. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(parent: AcpiDevice, workers: Arc<OwnQueue>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                parent,
                queue <- kernel::new_mutex!(KVec::new()),
                work <- new_work!("viridian/enumeration"),
                workers,
            }),
            GFP_KERNEL,
        )
    }

    /// The parent of all devices.
    pub(crate) fn parent(&self) -> &AcpiDevice {
        &self.parent
    }

    /// Adds a first channel to the queue. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn add(self: &Arc<Self>, channel: Arc<Channel>) -> Result {
        self.queue.lock().push(channel, GFP_KERNEL)?;
        let _ = self.workers.enqueue(self.clone());
        Ok(())
    }

    /// Takes a channel from the queue, if it is still there. Process context.
    pub(crate) fn forget(&self, channel: &Arc<Channel>) {
        self.queue
            .lock()
            .retain(|queued| !Arc::ptr_eq(queued, channel));
    }
}
