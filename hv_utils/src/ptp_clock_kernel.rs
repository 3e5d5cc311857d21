// SPDX-License-Identifier: GPL-2.0

//! Clocks for user space as PTP devices (`linux/ptp_clock_kernel.h`), which can be read and nothing else.

use crate::timekeeping::timespec;
use core::ptr::{self, NonNull};
use hv_core::compat::eopnotsupp;
use kernel::error::{from_err_ptr, from_result};
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::types::Opaque;
use kernel::{bindings, ffi};
use utils_bindings as raw;

/// A clock.
pub(crate) trait Clock: Send + Sync {
    /// What it shows, in nanoseconds since 1970. Process context.
    ///
    /// # Errors
    ///
    /// What user space is to get.
    fn nanoseconds(&self) -> Result<u64>;
}

/// A description, and the clock that it describes.
#[repr(C)]
struct Described<T> {
    /// The description.
    info: Opaque<raw::ptp_clock_info>,
    /// The clock.
    clock: Arc<T>,
}

/// A registered PTP clock. Dropping it, in process context, removes it; open files of it get `ENODEV`.
///
/// # Invariants
///
/// `registered` was made with the description at `described`, a box that this owns.
pub(crate) struct PtpClock<T: Clock> {
    /// The kernel's part.
    registered: NonNull<raw::ptp_clock>,
    /// Ours.
    described: NonNull<Described<T>>,
}

// SAFETY: A PTP clock may be removed by any thread, and what it shows is `Send` and `Sync`.
unsafe impl<T: Clock> Send for PtpClock<T> {}
// SAFETY: As above; there is nothing to do with a reference.
unsafe impl<T: Clock> Sync for PtpClock<T> {}

impl<T: Clock> PtpClock<T> {
    /// Registers a clock. Process context.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the kernel has no PTP clocks, `ENOMEM`.
    pub(crate) fn new(name: &'static CStr, clock: Arc<T>) -> Result<Self> {
        // SAFETY: All zeroes is a valid description, of a clock that can do nothing.
        let mut info: raw::ptp_clock_info = unsafe { core::mem::zeroed() };
        // SAFETY: No preconditions.
        info.owner = unsafe { raw::rust_helper_utils_this_module() };
        // One byte is left for the end.
        let room = info.name.len().saturating_sub(1);
        for (to, from) in info.name.iter_mut().take(room).zip(name.to_bytes()) {
            *to = *from;
        }
        info.gettime64 = Some(Self::gettime64);
        info.settime64 = Some(Self::settime64);
        info.adjtime = Some(Self::adjtime);
        info.adjfine = Some(Self::adjfine);
        info.enable = Some(Self::enable);
        let described = KBox::new(
            Described {
                info: Opaque::new(info),
                clock,
            },
            GFP_KERNEL,
        )?;
        let described = NonNull::from(KBox::leak(described));
        // SAFETY: The description stays until the clock is removed. There is no parent, as with the stock driver.
        let registered = from_err_ptr(unsafe {
            raw::ptp_clock_register((*described.as_ptr()).info.get(), ptr::null_mut())
        });
        match registered.and_then(|clock| NonNull::new(clock).ok_or(ENODEV)) {
            // INVARIANT: Just registered with that.
            Ok(registered) => Ok(Self {
                registered,
                described,
            }),
            Err(error) => {
                // SAFETY: The box from above, which nobody else knows.
                drop(unsafe { KBox::from_raw(described.as_ptr()) });
                Err(error)
            }
        }
    }

    /// Reads the clock.
    extern "C" fn gettime64(
        info: *mut raw::ptp_clock_info,
        time: *mut bindings::timespec64,
    ) -> ffi::c_int {
        from_result(|| {
            // SAFETY: The kernel calls this with the description of a registered clock of this type only.
            let described =
                unsafe { &*kernel::container_of!(info.cast::<Opaque<_>>(), Described<T>, info) };
            let shown = timespec(described.clock.nanoseconds()?);
            // SAFETY: The kernel passes where the time is to be written.
            unsafe { time.write(shown) };
            Ok(0)
        })
    }

    /// Refuses to set the clock: it is the host's.
    extern "C" fn settime64(
        _info: *mut raw::ptp_clock_info,
        _time: *const bindings::timespec64,
    ) -> ffi::c_int {
        eopnotsupp().to_errno()
    }

    /// Refuses to move the clock.
    extern "C" fn adjtime(_info: *mut raw::ptp_clock_info, _delta: i64) -> ffi::c_int {
        eopnotsupp().to_errno()
    }

    /// Refuses to change its frequency.
    extern "C" fn adjfine(_info: *mut raw::ptp_clock_info, _scaled_ppm: ffi::c_long) -> ffi::c_int {
        eopnotsupp().to_errno()
    }

    /// Refuses time stamps and pulses: there are none.
    extern "C" fn enable(
        _info: *mut raw::ptp_clock_info,
        _request: *mut raw::ptp_clock_request,
        _on: ffi::c_int,
    ) -> ffi::c_int {
        eopnotsupp().to_errno()
    }
}

impl<T: Clock> Drop for PtpClock<T> {
    fn drop(&mut self) {
        // SAFETY: By the invariant; nobody reads the clock any more once it is removed, so that the box can go.
        unsafe {
            raw::ptp_clock_unregister(self.registered.as_ptr());
            drop(KBox::from_raw(self.described.as_ptr()));
        }
    }
}
