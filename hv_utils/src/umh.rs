// SPDX-License-Identifier: GPL-2.0

//! Programs that the kernel starts (`linux/umh.h`).

use core::ptr;
use kernel::bindings;
use kernel::error::to_result;
use kernel::ffi;
use kernel::prelude::*;

/// Has the caller wait for the program's end (`UMH_WAIT_PROC`).
const WAIT_PROC: ffi::c_int = 2;

/// Memory that is not got by having file systems free some, which may be frozen (`GFP_NOFS`).
const NOFS: bindings::gfp_t = bindings::GFP_KERNEL & !(1 << bindings::___GFP_FS_BIT);

/// Has `/bin/sh` do a line, and waits for the end of that. Process context.
///
/// # Errors
///
/// `EIO` if the line does not end with status 0; any, if there is no shell or can be no process.
pub(crate) fn run_shell(line: &'static CStr) -> Result {
    let text = |text: &'static CStr| text.as_char_ptr().cast_mut();
    let shell = text(c"/bin/sh");
    let mut arguments = [shell, text(c"-c"), text(line), ptr::null_mut()];
    let path = text(c"PATH=/sbin:/bin:/usr/sbin:/usr/bin");
    let mut variables = [text(c"HOME=/"), path, ptr::null_mut()];
    // SAFETY: Both lists are closed by a null pointer, nothing that they point to is written to, and all lives until the
    // program has ended, for which this waits.
    let program = unsafe {
        bindings::call_usermodehelper_setup(
            shell,
            arguments.as_mut_ptr(),
            variables.as_mut_ptr(),
            NOFS,
            None,
            None,
            ptr::null_mut(),
        )
    };
    if program.is_null() {
        return Err(ENOMEM);
    }
    // SAFETY: Just set up, with what this function keeps, and given away.
    let status = unsafe { bindings::call_usermodehelper_exec(program, WAIT_PROC) };
    // What is positive is the status of the process, as `wait` has it.
    to_result(status).and(if status > 0 { Err(EIO) } else { Ok(()) })
}
