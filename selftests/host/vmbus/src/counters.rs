// SPDX-License-Identifier: GPL-2.0

//! What is counted. All counts grow from the start of the host and survive closing and re-offering.

use serde::Serialize;
use std::collections::BTreeMap;

/// Counts of one channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ChannelCounters {
    /// Packets from the guest.
    pub packets_in: u64,
    /// Bytes of their extensions and payloads, padding included.
    pub bytes_in: u64,
    /// Packets that the guest could see in its ring.
    pub packets_out: u64,
    /// Bytes of their extensions and payloads.
    pub bytes_out: u64,
    /// Signals from the guest, by hypercall.
    pub signals: u64,
    /// Signals from the guest through the monitor page.
    pub monitor_triggers: u64,
    /// Signals after which there was neither a packet that had not been taken nor room that was waited for. The guest
    /// may have seen an emptier ring than the host: a statistic, not an error.
    pub needless_signals: u64,
    /// Interrupts sent to the guest.
    pub interrupts: u64,
    /// Packets that found the guest's ring full and had to wait.
    pub ring_full: u64,
    /// Packets from the guest whose list of pages made no sense, dropped.
    pub bad_packets: u64,
    /// Times that the channel failed: a corrupt ring, or a guest that takes no packets.
    pub failures: u64,
    /// Times that it was opened.
    pub opens: u64,
}

/// Counts of the connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HostCounters {
    /// Messages from the guest, by type.
    pub messages_in: BTreeMap<String, u64>,
    /// Messages to the guest, by type.
    pub messages_out: BTreeMap<String, u64>,
    /// Messages from the guest that were not carried out, by what was wrong.
    pub refused: BTreeMap<String, u64>,
    /// Posts that the hypercall itself refused.
    pub refused_posts: u64,
    /// Signals on connections that do not exist.
    pub refused_signals: u64,
    /// Signals on the shared connection that came without any bit in the interrupt page.
    pub needless_shared_signals: u64,
}

/// Adds to a count.
pub(crate) fn add(count: &mut u64, by: u64) {
    *count = count.saturating_add(by);
}

/// Adds one to a count by name.
pub(crate) fn count(counts: &mut BTreeMap<String, u64>, name: String) {
    add(counts.entry(name).or_default(), 1);
}
