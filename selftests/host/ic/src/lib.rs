// SPDX-License-Identifier: GPL-2.0

//! The host end of the integration services: shutdown, heartbeat, time, key-value pairs, backup and file copy.
//!
//! Each service is one [`Ic`], which is a [`vmbus_host::Device`]: `host.add(ic.name(), Box::new(ic))`. [`all`] makes one of
//! each. When the guest opens the channel of a service, the device offers versions; once the guest has chosen, it does what
//! the service does by itself (beats, times, pairs) and what the control socket asks for. Every service's module says
//! which requests it takes.
//!
//! The guest is not trusted: what makes no sense is counted, shown in the list of devices (`malformed`, `last_malformed`,
//! `unexpected`), and otherwise ignored, so that the request times out. Every request of the control socket is answered
//! exactly once: by what the guest said, by a timeout, or because the channel was closed.

#![forbid(unsafe_code)]

pub mod fcopy;
pub mod heartbeat;
pub mod kvp;
pub mod shutdown;
pub mod timesync;
pub mod vss;

mod device;
mod link;

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "A test may panic.")]
mod guest;
#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "A test may panic.")]
mod tests;

pub use device::Ic;
pub use fcopy::FcopyOptions;
pub use heartbeat::HeartbeatOptions;
pub use kvp::{KvpOptions, KvpValue};
pub use link::Negotiation;
pub use shutdown::ShutdownOptions;
pub use timesync::TimesyncOptions;
pub use vss::VssOptions;

use hv_utils_proto::Status;

/// How all services behave.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The shutdown service.
    pub shutdown: ShutdownOptions,
    /// The heartbeat service.
    pub heartbeat: HeartbeatOptions,
    /// The time synchronisation service.
    pub timesync: TimesyncOptions,
    /// The KVP service.
    pub kvp: KvpOptions,
    /// The VSS service.
    pub vss: VssOptions,
    /// The fcopy service.
    pub fcopy: FcopyOptions,
}

/// One device of each service.
#[must_use]
pub fn all(options: Options) -> Vec<Ic> {
    vec![
        Ic::shutdown(options.shutdown),
        Ic::heartbeat(options.heartbeat),
        Ic::timesync(options.timesync),
        Ic::kvp(options.kvp),
        Ic::vss(options.vss),
        Ic::fcopy(options.fcopy),
    ]
}

/// What whoever waits is told when the guest closes the channel.
const CLOSED: &str = "the guest closed the channel before it answered";

/// What whoever waits is told when the guest refuses.
fn refusal(status: Status) -> String {
    format!("the guest refused: {status:?} ({:#010x})", status.0)
}

/// What is said to a request that the service does not take.
fn unknown(command: &str, known: &[&str]) -> String {
    if known.is_empty() {
        format!("this service takes no requests, and no {command:?}")
    } else {
        format!(
            "this service takes no {command:?}, but {}",
            known.join(", ")
        )
    }
}
