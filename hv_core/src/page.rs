// SPDX-License-Identifier: GPL-2.0

//! One page of memory that the hypervisor or the host reads and writes at will.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64};
use kernel::alloc::AllocError;
use kernel::bindings;

/// Size of a page of the hypervisor's interface, in bytes; always 4096.
pub const HV_PAGE_SIZE: usize = 4096;

/// A zeroed page, 4096 bytes aligned to 4096, shared with the hypervisor: only atomics ever touch it.
///
/// # Invariants
///
/// `address` is a page from the page allocator that this owns.
pub struct HostPage {
    /// Kernel address of the page.
    address: NonNull<u8>,
}

// SAFETY: The page is owned, and every access to it is atomic.
unsafe impl Send for HostPage {}
// SAFETY: As above.
unsafe impl Sync for HostPage {}

impl HostPage {
    /// Allocates a page. Process context.
    ///
    /// # Errors
    ///
    /// `AllocError` without memory.
    pub fn new() -> Result<Self, AllocError> {
        // SAFETY: The allocator has no preconditions in process context.
        let address = unsafe {
            bindings::get_free_pages_noprof(bindings::GFP_KERNEL | bindings::__GFP_ZERO, 0)
        };
        // INVARIANT: What the allocator returned, non-null.
        NonNull::new(address as *mut u8)
            .map(|address| Self { address })
            .ok_or(AllocError)
    }

    /// The guest page number, in units of 4096 bytes.
    #[must_use]
    pub fn pfn(&self) -> u64 {
        // SAFETY: The page is in the linear mapping, as all of the page allocator's are.
        unsafe { hv_bindings::rust_helper_hv_virt_to_phys(self.address.as_ptr().cast()) >> 12 }
    }

    /// The guest physical address, in bytes.
    #[must_use]
    pub fn physical_address(&self) -> u64 {
        self.pfn() << 12
    }

    /// The 64-bit word at `index` times 8 bytes, if that is inside the page.
    #[inline]
    #[must_use]
    pub fn word(&self, index: usize) -> Option<&AtomicU64> {
        if index >= HV_PAGE_SIZE / 8 {
            return None;
        }
        // SAFETY: In bounds by the check and aligned; an atomic is sound on memory that others write.
        Some(unsafe { AtomicU64::from_ptr(self.address.as_ptr().cast::<u64>().add(index)) })
    }

    /// Sets bit `bit`, counted from the lowest of the first byte, with a full barrier; nothing if it is outside.
    pub fn set_bit(&self, bit: usize) {
        if bit < HV_PAGE_SIZE * 8 {
            // SAFETY: In bounds; the operation is atomic.
            unsafe {
                hv_bindings::rust_helper_hv_sync_set_bit(bit as isize, self.address.as_ptr().cast())
            };
        }
    }

    /// The 32-bit word at `index` times 4 bytes, if that is inside the page.
    #[inline]
    #[must_use]
    pub fn word32(&self, index: usize) -> Option<&AtomicU32> {
        if index >= HV_PAGE_SIZE / 4 {
            return None;
        }
        // SAFETY: As for `word`.
        Some(unsafe { AtomicU32::from_ptr(self.address.as_ptr().cast::<u32>().add(index)) })
    }
}

impl Drop for HostPage {
    fn drop(&mut self) {
        // SAFETY: By the invariant the page is ours, of order 0. Whoever told the hypervisor of it took it back.
        unsafe { bindings::free_pages(self.address.as_ptr() as usize, 0) };
    }
}
