// SPDX-License-Identifier: GPL-2.0

//! Programs that the kernel starts (`linux/umh.h`).

use core::ptr;
use kernel::bindings;
use kernel::error::to_result;
use kernel::ffi;
use kernel::prelude::*;

/// Has the caller wait until the program runs, and not for its end (`UMH_WAIT_EXEC`).
const WAIT_EXEC: ffi::c_int = 1;

/// Has `/bin/sh` do a line, and does not wait for the end of that. Process context.
///
/// # Errors
///
/// Any, if there is no shell or can be no process.
pub(crate) fn run_shell(line: &'static CStr) -> Result {
    let text = |text: &'static CStr| text.as_char_ptr().cast_mut();
    let shell = text(c"/bin/sh");
    let mut arguments = [shell, text(c"-c"), text(line), ptr::null_mut()];
    let path = text(c"PATH=/sbin:/bin:/usr/sbin:/usr/bin");
    let mut variables = [text(c"HOME=/"), path, ptr::null_mut()];
    // SAFETY: Both lists are closed by a null pointer, nothing that they point to is written to, and all is read before
    // the program runs, for which this waits.
    to_result(unsafe {
        bindings::call_usermodehelper(
            shell,
            arguments.as_mut_ptr(),
            variables.as_mut_ptr(),
            WAIT_EXEC,
        )
    })
}
