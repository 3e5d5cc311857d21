// SPDX-License-Identifier: GPL-2.0

//! Heartbeat: the guest shows that it lives.

use crate::link::Request;
use crate::service::Service;
use hv_utils_proto::heartbeat::{respond, ApplicationState};
use hv_utils_proto::Status;

/// The service.
pub(crate) struct Heartbeat;

impl Service for Heartbeat {
    fn requested(&self, mut request: Request) {
        // As the stock driver: nobody tells the kernel how applications are.
        let state = ApplicationState::UNKNOWN;
        if respond(request.version, state, request.body()).is_ok() {
            request.answer(Status::OK);
        }
    }
}
