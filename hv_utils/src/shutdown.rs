// SPDX-License-Identifier: GPL-2.0

//! Shutdown: the host has the guest power off, restart or hibernate.

use crate::link::Request;
use crate::service::Service;
use crate::{kobject, mshyperv, reboot};
use hv_core::ratelimited;
use hv_utils_proto::shutdown::{self, Action};
use hv_utils_proto::Status;
use kernel::sync::aref::ARef;
use vmbus::Device;

/// The service.
pub(crate) struct Shutdown {
    /// The device, of which user space is told when to hibernate.
    device: ARef<Device>,
}

impl Shutdown {
    /// The service of a device.
    pub(crate) fn new(device: ARef<Device>) -> Self {
        Self { device }
    }
}

impl Service for Shutdown {
    fn requested(&self, mut request: Request) {
        let Ok(asked) = shutdown::Request::parse(request.body()) else {
            return;
        };
        // The host is told at once of what would be refused later.
        let can_hibernate = || vmbus::RESUMES && mshyperv::hibernation_supported();
        let action = asked
            .flags()
            .action()
            .filter(|action| *action != Action::Hibernate || can_hibernate());
        ratelimited!(pr_info, "shutdown: asked for {:?}\n", action);
        let Some(action) = action else { return };
        // First, since nobody knows how long there will be somebody to answer.
        request.answer(Status::OK);
        match action {
            Action::PowerOff => reboot::orderly_poweroff(),
            Action::Restart => reboot::orderly_reboot(),
            // An agent in user space takes it from here, as the kernel cannot hibernate by itself.
            Action::Hibernate => kobject::change_event(&self.device, c"EVENT=hibernate"),
        }
    }
}
