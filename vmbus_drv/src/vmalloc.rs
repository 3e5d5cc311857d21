// SPDX-License-Identifier: GPL-2.0

//! Pages that a channel shares with the host: rings, and whatever else a GPADL describes.

use core::alloc::Layout;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU32, AtomicU64};
use hv_core::compat::full_barrier;
use hv_core::{Cpu, HV_PAGE_SIZE};
use kernel::alloc::allocator::Vmalloc;
use kernel::alloc::{Allocator, NumaNode};
use kernel::bindings;
use kernel::prelude::*;
use kernel::sync::Arc;
use vmbus_ring::{Control, RingMem};

/// Zeroed pages, contiguous in the kernel's address space only, that the host may write at will.
///
/// # Invariants
///
/// `base` is an allocation of `layout` by `Vmalloc` that this owns. Nobody makes references into it.
pub struct SharedPages {
    /// First byte.
    base: NonNull<u8>,
    /// What was allocated: a multiple of 4096 bytes, aligned to that.
    layout: Layout,
}

// SAFETY: The memory is owned, and every access copies bytes or is atomic.
unsafe impl Send for SharedPages {}
// SAFETY: As above.
unsafe impl Sync for SharedPages {}

impl SharedPages {
    /// Allocates `count` pages of 4096 bytes, near `cpu` if possible. Process context.
    ///
    /// # Errors
    ///
    /// - `EINVAL` for no pages.
    /// - `ENOMEM`.
    pub fn new(count: usize, cpu: Cpu) -> Result<Self> {
        let size = count
            .checked_mul(HV_PAGE_SIZE)
            .filter(|size| *size != 0)
            .ok_or(EINVAL)?;
        let layout = Layout::from_size_align(size, HV_PAGE_SIZE).map_err(|_| EINVAL)?;
        let node = NumaNode::new(cpu.node()).unwrap_or(NumaNode::NO_NODE);
        let base = Vmalloc::alloc(layout, GFP_KERNEL | __GFP_ZERO, node)?;
        // INVARIANT: Just allocated.
        Ok(Self {
            base: base.cast(),
            layout,
        })
    }

    /// How many pages there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.layout.size() / HV_PAGE_SIZE
    }

    /// The page numbers, in order, in units of 4096 bytes.
    pub fn pfns(&self) -> impl Iterator<Item = u64> + '_ {
        (0..self.count()).map(|index| {
            // SAFETY: The address is inside the allocation, which `Vmalloc` made, so it has a page.
            unsafe {
                bindings::vmalloc_to_pfn(self.base.as_ptr().add(index * HV_PAGE_SIZE).cast()) as u64
            }
        })
    }

    /// Copies bytes out; `None` if they are not all inside.
    pub fn read(&self, offset: usize, dest: &mut [u8]) -> Option<()> {
        self.check(offset, dest.len())?;
        // SAFETY: In bounds; `dest` is private memory. The C function hides from the compiler that the host may write
        // meanwhile, which can only change the bytes that are copied.
        unsafe {
            hv_bindings::rust_helper_hv_copy(
                dest.as_mut_ptr().cast(),
                self.base.as_ptr().add(offset).cast(),
                dest.len(),
            );
        }
        Some(())
    }

    /// Copies bytes in; `None` if they do not all fit.
    pub fn write(&self, offset: usize, source: &[u8]) -> Option<()> {
        self.check(offset, source.len())?;
        // SAFETY: As for `read`; `source` is private memory.
        unsafe {
            hv_bindings::rust_helper_hv_copy(
                self.base.as_ptr().add(offset).cast(),
                source.as_ptr().cast(),
                source.len(),
            );
        }
        Some(())
    }

    /// Clears bytes; `None` if they are not all inside.
    pub(crate) fn clear(&self, offset: usize, len: usize) -> Option<()> {
        let zeroes = [0; 64];
        let end = offset.checked_add(len)?;
        let mut at = offset;
        while at < end {
            let piece = zeroes.get(..(end - at).min(zeroes.len()))?;
            self.write(at, piece)?;
            at += piece.len();
        }
        Some(())
    }

    /// Where the pages are in the kernel's address space, for those who map them into a program.
    #[must_use]
    pub fn address(&self) -> usize {
        self.base.as_ptr().addr()
    }

    /// Whether `len` bytes from `offset` are inside.
    fn check(&self, offset: usize, len: usize) -> Option<()> {
        (offset.checked_add(len)? <= self.layout.size()).then_some(())
    }
}

