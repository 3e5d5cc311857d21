// SPDX-License-Identifier: GPL-2.0

//! The reading end of a ring, which carries packets from the host.

use crate::memory::{Control, RingMem, FEATURE_PENDING_SEND_SIZE};
use crate::packet::{Descriptor, IncomingPacket, PacketFlags, PacketType, DESCRIPTOR_SIZE};
use crate::size::{length, RingSize, SetupError, UNIT};
use crate::{Corrupt, Signal};

/// Why there is no packet. The position in the ring has not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// Not now: the host has sent nothing more.
    Empty,
    /// The next packet is larger than the caller's buffer. No device sends one larger than its
    /// protocol allows, so this is a failure of the channel; the packet is neither truncated nor
    /// skipped.
    TooLarge {
        /// Bytes that a buffer for this packet must have.
        len: usize,
    },
    /// The host broke the protocol; the channel has failed.
    Corrupt(Corrupt),
}

/// Whether packets arrived before the host could see that it may signal.
#[must_use = "packets that arrived before the mask was clear have no signal"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// Read on: there may be no signal for what is in the ring.
    More,
    /// The ring is empty, and the next packet comes with a signal.
    Idle,
}

/// The reading end of a ring.
///
/// Packets are copied out one by one with [`Reader::next`]. Their space goes back to the host
/// together, by [`Reader::commit`].
///
/// # Invariants
///
/// `next` is a valid index, and `uncommitted + available` is less than the size of the ring.
#[derive(Debug)]
pub struct Reader<M> {
    /// The ring.
    mem: M,
    /// Size of the ring's data area.
    size: RingSize,
    /// Where the next packet starts.
    next: u32,
    /// Bytes from `next` on that the host is known to have published.
    available: u32,
    /// Bytes before `next` that have not been given back. The read index that the host sees is
    /// never read back, since the host can overwrite it.
    uncommitted: u32,
    /// What the host did wrong, if it has.
    corrupt: Option<Corrupt>,
}

impl<M: RingMem> Reader<M> {
    /// Sets up the reading end of a ring whose control page is cleared. Signals are not masked.
    ///
    /// # Errors
    ///
    /// [`SetupError`] if `mem` has an unsuitable size or is not cleared.
    pub fn new(mem: M) -> Result<Self, SetupError> {
        let size = RingSize::check(&mem, Control::WriteIndex)?;
        mem.store(Control::ReadIndex, 0);
        mem.store(Control::InterruptMask, 0);
        Ok(Self {
            mem,
            size,
            next: 0,
            available: 0,
            uncommitted: 0,
            corrupt: None,
        })
    }

    /// The memory of the ring, to take a [`crate::Snapshot`].
    pub fn mem(&self) -> &M {
        &self.mem
    }

