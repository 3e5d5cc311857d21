// SPDX-License-Identifier: GPL-2.0

//! SCSI commands of the mid-layer (`struct scsi_cmnd`): who owns them, where their data is, and how they end.

use crate::scsi::{address, Driver};
use core::marker::PhantomData;
use core::mem;
use core::ptr::{self, NonNull};
use core::sync::atomic::AtomicPtr;
use core::sync::atomic::Ordering::Relaxed;
use kernel::bindings;
use kernel::dma;
use kernel::prelude::*;
use scsi_bindings::{scsi_cmnd, scsi_qc_status};
use storvsc_proto::{Address, DataDirection, Place, Segment, Transaction, CDB_SIZE};

/// Bytes of a command's sense buffer (`SCSI_SENSE_BUFFERSIZE`).
const SENSE_BUFFER_SIZE: usize = 96;

/// The bytes of a CDB, by its length: the first of them are the lowest.
const CDB_MASKS: [u128; CDB_SIZE + 1] = {
    let mut masks = [0; CDB_SIZE + 1];
    let mut length = 1;
    while length <= CDB_SIZE {
        masks[length] = masks[length - 1] << 8 | 0xff;
        length += 1;
    }
    masks
};

/// What the mid-layer is told of a command whose device is gone (`DID_NO_CONNECT`).
const NO_CONNECT: u8 = 0x01;
/// Of one that is ended before it was sent, and not to be tried again (`DID_ABORT`).
const ABORT: u8 = 0x05;
/// Of one that failed, and nobody knows why (`DID_ERROR`).
const ERROR: u8 = 0x07;
/// Of one that was lost on its way, and may be tried again (`DID_TRANSPORT_DISRUPTED`).
const TRANSPORT_DISRUPTED: u8 = 0x0e;

/// A command that was given back to the mid-layer, which will queue it again.
#[must_use]
pub(crate) struct Rejected(());

impl Rejected {
    /// What `queuecommand` returns. All of the host's queues wait until a command ends, or for some milliseconds: the
    /// mid-layer forgets nobody then, which it does if it is told that only the device is busy.
    pub(crate) fn status(self) -> scsi_qc_status {
        scsi_bindings::scsi_qc_status_SCSI_MLQUEUE_HOST_BUSY
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending<'a> {
    /// What became of it on the way to the device (`enum scsi_host_status`).
    pub(crate) host: u8,
    /// What the device says.
    pub(crate) status: u8,
    /// The device's account of what went wrong.
    pub(crate) sense: &'a [u8],
    /// How many bytes were not moved.
    pub(crate) residual: u32,
}

impl Ending<'_> {
    /// The device is gone.
    pub(crate) const GONE: Self = Self::of(NO_CONNECT);
    /// The protocol has no such command, or no such data.
    pub(crate) const REFUSED: Self = Self::of(ABORT);
    /// The command cannot be sent.
    pub(crate) const FAILED: Self = Self::of(ERROR);
    /// The channel is gone, but the device is not.
    pub(crate) const DISRUPTED: Self = Self::of(TRANSPORT_DISRUPTED);

    /// The device has done all, but for so many bytes that were not moved.
    #[inline]
    pub(crate) const fn success(residual: u32) -> Self {
        Self {
            host: 0,
            status: 0,
            sense: &[],
            residual,
        }
    }

    /// An end without a word from the device: nothing was moved.
    const fn of(host: u8) -> Self {
        Self {
            host,
            status: 0,
            sense: &[],
            residual: u32::MAX,
        }
    }
}

/// What no other command has until this one ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tag {
    /// The number of the queue on which the command came.
    pub(crate) queue: usize,
    /// The command's number there.
    number: usize,
}

/// The tag of a command.
///
/// # Safety
///
/// The command is valid, and the mid-layer has given it to the driver.
#[inline]
pub(crate) unsafe fn tag(command: *const scsi_cmnd) -> Tag {
    // SAFETY: By the condition of this function, and as the block layer lays requests out: the request is right before the
    // command. One that was queued has a hardware queue.
    unsafe {
        let request = command.cast::<bindings::request>().sub(1);
        Tag {
            queue: (*(*request).mq_hctx).queue_num as usize,
            // CAST: One that is none, below zero, is a number that no place has.
            number: (*request).tag as u32 as usize,
        }
    }
}

