// SPDX-License-Identifier: GPL-2.0

//! The ends of the machine that user space has a part in (`linux/reboot.h`).

use utils_bindings as raw;

/// Runs the program for that (`kernel.poweroff_cmd`), and powers off if there is none. Any context, returns at once.
pub(crate) fn orderly_poweroff() {
    // SAFETY: No preconditions.
    unsafe { raw::orderly_poweroff(true) };
}

/// Runs the program for that, and restarts if there is none. Any context, returns at once.
pub(crate) fn orderly_reboot() {
    // SAFETY: No preconditions.
    unsafe { raw::orderly_reboot() };
}