    /// Copies the next packet, without its descriptor, to the start of `buffer`.
    ///
    /// # Errors
    ///
    /// [`ReadError`] says whether to wait or to give up the channel.
    #[inline]
    pub fn next<'b>(&mut self, buffer: &'b mut [u8]) -> Result<IncomingPacket<'b>, ReadError> {
        let available = self.available()?;
        let (words, body) = if self.size.to_end(self.next) > 2 * UNIT {
            let body = self.next.wrapping_add(2 * UNIT);
            (self.mem.read_words(self.next), body)
        } else {
            self.descriptor_around()
        };
        let descriptor = Descriptor::from_words(words);

        let offset = usize::from(descriptor.offset8).wrapping_mul(8);
        let length = usize::from(descriptor.length8).wrapping_mul(8);
        // The trailer is one unit more.
        let total = u32::from(descriptor.length8)
            .wrapping_add(1)
            .wrapping_mul(UNIT);
        if offset < DESCRIPTOR_SIZE || length < offset || total > available {
            return self.bad_lengths(&descriptor, available);
        }
        let len = length.wrapping_sub(DESCRIPTOR_SIZE);
        let extension_len = offset.wrapping_sub(DESCRIPTOR_SIZE);
        let copy = buffer.get_mut(..len).ok_or(ReadError::TooLarge { len })?;
        self.get(body, copy);
        let (extension, payload) = copy
            .split_at_checked(extension_len)
            .ok_or(ReadError::TooLarge { len })?;
        self.next = self.size.advance(self.next, total);
        self.available = available.wrapping_sub(total);
        self.uncommitted = self.uncommitted.wrapping_add(total);
        Ok(IncomingPacket {
            packet_type: PacketType(descriptor.packet_type),
            flags: PacketFlags::from_bits_retain(descriptor.flags),
            transaction_id: descriptor.transaction_id,
            extension,
            payload,
        })
    }

    /// The words of a descriptor that reaches the end of the data area, or goes on at its start; and the index behind it.
    #[cold]
    fn descriptor_around(&self) -> ([u64; 2], u32) {
        let second = self.size.advance(self.next, UNIT);
        let [first] = self.mem.read_words(self.next);
        let [id] = self.mem.read_words(second);
        ([first, id], self.size.advance(second, UNIT))
    }

    /// Gives the space of all packets read so far back to the host.
    ///
    /// The host is to be signalled only if it waits for room (its pending send size is not 0) and
    /// this commit is the one that made enough of it.
    #[inline]
    pub fn commit(&mut self) -> Signal {
        if self.uncommitted == 0 {
            return Signal::NotNeeded;
        }
        let read = core::mem::take(&mut self.uncommitted);
        self.mem.store(Control::ReadIndex, self.next);
        // A host without the feature polls a full ring and expects no signal.
        if self.mem.load(Control::FeatureBits) & FEATURE_PENDING_SEND_SIZE == 0 {
            return Signal::NotNeeded;
        }
        // Pairs with the fence in `Writer::arm_pending_send`: either the host sees the room or we
        // see its request.
        self.mem.full_fence();
        let pending = self.mem.load(Control::PendingSendSize);
        if pending == 0 {
            return Signal::NotNeeded;
        }
        self.made_room(read, pending)
    }

    /// Decides whether the `read` bytes given back took the free space over the host's `pending`
    /// send size.
    #[cold]
    fn made_room(&mut self, read: u32, pending: u32) -> Signal {
        if self.refresh().is_err() {
            return Signal::NotNeeded;
        }
        let free = self.size.free(self.available);
        // If the host has filled more than was free before this commit, it has used what we gave
        // back: `free - read` is below 0, so below `pending`.
        if free > pending && free.saturating_sub(read) <= pending {
            Signal::Needed
        } else {
            Signal::NotNeeded
        }
    }

    /// Tells the host that it need not signal new packets. It may still signal a few that it is
    /// just sending.
    #[inline]
    pub fn mask(&mut self) {
        self.mem.store(Control::InterruptMask, 1);
    }

    /// Commits, and tells the host to signal the next packet that it puts into the empty ring.
    ///
    /// With [`Pending::More`], [mask](Reader::mask) again and read on; that includes a corrupt
    /// ring, of which [`Reader::next`] tells. The commit is part of it because a host that does not
    /// see the ring empty would send no signal.
    #[inline]
    pub fn unmask(&mut self) -> (Signal, Pending) {
        let signal = self.commit();
        self.mem.store(Control::InterruptMask, 0);
        // Pairs with the fence in `Writer::publish`: either the host sees the mask clear or we see
        // its packets.
        self.mem.full_fence();
        let pending = match self.available() {
            Err(ReadError::Empty) => Pending::Idle,
            _ => Pending::More,
        };
        (signal, pending)
    }

    /// Bytes from the next packet to the host's write index, which is looked at only when all known
    /// packets are read. Never 0.
    #[inline]
    fn available(&mut self) -> Result<u32, ReadError> {
        if let Some(corrupt) = self.corrupt {
            return Err(ReadError::Corrupt(corrupt));
        }
        if self.available == 0 {
            self.refresh().map_err(ReadError::Corrupt)?;
            if self.available == 0 {
                return Err(ReadError::Empty);
            }
        }
        Ok(self.available)
    }

    /// Reads and checks the host's index: it moves only forward, and not into packets that have not
    /// been given back.
    #[inline]
    fn refresh(&mut self) -> Result<(), Corrupt> {
        let write = self.mem.load(Control::WriteIndex);
        let available = self.size.distance(self.next, write);
        if !self.size.is_index(write)
            || available < self.available
            || available >= self.size.free(self.uncommitted)
        {
            return Err(*self.corrupt.get_or_insert(Corrupt::WriteIndex(write)));
        }
        self.available = available;
        Ok(())
    }

    /// Gives up the ring because of a packet whose lengths make no sense.
    #[cold]
    fn bad_lengths<T>(&mut self, descriptor: &Descriptor, available: u32) -> Result<T, ReadError> {
        let corrupt = Corrupt::Lengths {
            offset8: descriptor.offset8,
            length8: descriptor.length8,
            available,
        };
        self.corrupt = Some(corrupt);
        Err(ReadError::Corrupt(corrupt))
    }

    /// Fills `dest`, shorter than the ring, from index `at`.
    #[inline]
    fn get(&self, at: u32, dest: &mut [u8]) {
        if length(dest) <= self.size.to_end(at) {
            self.mem.read(at, dest);
        } else {
            self.get_around(at, dest);
        }
    }

    /// The same where the bytes go on at the start of the data area.
    #[cold]
    fn get_around(&self, at: u32, dest: &mut [u8]) {
        let to_end = usize::try_from(self.size.to_end(at)).unwrap_or(0);
        if let Some((first, second)) = dest.split_at_mut_checked(to_end) {
            self.mem.read(at, first);
            self.mem.read(0, second);
        }
    }
}
