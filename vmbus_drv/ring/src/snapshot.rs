// SPDX-License-Identifier: GPL-2.0

//! A look at a ring for sysfs and debugfs.

use crate::{Control, RingMem};

/// The state of a ring as its control page shows it, for people to read: the values of
/// `hv_ring_buffer_debug_info`.
///
/// The three words are shown as they are, even if the host wrote nonsense. Nothing may be decided
/// by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// [`Control::InterruptMask`].
    pub interrupt_mask: u32,
    /// [`Control::ReadIndex`].
    pub read_index: u32,
    /// [`Control::WriteIndex`].
    pub write_index: u32,
    /// Bytes in use by packets, never more than the size of the data area.
    pub bytes_to_read: u32,
    /// The other bytes of the data area.
    pub bytes_to_write: u32,
}

impl Snapshot {
    /// Reads the control words of `mem`. Takes no lock: another processor may be moving the
    /// indices.
    pub fn of<M: RingMem>(mem: &M) -> Self {
        let size = mem.size();
        let read_index = mem.load(Control::ReadIndex);
        let write_index = mem.load(Control::WriteIndex);
        let read = read_index.min(size);
        let write = write_index.min(size);
        let bytes_to_read = match write.checked_sub(read) {
            Some(used) => used,
            None => size.saturating_sub(read.saturating_sub(write)),
        };
        Self {
            interrupt_mask: mem.load(Control::InterruptMask),
            read_index,
            write_index,
            bytes_to_read,
            bytes_to_write: size.saturating_sub(bytes_to_read),
        }
    }
}
