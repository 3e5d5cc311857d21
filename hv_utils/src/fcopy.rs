// SPDX-License-Identifier: GPL-2.0

//! File copy: its daemon speaks to the host itself, over rings that it maps through UIO. So this is a driver of its own,
//! with the stock one's name, that opens the channel while the daemon has the device open.

use crate::uio_driver::{Operations, Registered, Uio};
use hv_core::HV_PAGE_SIZE;
use kernel::device::Core;
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::{new_mutex, Arc, ArcBorrow, Mutex};
use vmbus::{class, Channel, ClosedChannel, Device, ExternalChannel, Handler, SharedPages};

/// Pages of each ring: as many as the stock driver's.
const RING_PAGES: usize = 4;

vmbus::vmbus_device_table!(TABLE, (), [(class::FCOPY.id, ())]);

/// The channel, as the daemon uses it.
enum Use {
    /// So many programs have it open.
    Open(ExternalChannel, usize),
    /// None has.
    Closed,
    /// The device is being unbound.
    Gone,
}

/// What the daemon gets.
#[pin_data]
pub(crate) struct Rings {
    /// The channel.
    channel: Arc<Channel>,
    /// Whether it is open.
    #[pin]
    used: Mutex<Use>,
}

/// Passes signals of the host on.
struct Doorbell(Arc<Uio<Rings>>);

impl Handler for Doorbell {
    fn receive(&self, _packets: &mut vmbus::Packets<'_>) {}

    fn signalled(&self) {
        self.0.notify();
    }

    fn rescinded(&self) {
        self.0.fail();
    }
}

impl Operations for Rings {
    const NAME: &'static CStr = c"uio_hv_generic";
    const VERSION: &'static CStr = c"0.02.1";

    fn open(uio: ArcBorrow<'_, Uio<Self>>) -> Result {
        let this = uio.operations();
        let mut used = this.used.lock();
        match &mut *used {
            Use::Open(_, count) => *count = count.saturating_add(1),
            Use::Closed => {
                let doorbell = Arc::new(Doorbell(uio.into()), GFP_KERNEL)?;
                let channel = ClosedChannel::take(&this.channel)?;
                *used = Use::Open(channel.open_external(uio.pages(), doorbell)?, 1);
            }
            Use::Gone => return Err(ENODEV),
        }
        Ok(())
    }

    fn release(&self) {
        let mut used = self.used.lock();
        match &mut *used {
            Use::Open(_, count) if *count > 1 => *count = count.saturating_sub(1),
            Use::Open(..) => *used = Use::Closed,
            Use::Closed | Use::Gone => {}
        }
    }

    fn control(&self, wanted: bool) -> Result {
        match &*self.used.lock() {
            Use::Open(channel, _) => channel.set_signals(wanted),
            Use::Closed | Use::Gone => Err(ENODEV),
        }
    }
}

/// The driver, and a bound device of it.
pub(crate) struct Fcopy {
    /// What the daemon opens.
    registered: Registered<Rings>,
    /// The device, which shows how large the rings are.
    device: ARef<Device>,
}

impl Drop for Fcopy {
    fn drop(&mut self) {
        let uio = self.registered.uio();
        *uio.operations().used.lock() = Use::Gone;
        uio.fail();
        let _ = self.device.show_ring(0);
    }
}

impl Fcopy {
    /// Makes what the daemon opens.
    ///
    /// # Errors
    ///
    /// Those of [`Registered::new`].
    fn new(device: &Device<Core<'_>>) -> Result<Self> {
        let channel = device.channel();
        let pages = SharedPages::new(2 * RING_PAGES, channel.target_cpu())?;
        let rings = try_pin_init!(Rings {
            channel: channel.clone(),
            used <- new_mutex!(Use::Closed),
        }? Error);
        let uio = Uio::new(c"txrx_rings", Arc::new(pages, GFP_KERNEL)?, rings);
        let uio = Arc::pin_init(uio, GFP_KERNEL)?;
        device.show_ring(2 * RING_PAGES * HV_PAGE_SIZE)?;
        let registered = Registered::new(device.as_ref(), uio.clone()).inspect_err(|_| {
            // Who has opened it meanwhile is not told to close it any more.
            *uio.operations().used.lock() = Use::Gone;
            let _ = device.show_ring(0);
        })?;
        Ok(Self {
            registered,
            device: device.into(),
        })
    }
}

impl vmbus::Driver for Fcopy {
    type IdInfo = ();
    type Data<'bound> = Self;
    const NAME: &'static CStr = Rings::NAME;
    const ID_TABLE: vmbus::IdTable<()> = &TABLE;

    fn probe<'bound>(
        device: &'bound Device<Core<'_>>,
        info: Option<&'bound ()>,
    ) -> impl PinInit<Self, Error> + 'bound {
        // A class of `new_id`: its device would have to be given other rings.
        info.ok_or(ENODEV).and_then(|()| Self::new(device))
    }
}
