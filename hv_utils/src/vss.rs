// SPDX-License-Identifier: GPL-2.0

//! VSS, which is not there yet: requests are refused.

use crate::link::Request;
use crate::service::Service;
use kernel::prelude::*;

/// The service.
pub(crate) struct Vss;

impl Vss {
    /// The service. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self)
    }
}

impl Service for Vss {
    fn requested(&self, request: Request) {
        drop(request);
    }
}
