// SPDX-License-Identifier: GPL-2.0

//! The writing end of a ring, which carries packets to the host.

use zerocopy::IntoBytes as _;

use crate::memory::{Control, RingMem, FEATURE_PENDING_SEND_SIZE};
use crate::packet::{trailer, Descriptor, OutgoingPacket, DESCRIPTOR_SIZE, TRAILER_SIZE};
use crate::size::{length, RingSize, SetupError, UNIT};
use crate::{Corrupt, Signal};

/// Why a packet was not staged. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// Not now: the host has not made enough room yet. See [`Writer::arm_pending_send`].
    Full {
        /// Free bytes that the packet takes.
        needed: u32,
    },
    /// Never: the packet does not fit this ring even when it is empty, or its lengths do not fit
    /// the descriptor.
    TooLarge,
    /// The host broke the protocol; the channel has failed.
    Corrupt(Corrupt),
}

/// What [`Writer::arm_pending_send`] found.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// The room is there now, and the host has not been asked for a signal.
    Now,
    /// The host will signal when it has made the room.
    Later,
}

/// The writing end of a ring.
///
/// Packets are staged one by one and become visible to the host together, by [`Writer::publish`].
///
/// # Invariants
///
/// `staged` and `published` are valid indices, and `free` is at least one unit.
#[derive(Debug)]
pub struct Writer<M> {
    /// The ring.
    mem: M,
    /// Size of the ring's data area.
    size: RingSize,
    /// Where the next packet goes.
    staged: u32,
    /// The write index that the host sees. Never read back, since the host can overwrite it.
    published: u32,
    /// Bytes from `staged` to the newest valid read index that the host is known to have reached.
    free: u32,
    /// Bytes that the packet takes for which the host was asked for room; 0 if it was not asked.
    armed: u32,
    /// What the host did wrong, if it has.
    corrupt: Option<Corrupt>,
}

impl<M: RingMem> Writer<M> {
    /// Sets up the writing end of a ring whose control page is cleared.
    ///
    /// # Errors
    ///
    /// [`SetupError`] if `mem` has an unsuitable size or is not cleared.
    pub fn new(mem: M) -> Result<Self, SetupError> {
        let size = RingSize::check(&mem, Control::ReadIndex)?;
        mem.store(Control::WriteIndex, 0);
        mem.store(Control::PendingSendSize, 0);
        mem.store(Control::FeatureBits, FEATURE_PENDING_SEND_SIZE);
        Ok(Self {
            mem,
            size,
            staged: 0,
            published: 0,
            free: size.free(0),
            armed: 0,
            corrupt: None,
        })
    }

    /// The memory of the ring, to take a [`crate::Snapshot`].
    pub fn mem(&self) -> &M {
        &self.mem
    }

    /// Copies `packet` into the ring, behind the packets staged before. The host does not see it
    /// before [`Writer::publish`].
    ///
    /// # Errors
    ///
    /// [`WriteError`] says whether to wait, to give up the packet or to give up the channel.
    /// Nothing has been staged.
    #[inline]
    pub fn stage(&mut self, packet: &OutgoingPacket<'_>) -> Result<(), WriteError> {
        let layout = Layout::of(packet, self.size.max_packet()).ok_or(WriteError::TooLarge)?;
        self.reserve(layout.total)?;
        let descriptor = Descriptor {
            packet_type: packet.packet_type.0,
            offset8: layout.offset8,
            length8: layout.length8,
            flags: packet.flags.bits(),
            transaction_id: packet.transaction_id,
        };
        let [first, second] = descriptor.words();
        let mut at = self.put_word(self.staged, first);
        at = self.put_word(at, second);
        at = self.put_padded(at, packet.extension, layout.extension_pad);
        at = self.put_padded(at, packet.payload, layout.payload_pad);
        self.staged = self.put_word(at, trailer(self.staged));
        self.free = self.free.wrapping_sub(layout.total);
        Ok(())
    }

