// SPDX-License-Identifier: GPL-2.0

//! VSS: the host has file systems frozen for a backup, which the daemon does.

use crate::daemon::{Daemonic, Kind};
use crate::miscdevice::Name;
use crate::{moduleparam, umh};
use hv_core::ratelimited;
use hv_utils_proto::vss::{Timeouts, Vss, THAW};
use kernel::prelude::*;
use kernel::sync::Arc;

impl Kind for Vss {
    const NAME: &'static str = "vss";

    fn device() -> &'static Name {
        static DEVICE: Name = Name::new(c"vmbus/hv_vss");
        &DEVICE
    }

    fn left_something(&mut self) -> bool {
        self.take_orphans()
    }

    fn clean_up() -> Result {
        ratelimited!(
            pr_warn,
            "vss: the daemon is gone, is stuck or cannot thaw; thawing file systems with fsfreeze\n"
        );
        umh::run_shell(THAW).inspect_err(|error| {
            ratelimited!(
                pr_err,
                "vss: file systems may stay frozen, as /bin/sh or its fsfreeze (util-linux) fails: {:?}\n",
                error
            );
        })
    }

    fn cleaned_up(&mut self, result: Result, now: u64) {
        self.caller_done(result.is_ok(), now);
    }

    fn cleans_up(&self) -> bool {
        self.caller_thaws()
    }
}

/// The service. Process context.
///
/// # Errors
///
/// Those of [`Daemonic::new`].
pub(crate) fn new() -> Result<Arc<Daemonic<Vss>>> {
    Daemonic::new(Vss::new(Timeouts {
        freeze: moduleparam::freeze_timeout_ms(),
        request: moduleparam::daemon_timeout_ms(),
        frozen: moduleparam::freeze_timeout_ms(),
    }))
}
