// SPDX-License-Identifier: GPL-2.0

//! What an integration service is to the [`link`](mod@crate::link) that carries its messages.
//!
//! The link chooses versions with the host by the pure [`Endpoint`](hv_utils_proto::guest::Endpoint) and refuses what is
//! not for the service. What is, the service gets as a [`Request`] that it owns: it answers at once, or keeps it and
//! answers later, from any context. A request that is dropped is answered, too: with a failure.

use crate::link::{Offer, Request};

/// A service. All functions are called in process context, one at a time.
pub(crate) trait Service: Send + Sync {
    /// The host offered versions, for the first time or again, and this is the answer. Until it is sent the host waits, so
    /// a service that is not ready keeps the offer. What the host asked before is void: a request that is still kept may
    /// be dropped.
    fn offered(&self, offer: Offer) {
        offer.accept();
    }

    /// The host asks for something, in the version of [`Request::version`].
    fn requested(&self, request: Request);

    /// The channel is closed, or was withdrawn: nothing more is called. What is kept is to be dropped here.
    fn closed(&self) {}
}