    /// Copies a packet that was made as a whole into the ring, as [`Writer::stage`] does. Its first words are those of
    /// [`crate::packet::request_head`], the last is overwritten.
    ///
    /// # Errors
    ///
    /// As [`Writer::stage`].
    #[inline]
    pub fn stage_whole(&mut self, packet: &mut [u64]) -> Result<(), WriteError> {
        if let Some(last) = packet.last_mut() {
            *last = trailer(self.staged).to_le();
        }
        let bytes = packet.as_bytes();
        let total = length(bytes);
        if total == 0 || total > self.size.max_packet() {
            return Err(WriteError::TooLarge);
        }
        self.reserve(total)?;
        self.staged = self.put(self.staged, bytes);
        self.free = self.free.wrapping_sub(total);
        Ok(())
    }

    /// Lets the host see all staged packets.
    ///
    /// The host is to be signalled only if it may have found the ring empty and gone to sleep: its
    /// interrupt mask is clear and it has read all that was published before.
    #[inline]
    pub fn publish(&mut self) -> Signal {
        if self.staged == self.published {
            return Signal::NotNeeded;
        }
        let before = core::mem::replace(&mut self.published, self.staged);
        self.mem.store(Control::WriteIndex, self.staged);
        // Pairs with the fence in `Reader::unmask`: either the host sees the packets or we see its
        // mask clear.
        self.mem.full_fence();
        // The mask comes first. The host clears it after it has stored its read index, so a clear
        // mask shows the final index.
        if self.mem.load(Control::InterruptMask) == 0 && self.mem.load(Control::ReadIndex) == before
        {
            Signal::Needed
        } else {
            Signal::NotNeeded
        }
    }

    /// Stages one packet and publishes it together with all staged before.
    ///
    /// # Errors
    ///
    /// As [`Writer::stage`].
    #[inline]
    pub fn send(&mut self, packet: &OutgoingPacket<'_>) -> Result<Signal, WriteError> {
        self.stage(packet)?;
        Ok(self.publish())
    }

    /// Asks the host for a signal when the packet fits that was refused with [`WriteError::Full`].
    ///
    /// Publish what is staged first: the host makes no room while it sees no packets. After
    /// [`Room::Now`] stage again; after [`Room::Later`] wait for the channel's interrupt, but with
    /// a timeout, since hosts differ: QEMU's sends no signal if it empties the ring in one step.
    /// The request to the host ends when a packet of that size or a larger one is staged, or with
    /// [`Writer::disarm_pending_send`].
    ///
    /// # Errors
    ///
    /// [`Corrupt`] if the host broke the protocol.
    pub fn arm_pending_send(&mut self, needed: u32) -> Result<Room, Corrupt> {
        let needed = needed.min(self.size.max_packet());
        // Several senders may wait: the one with the largest packet decides.
        self.armed = self.armed.max(needed);
        // A packet fits if more than `needed` bytes are free. Hosts disagree whether their signal
        // is due at the pending size itself (QEMU) or above (Hyper-V's protocol as Linux and
        // OpenVMM have it); with the next unit both signal, and never too early.
        self.mem
            .store(Control::PendingSendSize, self.armed.saturating_add(UNIT));
        // Pairs with the fence in `Reader::commit`: either the host sees the request or we see its
        // read index.
        self.mem.full_fence();
        self.refresh()?;
        if self.free > self.armed {
            self.disarm_pending_send();
        }
        if self.free > needed {
            Ok(Room::Now)
        } else {
            Ok(Room::Later)
        }
    }

    /// Tells the host that nobody waits for room.
    pub fn disarm_pending_send(&mut self) {
        self.armed = 0;
        self.mem.store(Control::PendingSendSize, 0);
    }

    /// Bytes that packets can take now, as far as the host has told. For a driver that stops its
    /// queue before the ring is full.
    ///
    /// # Errors
    ///
    /// [`Corrupt`] if the host broke the protocol.
    pub fn room(&mut self) -> Result<u32, Corrupt> {
        self.refresh()?;
        Ok(self.free.saturating_sub(UNIT))
    }

    /// Makes sure that `total` bytes fit behind the staged packets, and that the ring does not
    /// become completely full.
    #[inline]
    fn reserve(&mut self, total: u32) -> Result<(), WriteError> {
        if let Some(corrupt) = self.corrupt {
            return Err(WriteError::Corrupt(corrupt));
        }
        // The host's index is looked at only when it is needed, for it costs a cache miss.
        if self.free <= total {
            self.refresh().map_err(WriteError::Corrupt)?;
            if self.free <= total {
                return Err(WriteError::Full { needed: total });
            }
        }
        // A smaller packet of another sender's does not end the wait of the one who asked.
        if self.armed != 0 && total >= self.armed {
            self.disarm_pending_send();
        }
        Ok(())
    }

