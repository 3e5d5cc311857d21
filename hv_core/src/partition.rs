// SPDX-License-Identifier: GPL-2.0

//! The partition that this kernel runs in: what the hypervisor is, and the ways to talk to it.

use crate::compat::eopnotsupp;
use crate::synic::Enabled;
use crate::{cpuid, Hypercalls, Synic};
use core::sync::atomic::{AtomicPtr, Ordering};
use hvdef::cpuid::{Privileges, Recommendations};
use hvdef::Hypervisor;
use kernel::debugfs::Dir;
use kernel::prelude::*;
use kernel::sync::Arc;

/// The boot parameter that keeps the kernel's own VMBus away.
const NATIVE_MODE: &str = "initcall_blacklist=hv_acpi_init";

/// What hv_core has set up. Field order is drop order: interrupts end before the hypercall page goes.
pub struct Partition {
    /// The SynIC in force; absent where the kernel has no interrupt vector for it.
    enabled: Option<Enabled>,
    /// The SynIC.
    synic: Arc<Synic>,
    /// The way to make hypercalls.
    hypercalls: Hypercalls,
    /// What CPUID said.
    hypervisor: Hypervisor,
    /// `/sys/kernel/debug/viridian`.
    debugfs: Dir,
}

/// The one partition, for the modules above.
static PARTITION: AtomicPtr<Partition> = AtomicPtr::new(core::ptr::null_mut());

/// The partition, if hv_core is loaded. Any context.
///
/// The reference outlives every module that can call this: such a module uses hv_core's symbols, and the kernel
/// unloads hv_core only after all of those.
#[must_use]
pub fn partition() -> Option<&'static Partition> {
    // SAFETY: `Registration` publishes a partition that it owns, and hides it again before it goes; see above.
    unsafe { PARTITION.load(Ordering::Acquire).as_ref() }
}

/// Refuses a kernel that this stack cannot serve, before anything is set up. Process context.
///
/// # Errors
///
/// - `ENODEV` if this is no Hyper-V guest.
/// - `EBUSY` if the kernel's built-in VMBus is active.
/// - `EOPNOTSUPP` in an isolated (confidential) VM.
fn check() -> Result<Hypervisor> {
    let hypervisor = cpuid::discover().map_err(|reason| {
        pr_err!("not a Hyper-V guest: {}\n", format_args!("{reason}"));
        ENODEV
    })?;
    // SAFETY: The function only looks at a pointer.
    if unsafe { hv_bindings::rust_helper_hv_builtin_vmbus() } {
        pr_err!(
            "the kernel's built-in VMBus is active; boot with {NATIVE_MODE} to use this module\n"
        );
        return Err(EBUSY);
    }
    if hypervisor.privileges.contains(Privileges::ISOLATION) {
        pr_err!(
            "isolated (confidential) VMs are not supported yet; use the kernel's own drivers\n"
        );
        return Err(eopnotsupp());
    }
    if !hypervisor.privileges.contains(Privileges::HYPERCALL_MSRS) {
        pr_err!("the hypervisor offers no hypercalls to this partition\n");
        return Err(ENODEV);
    }
    Ok(hypervisor)
}

impl Partition {
    /// Discovers the hypervisor, finds the way to hypercalls and enables the SynIC where it can have interrupts.
    fn new() -> Result<Self> {
        let hypervisor = check()?;
        let hypercalls = Hypercalls::new()?;
        let deprecated = hypervisor
            .recommendations
            .contains(Recommendations::DEPRECATING_AEOI);
        let synic = Synic::new(!deprecated)?;
        let interrupts =
            hypercalls.through_kernel() && hypervisor.privileges.contains(Privileges::SYNIC_MSRS);
        let enabled = interrupts
            .then(|| Enabled::new(synic.clone()))
            .transpose()?;
        if enabled.is_none() {
            pr_warn!("this kernel has no interrupt vector for Hyper-V, so there are hypercalls but no VMBus\n");
        }
        Ok(Self {
            enabled,
            synic,
            hypercalls,
            hypervisor,
            debugfs: Dir::new(c"viridian"),
        })
    }

    /// What CPUID said.
    #[must_use]
    pub fn hypervisor(&self) -> &Hypervisor {
        &self.hypervisor
    }

    /// The way to make hypercalls.
    #[must_use]
    pub fn hypercalls(&self) -> &Hypercalls {
        &self.hypercalls
    }

    /// The SynIC.
    #[must_use]
    pub fn synic(&self) -> &Synic {
        &self.synic
    }

    /// The folder `viridian` in debugfs.
    #[must_use]
    pub fn debugfs(&self) -> &Dir {
        &self.debugfs
    }

    /// Whether the SynIC's interrupts arrive.
    #[must_use]
    pub fn has_interrupts(&self) -> bool {
        self.enabled.is_some()
    }
}

/// Owns the [`Partition`] and publishes it, for as long as hv_core is loaded.
pub struct Registration(KBox<Partition>);

impl Registration {
    /// Sets the partition up. Process context.
    ///
    /// # Errors
    ///
    /// `ENODEV`, `EBUSY`, `EOPNOTSUPP` as said by a line in the log; `EIO` if the hypervisor refuses; `ENOMEM`.
    pub fn new() -> Result<Self> {
        let registration = Self(KBox::new(Partition::new()?, GFP_KERNEL)?);
        PARTITION.store((&raw const *registration.0).cast_mut(), Ordering::Release);
        Ok(registration)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        PARTITION.store(core::ptr::null_mut(), Ordering::Release);
    }
}