/// The time in jiffies, which comes round.
#[inline]
fn now() -> u32 {
    // SAFETY: The kernel has this for everybody to read.
    let jiffies = unsafe { (&raw const bindings::jiffies).read_volatile() };
    // CAST: The lower half.
    jiffies as u32
}

/// A command that the driver owns, and whose data is mapped for the device.
///
/// Dropping it ends it as [`Ending::GONE`].
///
/// # Invariants
///
/// The command is valid, the mid-layer has given it to the driver, and it has not been given back. It belongs to a host
/// of a driver `T`, so that a `T::Private` is behind it. Its data is mapped.
pub(crate) struct Command<T: Driver> {
    /// The command.
    raw: NonNull<scsi_cmnd>,
    /// How many segments the data has as mapped; 0 once it has been put into a table.
    segments: u32,
    /// Whose it is.
    _driver: PhantomData<T>,
}

// SAFETY: Who owns a command may use it on any CPU.
unsafe impl<T: Driver> Send for Command<T> {}

impl<T: Driver> Command<T> {
    /// Takes a command from the mid-layer, and whether it is the last for now.
    ///
    /// # Safety
    ///
    /// `command` is valid, belongs to a host of a driver `T`, and is the driver's from here on.
    pub(crate) unsafe fn new(command: *mut scsi_cmnd) -> Result<(Self, bool), Rejected> {
        let raw = NonNull::new(command).ok_or(Rejected(()))?;
        // SAFETY: By the condition of this function.
        let (segments, last) = unsafe {
            // CAST: Flags.
            let last = (*command).flags as u32 & scsi_bindings::SCMD_LAST != 0;
            (scsi_bindings::scsi_dma_map(command), last)
        };
        // Below zero the bounce buffers are all in use.
        let segments = u32::try_from(segments).map_err(|_| Rejected(()))?;
        // INVARIANT: By the condition of this function, and just mapped.
        let command = Self {
            raw,
            segments,
            _driver: PhantomData,
        };
        Ok((command, last))
    }

    /// Its queue and number.
    #[inline]
    pub(crate) fn tag(&self) -> Tag {
        // SAFETY: By the invariant.
        unsafe { tag(self.raw.as_ptr()) }
    }

    /// Where its LUN is.
    pub(crate) fn address(&self) -> Address {
        // SAFETY: By the invariant; a command has a device.
        unsafe { address((*self.raw.as_ptr()).device) }
    }

