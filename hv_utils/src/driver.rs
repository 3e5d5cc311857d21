// SPDX-License-Identifier: GPL-2.0

//! The driver of the services whose messages a [`link`](mod@crate::link) carries.

use crate::heartbeat::Heartbeat;
use crate::link::Link;
use crate::service::Service;
use crate::shutdown::Shutdown;
use crate::timesync::Timesync;
use crate::{kvp, vss};
use hv_utils_proto as proto;
use kernel::device::Core;
use kernel::prelude::*;
use kernel::sync::Arc;
use vmbus::{class, Device};

vmbus::vmbus_device_table!(
    TABLE,
    proto::Service,
    [
        (class::SHUTDOWN.id, proto::Service::Shutdown),
        (class::TS.id, proto::Service::Timesync),
        (class::HB.id, proto::Service::Heartbeat),
        (class::KVP.id, proto::Service::Kvp),
        (class::BACKUP.id, proto::Service::Vss),
    ]
);

/// The driver; the data of a bound device is its link.
pub(crate) struct Services;

impl vmbus::Driver for Services {
    type IdInfo = proto::Service;
    type Data<'bound> = Link;
    const NAME: &'static CStr = c"hv_utils";
    const ID_TABLE: vmbus::IdTable<proto::Service> = &TABLE;
    const PROBE_ASYNCHRONOUSLY: bool = true;

    fn probe<'bound>(
        device: &'bound Device<Core<'_>>,
        kind: Option<&'bound proto::Service>,
    ) -> impl PinInit<Link, Error> + 'bound {
        serve(device, kind)
    }
}

/// Opens the channel of a device for the service that it is for.
///
/// # Errors
///
/// `ENODEV` for a service that is not a link's, and those of [`Link::open`].
fn serve(device: &Device<Core<'_>>, kind: Option<&proto::Service>) -> Result<Link> {
    let kind = *kind.ok_or(ENODEV)?;
    let service: Arc<dyn Service> = match kind {
        proto::Service::Shutdown => Arc::new(Shutdown::new(device.into()), GFP_KERNEL)?,
        proto::Service::Heartbeat => Arc::new(Heartbeat, GFP_KERNEL)?,
        proto::Service::Timesync => Arc::new(Timesync::new()?, GFP_KERNEL)?,
        proto::Service::Kvp => kvp::new()?,
        proto::Service::Vss => vss::new()?,
        proto::Service::Fcopy => return Err(ENODEV),
    };
    Link::open(device, kind, service)
}
