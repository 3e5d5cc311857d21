// SPDX-License-Identifier: GPL-2.0

//! Access to the memory of one ring, which the host can write at any time.

use zerocopy::IntoBytes as _;

/// A word of the control page (`struct hv_ring_buffer`), 32 bits little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Where the writer will put its next packet. Stored by the writer.
    WriteIndex,
    /// Where the reader will take its next packet. Stored by the reader.
    ReadIndex,
    /// Not zero while the reader does not want a signal for new packets. Stored by the reader.
    InterruptMask,
    /// Free bytes for which a blocked writer waits, or 0. Stored by the writer.
    PendingSendSize,
    /// What the writer supports: [`FEATURE_PENDING_SEND_SIZE`]. Stored by the writer.
    FeatureBits,
}

impl Control {
    /// Size in bytes of the control page, which comes before the data area.
    pub const PAGE_SIZE: usize = 4096;

    /// Offset in bytes of this word in the control page.
    #[inline]
    pub const fn offset(self) -> usize {
        match self {
            Self::WriteIndex => 0,
            Self::ReadIndex => 4,
            Self::InterruptMask => 8,
            Self::PendingSendSize => 12,
            Self::FeatureBits => 64,
        }
    }
}

/// Bit of [`Control::FeatureBits`] (`feat_pending_send_sz`): the writer sets
/// [`Control::PendingSendSize`] while it waits for room, and expects a signal when there is.
pub const FEATURE_PENDING_SEND_SIZE: u32 = 1;

/// The memory of one ring.
///
/// An implementation copies bytes and never hands out a reference, for the host may write this
/// memory at any time. Copies of data need no atomicity: packets that have been published and not
/// yet given back are the only ones read, and what a host does to them in the meantime can only
/// change their content, which is checked after the copy.
pub trait RingMem {
    /// Size of the data area in bytes, without the control page. The same for the life of the
    /// value.
    fn size(&self) -> u32;

    /// Loads a control word with acquire ordering: later reads of data see what the peer wrote
    /// before it stored this value.
    fn load(&self, word: Control) -> u32;

    /// Stores a control word with release ordering: all earlier reads and writes are done before
    /// the peer can see this value.
    fn store(&self, word: Control, value: u32);

    /// A full barrier: orders an earlier store before a later load. Needed wherever each side
    /// stores its own word and then loads the other's to decide who must act.
    fn full_fence(&self);

    /// Copies data out of the ring. The ring code calls it with `offset + dest.len() <= size()`
    /// only.
    fn read(&self, offset: u32, dest: &mut [u8]);

    /// Copies data into the ring. The ring code calls it with `offset + src.len() <= size()` only.
    fn write(&self, offset: u32, src: &[u8]);

    /// Copies words of 8 bytes out of the ring, little-endian. `offset` is a multiple of 8, and the words are all inside.
    #[inline]
    fn read_words<const N: usize>(&self, offset: u32) -> [u64; N] {
        let mut words = [0; N];
        self.read(offset, words.as_mut_bytes());
        words.map(u64::from_le)
    }

    /// Copies 8 bytes of data into the ring, little-endian. `offset` is a multiple of 8 below `size()`.
    #[inline]
    fn write_word(&self, offset: u32, word: u64) {
        self.write(offset, &word.to_le_bytes());
    }
}

impl<M: RingMem> RingMem for &M {
    #[inline]
    fn size(&self) -> u32 {
        (**self).size()
    }

    #[inline]
    fn load(&self, word: Control) -> u32 {
        (**self).load(word)
    }

    #[inline]
    fn store(&self, word: Control, value: u32) {
        (**self).store(word, value);
    }

    #[inline]
    fn full_fence(&self) {
        (**self).full_fence();
    }

    #[inline]
    fn read(&self, offset: u32, dest: &mut [u8]) {
        (**self).read(offset, dest);
    }

    #[inline]
    fn write(&self, offset: u32, src: &[u8]) {
        (**self).write(offset, src);
    }

    #[inline]
    fn read_words<const N: usize>(&self, offset: u32) -> [u64; N] {
        (**self).read_words(offset)
    }

    #[inline]
    fn write_word(&self, offset: u32, word: u64) {
        (**self).write_word(offset, word);
    }
}