    /// What is asked.
    #[inline]
    pub(crate) fn asked(&self) -> Asked<'_> {
        // INVARIANT: By that of the command, which is borrowed.
        Asked {
            raw: self.raw,
            segments: self.segments,
            _command: PhantomData,
        }
    }

    /// The driver's own memory in the command, and what is asked.
    #[inline]
    pub(crate) fn parts(&mut self) -> (&mut T::Private, Asked<'_>) {
        // SAFETY: By the invariant. The private memory was initialised and is nobody else's. `Asked` does not read it: it
        // looks at the command, which is before it, at the command's device, and at the list of segments, which is behind
        // it or elsewhere.
        let private = unsafe { &mut *self.raw.as_ptr().add(1).cast::<T::Private>() };
        (private, self.asked())
    }

    /// Gives the command back to be queued again soon.
    pub(crate) fn reject(self) -> Rejected {
        // SAFETY: By the invariant.
        unsafe { scsi_bindings::scsi_dma_unmap(self.raw.as_ptr()) };
        mem::forget(self);
        Rejected(())
    }

    /// Whether its time has passed, so that the mid-layer's error handler has it, or will.
    pub(crate) fn timed_out(&self) -> bool {
        let command = self.raw.as_ptr();
        // SAFETY: By the invariant. The error handler may write both at any time, hence volatile reads of whole words.
        let (state, submitter) = unsafe {
            (
                (&raw const (*command).state).read_volatile(),
                (&raw const (*command).submitter).read_volatile(),
            )
        };
        let by_block_layer = scsi_bindings::scsi_cmnd_submitter_SUBMITTED_BY_BLOCK_LAYER;
        submitter == by_block_layer && state & 1 << scsi_bindings::SCMD_STATE_COMPLETE != 0
    }

    /// Lets go of a command that has timed out, without a word of how it ended: the error handler would take that for the
    /// answer to what it asks by the same command.
    pub(crate) fn lapse(self) {
        // SAFETY: By the invariant.
        unsafe { scsi_bindings::scsi_dma_unmap(self.raw.as_ptr()) };
        mem::forget(self);
    }

    /// Ends the command. Any context.
    #[inline]
    pub(crate) fn complete(self, ending: &Ending<'_>) {
        let command = self.raw.as_ptr();
        mem::forget(self);
        // SAFETY: By the invariant. The sense buffer has the size that the mid-layer gives all of them. From
        // `scsi_done` on the command is the mid-layer's.
        unsafe {
            scsi_bindings::scsi_dma_unmap(command);
            (*command).result = i32::from(ending.host) << 16 | i32::from(ending.status);
            (*command).resid_len = ending.residual.min((*command).sdb.length);
            if !ending.sense.is_empty() {
                let size = ending.sense.len().min(SENSE_BUFFER_SIZE);
                ptr::copy_nonoverlapping(ending.sense.as_ptr(), (*command).sense_buffer, size);
            }
            scsi_bindings::scsi_done(command);
        }
    }

    /// Ends a command that is dropped.
    ///
    /// # Safety
    ///
    /// `raw` is that of a [`Command`], of which it is the last use.
    #[cold]
    unsafe fn abandon(raw: NonNull<scsi_cmnd>) {
        // INVARIANT: By the condition of this function.
        let command = Self {
            raw,
            segments: 0,
            _driver: PhantomData,
        };
        command.complete(&Ending::GONE);
    }
}

impl<T: Driver> Drop for Command<T> {
    #[inline]
    fn drop(&mut self) {
        // By value: one that a function gets by reference lives in memory all the way, and costs at each step.
        // SAFETY: Nobody uses what is dropped.
        unsafe { Self::abandon(self.raw) };
    }
}

/// What a command asks, and where its data is.
///
/// # Invariants
///
/// `raw` and `segments` are those of a [`Command`], which lasts for all of `'a`.
pub(crate) struct Asked<'a> {
    /// The command.
    raw: NonNull<scsi_cmnd>,
    /// How many segments its data has as mapped.
    segments: u32,
    /// Whose they are.
    _command: PhantomData<&'a ()>,
}

impl<'a> Asked<'a> {
    /// The CDB, zeros behind it, and its length; `None` if it is longer.
    #[inline]
    pub(crate) fn cdb(&self) -> Option<([u8; CDB_SIZE], u8)> {
        // SAFETY: By the invariant; nobody writes to the CDB while the driver has the command. It has room for more.
        let (cdb, length) = unsafe {
            let cdb = &raw const (*self.raw.as_ptr()).cmnd;
            (
                cdb.cast::<[u8; CDB_SIZE]>().read(),
                (*self.raw.as_ptr()).cmd_len,
            )
        };
        // What is behind the CDB is of earlier commands.
        let kept = CDB_MASKS.get(usize::from(length))?;
        // CAST: At most 16.
        Some((
            (u128::from_le_bytes(cdb) & kept).to_le_bytes(),
            length as u8,
        ))
    }

    /// Its first byte.
    pub(crate) fn opcode(&self) -> u8 {
        // SAFETY: As in `cdb`.
        unsafe { (*self.raw.as_ptr()).cmnd[0] }
    }

    /// Whether its LUN takes tagged commands.
    pub(crate) fn tagged(&self) -> bool {
        // SAFETY: By the invariant; a command has a device.
        unsafe {
            scsi_bindings::scsi_device::tagged_supported_raw((*self.raw.as_ptr()).device) != 0
        }
    }

