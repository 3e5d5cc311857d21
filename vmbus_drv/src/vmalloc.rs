// SPDX-License-Identifier: GPL-2.0

//! Pages that a channel shares with the host: rings, and whatever else a GPADL describes.

use core::alloc::Layout;
use core::ptr::NonNull;
use hv_core::compat::full_barrier;
use hv_core::{Cpu, HV_PAGE_SIZE};
use kernel::alloc::allocator::Vmalloc;
use kernel::alloc::{Allocator, NumaNode};
use kernel::bindings;
use kernel::prelude::*;
use kernel::sync::atomic::{Acquire, Atomic, Release};
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

    /// The 32-bit word at `offset`, a multiple of 4; `None` if it is not inside.
    fn word(&self, offset: usize) -> Option<&Atomic<u32>> {
        self.check(offset, 4)?;
        if offset % 4 != 0 {
            return None;
        }
        // SAFETY: In bounds and aligned; an atomic is sound on memory that others write.
        Some(unsafe { Atomic::from_ptr(self.base.as_ptr().add(offset).cast()) })
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
#[derive(Clone)]
pub(crate) struct Ring {
    /// The pages of both rings.
    pages: Arc<SharedPages>,
    /// Where the control page is, in bytes.
    control: usize,
    /// Bytes of the data area behind it.
    size: u32,
}

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
        let size = u32::try_from(data * HV_PAGE_SIZE).map_err(|_| EINVAL)?;
        Ok(Self {
            pages,
            control: first * HV_PAGE_SIZE,
            size,
        })
    }

    /// Where byte `offset` of the data area is in the pages.
    fn data(&self, offset: u32) -> usize {
        (self.control + HV_PAGE_SIZE).saturating_add(offset as usize)
    }
}

impl RingMem for Ring {
    fn size(&self) -> u32 {
        self.size
    }

    fn load(&self, word: Control) -> u32 {
        self.pages
            .word(self.control + word.offset())
            .map_or(0, |word| word.load(Acquire))
    }

    fn store(&self, word: Control, value: u32) {
        if let Some(word) = self.pages.word(self.control + word.offset()) {
            word.store(value, Release);
        }
    }

    fn full_fence(&self) {
        full_barrier();
    }

    fn read(&self, offset: u32, dest: &mut [u8]) {
        // The ring code stays inside; bytes outside would be left as they are.
        let _ = self.pages.read(self.data(offset), dest);
    }

    fn write(&self, offset: u32, source: &[u8]) {
        let _ = self.pages.write(self.data(offset), source);
    }
}
