// SPDX-License-Identifier: GPL-2.0

//! Partition reference time, from the reference TSC page where the kernel has one and from the MSR otherwise.

use crate::compat::read_barrier;
use crate::msr;
use hvdef::time::{Snapshot, TscPage, TscReference};
use kernel::error::Result;

/// How often a page that the hypervisor is updating is read again before the MSR is asked.
const PATIENCE: usize = 16;

/// The partition's reference time in units of 100 ns since its creation. Any context.
///
/// # Errors
///
/// `EIO` if the partition has no reference counter.
pub fn reference_time() -> Result<u64> {
    let mut attempts = (0..PATIENCE).map(|_| read_tsc_page());
    match attempts.find(|(snapshot, _)| *snapshot != Snapshot::Torn) {
        Some((Snapshot::Valid(reference), tsc)) => Ok(reference.time(tsc)),
        _ => msr::read(hvdef::msr::TIME_REF_COUNT),
    }
}

/// One attempt to read the kernel's reference TSC page, and the TSC that it is for: a guest that is moved to another machine
/// has both changed at once.
fn read_tsc_page() -> (Snapshot, u64) {
    // The kernel turns the page off before a kexec by this register, and never moves it while it is on.
    let enabled = msr::read(hvdef::msr::REFERENCE_TSC)
        .is_ok_and(|value| hvdef::msr::OverlayPage(value).enabled());
    // SAFETY: The function has no preconditions.
    let page = unsafe { hv_bindings::rust_helper_hv_tsc_page() }.cast::<TscPage>();
    if !enabled || page.is_null() {
        return (Snapshot::Unused, 0);
    }
    // SAFETY: The kernel's page lives for ever and is as large as a page; it changes under our feet, hence volatile
    // reads of single fields, through pointers that are never made references. Reading the TSC has no preconditions.
    unsafe {
        let sequence = (&raw const (*page).sequence).read_volatile();
        read_barrier();
        let scale = (&raw const (*page).scale).read_volatile();
        let offset = (&raw const (*page).offset).read_volatile();
        // It waits for the reads before it.
        let tsc = hv_bindings::rust_helper_hv_rdtsc();
        read_barrier();
        let after = (&raw const (*page).sequence).read_volatile();
        let snapshot =
            TscReference::snapshot(sequence.get(), scale.get(), offset.get(), after.get());
        (snapshot, tsc)
    }
}