    /// Reads and checks the host's index: it moves only forward, and not beyond what was published.
    #[cold]
    fn refresh(&mut self) -> Result<(), Corrupt> {
        if let Some(corrupt) = self.corrupt {
            return Err(corrupt);
        }
        let read = self.mem.load(Control::ReadIndex);
        let used = self.size.distance(read, self.staged);
        let unpublished = self.size.distance(self.published, self.staged);
        let free = self.size.free(used);
        if !self.size.is_index(read) || used < unpublished || free < self.free {
            let corrupt = Corrupt::ReadIndex(read);
            self.corrupt = Some(corrupt);
            return Err(corrupt);
        }
        self.free = free;
        Ok(())
    }

    /// Copies `parts` and then `pad` zeros, at most 7, to index `at`, and returns the index behind
    /// them.
    #[inline]
    fn put_padded(&self, mut at: u32, parts: &[&[u8]], pad: usize) -> u32 {
        for part in parts {
            at = self.put(at, part);
        }
        match [0; 7].get(..pad) {
            None | Some([]) => at,
            Some(zeros) => self.put(at, zeros),
        }
    }

    /// Copies 8 bytes to index `at`, and returns the index behind them.
    #[inline]
    fn put_word(&self, at: u32, word: u64) -> u32 {
        self.mem.write_word(at, word);
        self.size.advance(at, UNIT)
    }

    /// Copies `bytes`, fewer than the ring has, to index `at`, and returns the index behind them.
    #[inline]
    fn put(&self, at: u32, bytes: &[u8]) -> u32 {
        let length = length(bytes);
        if length < self.size.to_end(at) {
            self.mem.write(at, bytes);
            at.wrapping_add(length)
        } else {
            self.put_around(at, bytes)
        }
    }

    /// The same where the bytes reach the end of the data area, or go on at its start.
    #[cold]
    fn put_around(&self, at: u32, bytes: &[u8]) -> u32 {
        let to_end = usize::try_from(self.size.to_end(at)).unwrap_or(0);
        let (first, second) = bytes.split_at_checked(to_end).unwrap_or((bytes, &[]));
        self.mem.write(at, first);
        self.mem.write(0, second);
        length(second)
    }
}

/// The lengths of a packet in the ring.
struct Layout {
    /// As in the [`Descriptor`].
    offset8: u16,
    /// As in the [`Descriptor`].
    length8: u16,
    /// Zero bytes after the extension.
    extension_pad: usize,
    /// Zero bytes after the payload.
    payload_pad: usize,
    /// Bytes that the packet takes in the ring, trailer included.
    total: u32,
}

impl Layout {
    /// Lays out `packet`, or returns `None` if it takes more than `max` bytes or than a descriptor
    /// can express.
    #[inline]
    fn of(packet: &OutgoingPacket<'_>, max: u32) -> Option<Self> {
        let (extension, extension_pad) = padded(packet.extension);
        let (payload, payload_pad) = padded(packet.payload);
        let offset = DESCRIPTOR_SIZE.saturating_add(extension);
        let length = offset.saturating_add(payload);
        let total = u32::try_from(length.saturating_add(TRAILER_SIZE)).ok()?;
        if total > max {
            return None;
        }
        Some(Self {
            offset8: u16::try_from(offset / 8).ok()?,
            length8: u16::try_from(length / 8).ok()?,
            extension_pad,
            payload_pad,
            total,
        })
    }
}

/// The length of all `parts` with the zeros that make it a multiple of 8, and the number of zeros.
/// A sum beyond `usize` is the largest multiple.
#[inline]
fn padded(parts: &[&[u8]]) -> (usize, usize) {
    let length = parts
        .iter()
        .fold(0usize, |sum, part| sum.saturating_add(part.len()));
    let padded = length.saturating_add(7) & !7;
    (padded, padded.wrapping_sub(length))
}
