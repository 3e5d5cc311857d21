// SPDX-License-Identifier: GPL-2.0

//! Events for udev (`linux/kobject.h`).

use core::ptr;
use kernel::prelude::*;
use kernel::{bindings, device};
use utils_bindings as raw;
use vmbus::Device;

/// Tells user space that a device has changed, with one more `KEY=value`. Process context. That nobody listens is no error.
pub(crate) fn change_event(device: &Device, variable: &'static CStr) {
    let device: &device::Device = device.as_ref();
    let mut variables = [variable.as_char_ptr().cast_mut(), ptr::null_mut()];
    // SAFETY: A `Device` is a `struct device`, which the reference keeps. The list is closed by a null pointer, and what it
    // points to is only read.
    unsafe {
        let device: *mut bindings::device = ptr::from_ref(device).cast_mut().cast();
        raw::kobject_uevent_env(
            &raw mut (*device).kobj,
            bindings::kobject_action_KOBJ_CHANGE,
            variables.as_mut_ptr(),
        );
    }
}