    /// Where its data goes; `None` if both ways.
    pub(crate) fn direction(&self) -> Option<DataDirection> {
        // SAFETY: By the invariant. The C enum has the size of an integer; in Rust it is one, or a wrapper of one.
        let direction: i32 = unsafe {
            (&raw const (*self.raw.as_ptr()).sc_data_direction)
                .cast::<i32>()
                .read()
        };
        // CAST: The values of the C enum.
        match direction {
            _ if direction == dma::DataDirection::ToDevice as i32 => Some(DataDirection::WRITE),
            _ if direction == dma::DataDirection::FromDevice as i32 => Some(DataDirection::READ),
            _ if direction == dma::DataDirection::None as i32 => Some(DataDirection::NONE),
            _ => None,
        }
    }

    /// Bytes of its data.
    pub(crate) fn length(&self) -> u32 {
        // SAFETY: By the invariant.
        unsafe { (*self.raw.as_ptr()).sdb.length }
    }

    /// Where its data is.
    #[inline]
    pub(crate) fn segments(&self) -> Segments<'a> {
        // SAFETY: By the invariant.
        let next = unsafe { (*self.raw.as_ptr()).sdb.table.sgl };
        // INVARIANT: The data is mapped, and the list stays as it is until the command ends.
        Segments {
            next,
            left: self.segments,
            _command: PhantomData,
        }
    }
}

/// Where a command's data is, as the device sees it.
///
/// # Invariants
///
/// `next` is the first of at least `left` mapped segments that stay for all of `'a`.
#[derive(Clone)]
pub(crate) struct Segments<'a> {
    /// The next segment.
    next: *mut bindings::scatterlist,
    /// How many there are.
    left: u32,
    /// The command that has them.
    _command: PhantomData<&'a ()>,
}

impl Segments<'_> {
    /// The segment, if it is the only one.
    #[inline]
    pub(crate) fn only(&self) -> Option<Segment> {
        self.first().filter(|_| self.left == 1)
    }

    /// The segment that comes next.
    #[inline]
    pub(crate) fn first(&self) -> Option<Segment> {
        if self.left == 0 {
            return None;
        }
        // SAFETY: By the invariant.
        unsafe {
            Some(Segment {
                address: (*self.next).dma_address,
                length: (*self.next).dma_length,
            })
        }
    }
}

impl Iterator for Segments<'_> {
    type Item = Segment;

    #[inline]
    fn next(&mut self) -> Option<Segment> {
        let segment = self.first()?;
        self.left = self.left.wrapping_sub(1);
        if self.left != 0 {
            // SAFETY: By the invariant; after the last one, the list is not followed.
            self.next = unsafe { bindings::sg_next(self.next) };
        }
        Some(segment)
    }
}

/// Commands that the host has, by queue and tag.
///
/// No lock is needed: the block layer gives a tag to one command at a time, and [`Place`] says who gets a command out.
pub(crate) struct InFlight<T: Driver> {
    /// The places.
    slots: KVVec<Slot>,
    /// Places of each queue.
    depth: usize,
    /// Whose commands they are.
    _driver: PhantomData<T>,
}

/// A place and its command.
///
/// # Invariants
///
/// While there is a command in `place`, `command` is one that was put here and that nobody else has.
struct Slot {
    /// The place.
    place: Place,
    /// The command.
    command: AtomicPtr<scsi_cmnd>,
}

// SAFETY: What the table has is owned by it, and commands may be used on any CPU.
unsafe impl<T: Driver> Send for InFlight<T> {}
// SAFETY: Commands get in by tag, which one CPU has at a time, and out by an exchange.
unsafe impl<T: Driver> Sync for InFlight<T> {}

