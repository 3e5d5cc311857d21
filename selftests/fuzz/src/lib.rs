// SPDX-License-Identifier: GPL-2.0

//! Fuzz targets: each feeds one parser with bytes, as its peer would, and checks what must hold.
//!
//! A target is a plain function. libFuzzer calls it with inputs that it makes up (`run.sh`), `cargo
//! test` with those under `corpus/`. It panics if the parser does, or if what it checks does not
//! hold.

#![forbid(unsafe_code)]
#![expect(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a panic is how a target reports"
)]

mod client;
mod daemon;
mod host;
mod hypervisor;
mod inflight;
mod input;
mod memory;
mod ring_reader;
mod ring_writer;
mod services;
mod wire;

/// A fuzz target: runs one input.
pub type Target = fn(&[u8]);

/// All targets, by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("ring_reader", ring_reader::run),
    ("ring_writer", ring_writer::run),
    ("transfer_pages", wire::transfer_pages),
    ("gpa_direct", wire::gpa_direct),
    ("inflight", inflight::run),
    ("vmbus_message", client::message),
    ("vmbus_client", client::run),
    ("cpuid", hypervisor::cpuid),
    ("synic_message", hypervisor::synic_message),
    ("guid", hypervisor::guid),
    ("host_messages", vmbus_host::sim::hostile::messages),
    ("host_rings", vmbus_host::sim::hostile::rings),
    ("host_gpa_list", vmbus_host::sim::hostile::gpa_list),
    ("storage_packets", host::storage),
    ("ic_packets", host::integration_services),
    ("kvp_daemon", daemon::kvp),
    ("vss_daemon", daemon::vss),
    ("ic_guest", services::run),
];

/// The target with this name.
pub fn target(name: &str) -> Option<Target> {
    let (_, target) = TARGETS.iter().find(|(candidate, _)| *candidate == name)?;
    Some(*target)
}
