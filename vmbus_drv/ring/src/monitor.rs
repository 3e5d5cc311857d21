// SPDX-License-Identifier: GPL-2.0

//! Monitor pages: signals that the host collects after a while instead of being interrupted at
//! once.
//!
//! The connection has two pages of `struct hv_monitor_page`, one per direction. A channel that was
//! offered with a monitor id signals by an atomic OR of [`Monitor::mask`] into the word at
//! [`Monitor::pending_offset`] of the page for the host. The host looks at these words about every
//! 100 µs. All words are little-endian; the host can write both pages at any time.

/// Number of monitor ids.
pub const MONITOR_COUNT: u8 = 128;

/// Ids in one trigger group: the bits of its pending word.
const GROUP_SIZE: u8 = 32;

/// Offset of `trigger_group`: four of 8 bytes, each a pending word and an armed word.
const TRIGGER_GROUPS: usize = 0x8;

/// Offset of `latency`: 16 bits for each id.
const LATENCIES: usize = 0x240;

/// Offset of `parameter`: 8 bytes for each id.
const PARAMETERS: usize = 0x440;

/// Where one channel's monitor is in a monitor page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Monitor {
    /// Below [`MONITOR_COUNT`].
    id: u8,
}

impl Monitor {
    /// The monitor with the id from a channel's offer, or `None` if a monitor page has no such
    /// monitor.
    pub const fn new(id: u8) -> Option<Self> {
        if id < MONITOR_COUNT {
            Some(Self { id })
        } else {
            None
        }
    }

    /// Offset in bytes of the 32-bit pending word of the monitor's group, which sysfs shows as
    /// `pending`.
    pub fn pending_offset(self) -> usize {
        entry(TRIGGER_GROUPS, 8, self.id / GROUP_SIZE)
    }

    /// The monitor's bit in the pending word.
    pub fn mask(self) -> u32 {
        1 << (self.id % GROUP_SIZE)
    }

    /// Offset in bytes of the 16-bit latency, which sysfs shows as `latency`.
    pub fn latency_offset(self) -> usize {
        entry(LATENCIES, 2, self.id)
    }

    /// Offset in bytes of the 32-bit connection id; see [`connection_id`].
    pub fn connection_id_offset(self) -> usize {
        entry(PARAMETERS, 8, self.id)
    }
}

/// The connection id in the word at [`Monitor::connection_id_offset`], which sysfs shows as
/// `conn_id`: its low 24 bits (`union hv_connection_id`).
pub const fn connection_id(word: u32) -> u32 {
    word & 0x00ff_ffff
}

/// Offset of entry `index` of an array of `size`-byte entries at `base`.
fn entry(base: usize, size: usize, index: u8) -> usize {
    base.wrapping_add(size.wrapping_mul(usize::from(index)))
}