impl<T: Driver> InFlight<T> {
    /// A table for `depth` commands in each of `queues`. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(queues: usize, depth: usize) -> Result<Self> {
        let count = queues.checked_mul(depth).ok_or(ENOMEM)?;
        let mut slots = KVVec::with_capacity(count, GFP_KERNEL)?;
        for number in 0..u32::try_from(count)? {
            let slot = Slot {
                place: Place::new(number),
                command: AtomicPtr::new(ptr::null_mut()),
            };
            slots.push(slot, GFP_KERNEL)?;
        }
        Ok(Self {
            slots,
            depth,
            _driver: PhantomData,
        })
    }

    /// The bytes of the table.
    pub(crate) fn size(&self) -> usize {
        self.slots.len().saturating_mul(mem::size_of::<Slot>())
    }

    /// The place of a command with this tag, and its number; `None` if there is no such place.
    #[inline]
    fn slot(&self, tag: Tag) -> Option<(usize, &Slot)> {
        let number = Some(tag.number).filter(|number| *number < self.depth)?;
        // A product that does not fit is of no place either.
        let index = tag.queue.wrapping_mul(self.depth).wrapping_add(number);
        Some((index, self.slots.get(index)?))
    }

    /// For how long the host has had the command with this tag, in milliseconds; `None` if it does not have it.
    pub(crate) fn age_ms(&self, tag: Tag) -> Option<u64> {
        let age = self.slot(tag)?.1.place.age(now())?;
        // SAFETY: No preconditions.
        Some(unsafe { bindings::jiffies64_to_msecs(age.into()) })
    }

    /// The place of a command with this tag, and the transaction id that it has if it is put there now; `None` if there is no
    /// such place, or the host still has an earlier command of this tag.
    #[inline]
    pub(crate) fn reserve(&self, tag: Tag) -> Option<Reserved<'_>> {
        let (index, slot) = self.slot(tag)?;
        Some(Reserved {
            slot,
            generation: slot.place.free()?,
            // CAST: Below the number of places, of which there are less than 2^32.
            number: index as u32,
        })
    }

    /// Puts a command for a LUN, which it was reserved for, into its place. From here on it is complete as soon as the host
    /// says so.
    #[inline]
    pub(crate) fn put(
        &self,
        reserved: &Reserved<'_>,
        channel: u16,
        lun: Address,
        command: Command<T>,
    ) {
        let slot = reserved.slot;
        slot.command.store(command.raw.as_ptr(), Relaxed);
        // INVARIANT: The command is stored, and goes out of the caller's hands.
        mem::forget(command);
        slot.place.put(reserved.generation, channel, lun, now());
    }

    /// The command that was in a place, for who has taken it.
    #[inline]
    fn command(slot: &Slot) -> Option<Command<T>> {
        let raw = NonNull::new(slot.command.load(Relaxed))?;
        // INVARIANT: By that of the slot, and nobody else has taken the command. The next one gets in here only when this
        // one has ended.
        Some(Command {
            raw,
            segments: 0,
            _driver: PhantomData,
        })
    }

    /// Takes the command that the host has answered on a channel; `None` if there is none such, or it was answered before.
    #[inline]
    pub(crate) fn take(&self, number: u32, generation: u32, channel: u16) -> Option<Command<T>> {
        let slot = self.slots.get(number as usize)?;
        let taken = slot.place.take(generation, channel);
        taken.then(|| Self::command(slot)).flatten()
    }

    /// Takes the commands that were sent on this channel, and calls `end` with each.
    pub(crate) fn drain(&self, channel: u16, end: impl FnMut(Command<T>)) {
        let lost = self.slots.iter().filter(|slot| slot.place.drain(channel));
        lost.filter_map(Self::command).for_each(end);
    }

    /// Whether the host has commands of a LUN, or any.
    pub(crate) fn busy(&self, lun: Option<Address>) -> bool {
        self.slots.iter().any(|slot| slot.place.is_busy(lun))
    }

    /// How many commands the host has got on a channel.
    pub(crate) fn count(&self, channel: u16) -> usize {
        let on = |slot: &&Slot| slot.place.is_on(channel);
        self.slots.iter().filter(on).count()
    }
}

/// An empty place for a certain command.
pub(crate) struct Reserved<'a> {
    /// The place.
    slot: &'a Slot,
    /// The command's generation.
    generation: u32,
    /// The place's number.
    number: u32,
}

impl Reserved<'_> {
    /// Whether the place was used a multiple of so many times.
    #[inline]
    pub(crate) fn is_one_of(&self, times: u32) -> bool {
        self.generation % times == 0
    }

    /// The transaction id of the command.
    #[inline]
    pub(crate) fn id(&self) -> u64 {
        let Self {
            generation, number, ..
        } = *self;
        let place = number;
        Transaction::Command { place, generation }.id()
    }
}
