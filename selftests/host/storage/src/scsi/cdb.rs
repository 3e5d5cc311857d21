// SPDX-License-Identifier: GPL-2.0

//! CDBs and parameter lists: big-endian numbers at fixed places.

use storvsc_proto::CDB_SIZE;

/// A command descriptor block, zero behind its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cdb([u8; CDB_SIZE]);

/// The `N` bytes at an offset, zero where there are none.
pub(crate) fn bytes_at<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    let found = bytes.get(offset..).and_then(<[u8]>::first_chunk::<N>);
    found.copied().unwrap_or([0; N])
}

/// Puts bytes at an offset; those that lie beyond the end are dropped.
pub(crate) fn put(bytes: &mut [u8], offset: usize, value: &[u8]) {
    if let Some(rest) = bytes.get_mut(offset..) {
        for (place, byte) in rest.iter_mut().zip(value) {
            *place = *byte;
        }
    }
}

impl Cdb {
    /// A CDB of at most 16 bytes. `None` if it is shorter than its operation code says, or empty.
    pub(crate) fn new(bytes: &[u8]) -> Option<Self> {
        // The upper three bits name a group of codes; the group says the length (SPC-4, section 4.2.5.1).
        let needed = match *bytes.first()? >> 5 {
            0 => 6,
            1 | 2 => 10,
            4 => CDB_SIZE,
            5 => 12,
            _ => 1,
        };
        if bytes.len() < needed || bytes.len() > CDB_SIZE {
            return None;
        }
        let mut cdb = [0; CDB_SIZE];
        put(&mut cdb, 0, bytes);
        Some(Self(cdb))
    }

    /// One byte.
    pub(crate) fn u8(&self, offset: usize) -> u8 {
        let [byte] = bytes_at(&self.0, offset);
        byte
    }

    /// Whether any bit of a mask is set in a byte.
    pub(crate) fn has(&self, offset: usize, mask: u8) -> bool {
        self.u8(offset) & mask != 0
    }

    /// Two bytes.
    pub(crate) fn u16(&self, offset: usize) -> u16 {
        u16::from_be_bytes(bytes_at(&self.0, offset))
    }

    /// Four bytes.
    pub(crate) fn u32(&self, offset: usize) -> u32 {
        u32::from_be_bytes(bytes_at(&self.0, offset))
    }

    /// Eight bytes.
    pub(crate) fn u64(&self, offset: usize) -> u64 {
        u64::from_be_bytes(bytes_at(&self.0, offset))
    }

    /// The operation code.
    pub(crate) fn opcode(&self) -> u8 {
        self.u8(0)
    }

    /// The service action of a code that has one in the lower 5 bits of byte 1.
    pub(crate) fn service_action(&self) -> u8 {
        self.u8(1) & 0x1f
    }
}