impl Drop for SharedPages {
    fn drop(&mut self) {
        // SAFETY: By the invariant. Whoever told the host of the pages took them back.
        unsafe { Vmalloc::free(self.base, self.layout) };
    }
}

/// One ring of a channel: a part of [`SharedPages`].
///
/// # Invariants
///
/// `control` is a page of `pages`, and `size` bytes, a multiple of 4096, follow it there.
#[derive(Clone)]
pub(crate) struct Ring {
    /// The control page; behind it is the data area.
    control: NonNull<u8>,
    /// Bytes of the data area.
    size: u32,
    /// The pages of both rings.
    _pages: Arc<SharedPages>,
}

// SAFETY: The pages are owned by reference, and every access copies bytes or is atomic.
unsafe impl Send for Ring {}
// SAFETY: As above.
unsafe impl Sync for Ring {}

impl Ring {
    /// The ring whose `count` pages, control page included, start at page `first`.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it has no data page, or is not inside.
    pub(crate) fn new(pages: Arc<SharedPages>, first: usize, count: usize) -> Result<Self> {
        let data = count
            .checked_sub(1)
            .filter(|data| *data != 0)
            .ok_or(EINVAL)?;
        if first
            .checked_add(count)
            .is_none_or(|end| end > pages.count())
        {
            return Err(EINVAL);
        }
        // INVARIANT: Just checked.
        Ok(Self {
            // SAFETY: By the same check.
            control: unsafe { pages.base.add(first * HV_PAGE_SIZE) },
            size: u32::try_from(data * HV_PAGE_SIZE).map_err(|_| EINVAL)?,
            _pages: pages,
        })
    }

    /// A word of the control page.
    #[inline]
    fn word(&self, word: Control) -> &AtomicU32 {
        // SAFETY: Inside the control page and aligned; an atomic is sound on memory that others write.
        unsafe { AtomicU32::from_ptr(self.control.as_ptr().add(word.offset()).cast()) }
    }

    /// Where `length` bytes of the data area are. `None` if they are not all inside, which the ring code never asks.
    #[inline]
    fn data(&self, offset: u32, length: usize) -> Option<*mut u8> {
        let offset = offset as usize;
        if offset.checked_add(length)? > self.size as usize {
            return None;
        }
        // SAFETY: Inside by the invariant.
        Some(unsafe { self.control.as_ptr().add(HV_PAGE_SIZE + offset) })
    }

    /// Words of the data area; `None` as above, or if they are not aligned.
    #[inline]
    fn data_words<const N: usize>(&self, offset: u32) -> Option<&[AtomicU64; N]> {
        let data = self.data(offset, N * 8).filter(|_| offset % 8 == 0)?;
        // SAFETY: Inside and aligned; atomics are sound on memory that others write.
        Some(unsafe { &*data.cast::<[AtomicU64; N]>() })
    }
}

impl RingMem for Ring {
    #[inline]
    fn size(&self) -> u32 {
        self.size
    }

    #[inline]
    fn load(&self, word: Control) -> u32 {
        self.word(word).load(Acquire)
    }

    #[inline]
    fn store(&self, word: Control, value: u32) {
        self.word(word).store(value, Release);
    }

    #[inline]
    fn full_fence(&self) {
        full_barrier();
    }

    #[inline]
    fn read(&self, offset: u32, dest: &mut [u8]) {
        if let Some(data) = self.data(offset, dest.len()) {
            // SAFETY: Inside; `dest` is private memory. The C function hides from the compiler that the host may write
            // meanwhile, which can only change the bytes that are copied.
            unsafe {
                hv_bindings::rust_helper_hv_copy(
                    dest.as_mut_ptr().cast(),
                    data.cast_const().cast(),
                    dest.len(),
                );
            }
        }
    }

    #[inline]
    fn write(&self, offset: u32, source: &[u8]) {
        if let Some(data) = self.data(offset, source.len()) {
            // SAFETY: As for `read`; `source` is private memory.
            unsafe {
                hv_bindings::rust_helper_hv_copy(data.cast(), source.as_ptr().cast(), source.len());
            }
        }
    }

    #[inline]
    fn read_words<const N: usize>(&self, offset: u32) -> [u64; N] {
        self.data_words(offset).map_or([0; N], |words| {
            words.each_ref().map(|word| word.load(Relaxed))
        })
    }

    #[inline]
    fn write_word(&self, offset: u32, word: u64) {
        if let Some([data]) = self.data_words(offset) {
            data.store(word, Relaxed);
        }
    }
}
