// SPDX-License-Identifier: GPL-2.0

//! KVP: the host reads and writes key-value pairs and network addresses, which the daemon keeps.

use crate::daemon::{Daemonic, Kind};
use crate::miscdevice::Name;
use crate::moduleparam;
use hv_utils_proto::kvp::Kvp;
use kernel::prelude::*;
use kernel::sync::Arc;

impl Kind for Kvp {
    const NAME: &'static str = "kvp";

    fn device() -> &'static Name {
        static DEVICE: Name = Name::new(c"vmbus/hv_kvp");
        &DEVICE
    }
}

/// The service. Process context.
///
/// # Errors
///
/// Those of [`Daemonic::new`].
pub(crate) fn new() -> Result<Arc<Daemonic<Kvp>>> {
    Daemonic::new(Kvp::new(
        moduleparam::daemon_patience_ms(),
        moduleparam::daemon_timeout_ms(),
    ))
}
