// SPDX-License-Identifier: GPL-2.0

//! Every difference between the kernels that we build for. Delete a part when its last kernel is gone.

use kernel::bindings;
use kernel::error::Error;
use kernel::sync::barrier;

/// Defines functions for errnos that the kernel crate has no constants for. Until 7.3.
macro_rules! errnos {
    ($($(#[$doc:meta])* $name:ident $code:ident;)*) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $name() -> Error {
            // CAST: Errnos are below 4096.
            Error::from_errno(-(bindings::$code as i32))
        })*
    };
}

errnos! {
    /// `ENOBUFS`.
    enobufs ENOBUFS;
    /// `ENOTCONN`.
    enotconn ENOTCONN;
    /// `EOPNOTSUPP`.
    eopnotsupp EOPNOTSUPP;
    /// `EPROTO`.
    eproto EPROTO;
    /// `EPROTONOSUPPORT`.
    eprotonosupport EPROTONOSUPPORT;
    /// `ESTALE`.
    estale ESTALE;
}

/// A full memory barrier between CPUs. 7.3 gave the kernel crate's function an argument.
#[inline]
pub fn full_barrier() {
    #[cfg(before_7_3)]
    barrier::smp_mb();
    #[cfg(not(before_7_3))]
    barrier::smp_mb(barrier::Full);
}

/// A barrier between reads; 7.2 has only the full one.
#[inline]
pub(crate) fn read_barrier() {
    #[cfg(before_7_3)]
    barrier::smp_mb();
    #[cfg(not(before_7_3))]
    barrier::smp_mb(barrier::Read);
}

/// The argument of `smp_call_function_single` that waits for the end of the call; an integer before 7.3.
#[cfg(before_7_3)]
pub(crate) const WAIT: kernel::ffi::c_int = 1;
/// The argument of `smp_call_function_single` that waits for the end of the call; an integer before 7.3.
#[cfg(not(before_7_3))]
pub(crate) const WAIT: bool = true;
