// SPDX-License-Identifier: GPL-2.0

//! CPUs and their comings and goings, and calls on another CPU.

use crate::compat;
use core::marker::PhantomData;
use kernel::bindings;
use kernel::error::{from_result, to_result};
use kernel::prelude::*;

/// The number of a possible CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cpu(u32);

impl Cpu {
    /// The first CPU.
    pub const FIRST: Self = Self(0);

    /// The CPU that this runs on, which may change at once unless preemption is off.
    #[must_use]
    pub fn current() -> Self {
        // SAFETY: Reading the number has no preconditions.
        Self(unsafe { bindings::raw_smp_processor_id() })
    }

    /// How many CPU numbers there are.
    #[must_use]
    pub fn count() -> usize {
        // SAFETY: Set once at boot.
        unsafe { bindings::nr_cpu_ids as usize }
    }

    /// All CPU numbers.
    pub fn possible() -> impl Iterator<Item = Self> {
        (0..Self::count() as u32).map(Self)
    }

    /// CPU `number`, if there can be such a one.
    #[must_use]
    pub fn new(number: u32) -> Option<Self> {
        ((number as usize) < Self::count()).then_some(Self(number))
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }

    /// The number as an index.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }

    /// Whether the CPU is online at this moment; it may change unless hotplug is locked out.
    #[must_use]
    pub fn online(self) -> bool {
        // SAFETY: The number is that of a possible CPU.
        unsafe { hv_bindings::rust_helper_hv_cpu_online(self.0) }
    }

    /// The NUMA node of the CPU.
    #[must_use]
    pub fn node(self) -> i32 {
        // SAFETY: The number is that of a possible CPU.
        unsafe { hv_bindings::rust_helper_hv_cpu_to_node(self.0) }
    }

    /// Calls `function` on this CPU in hardirq context and waits for its end. Process context with interrupts on.
    ///
    /// # Errors
    ///
    /// `ENXIO` if the CPU is offline.
    pub fn call<F: FnMut() + Send>(self, mut function: F) -> Result {
        extern "C" fn trampoline<F: FnMut()>(function: *mut kernel::ffi::c_void) {
            // SAFETY: `call` below passes a pointer to an `F` and waits, so that it is valid and not aliased.
            unsafe { (*function.cast::<F>())() }
        }
        // SAFETY: `trampoline` gets the pointer that it expects; waiting keeps `function` alive meanwhile.
        to_result(unsafe {
            bindings::smp_call_function_single(
                self.0 as kernel::ffi::c_int,
                Some(trampoline::<F>),
                (&raw mut function).cast(),
                compat::WAIT,
            )
        })
    }
}

/// While this lives no CPU comes or goes. Process context; nests with other holders, excludes hotplug only.
pub struct HotplugLock(PhantomData<*mut ()>);

impl HotplugLock {
    /// Waits for hotplug operations under way, and locks out others.
    #[must_use]
    pub fn new() -> Self {
        // SAFETY: Process context is this function's own condition; `Drop` unlocks.
        unsafe { bindings::cpus_read_lock() };
        Self(PhantomData)
    }
}

impl Default for HotplugLock {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for HotplugLock {
    fn drop(&mut self) {
        // SAFETY: Locked by `new` in this context, since this is not `Send`.
        unsafe { bindings::cpus_read_unlock() };
    }
}

/// What to do on a CPU that comes or goes. Both run on that CPU, in process context.
pub trait Hotplug {
    /// The CPU came online, or was so when the state was set up.
    ///
    /// # Errors
    ///
    /// Any error keeps the CPU offline, or fails the set-up.
    fn online(cpu: Cpu) -> Result;

    /// The CPU goes offline, or the state is removed.
    ///
    /// # Errors
    ///
    /// Any error keeps the CPU online; where the state is being removed it changes nothing.
    fn offline(cpu: Cpu) -> Result;
}

/// A hotplug state, in force until dropped: dropping it calls [`Hotplug::offline`] on every online CPU.
pub struct HotplugState<T: Hotplug> {
    /// The dynamic state's number.
    state: bindings::cpuhp_state,
    /// Whose callbacks these are.
    _callbacks: PhantomData<T>,
}

impl<T: Hotplug> HotplugState<T> {
    /// Sets up the state: calls [`Hotplug::online`] on every online CPU. Process context.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if all dynamic states are taken, and whatever [`Hotplug::online`] returns.
    pub fn new(name: &'static CStr) -> Result<Self> {
        extern "C" fn startup<T: Hotplug>(cpu: kernel::ffi::c_uint) -> kernel::ffi::c_int {
            from_result(|| T::online(Cpu(cpu)).map(|()| 0))
        }
        extern "C" fn teardown<T: Hotplug>(cpu: kernel::ffi::c_uint) -> kernel::ffi::c_int {
            from_result(|| T::offline(Cpu(cpu)).map(|()| 0))
        }
        // SAFETY: The callbacks are functions of this module, which removes the state before it goes.
        let state = unsafe {
            bindings::__cpuhp_setup_state(
                bindings::cpuhp_state_CPUHP_AP_ONLINE_DYN,
                name.as_char_ptr(),
                true,
                Some(startup::<T>),
                Some(teardown::<T>),
                false,
            )
        };
        to_result(state.min(0))?;
        Ok(Self {
            state: state as bindings::cpuhp_state,
            _callbacks: PhantomData,
        })
    }
}

impl<T: Hotplug> Drop for HotplugState<T> {
    fn drop(&mut self) {
        // SAFETY: The state is the one that was set up.
        unsafe { bindings::__cpuhp_remove_state(self.state, true) };
    }
}
