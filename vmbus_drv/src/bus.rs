// SPDX-License-Identifier: GPL-2.0

//! The bus `vmbus`.

use crate::device::Device;
use crate::driver;
use crate::sysfs::{
    attribute, group, AttributeList, Constant, Groups, Modalias, Page, DEVICE_GROUPS, READ_ONLY,
};
use core::ptr;
use hvdef::Guid;
use kernel::error::{from_result, to_result};
use kernel::prelude::*;
use kernel::str::{as_char_ptr_in_const_context, CString};
use kernel::sync::atomic::{Acquire, Atomic, Relaxed, Release};
use kernel::time::delay::fsleep;
use kernel::time::Delta;
use kernel::{bindings, ffi};
use vmbus_proto::OfferFlags;

/// The bus as the driver core knows it.
///
/// There is no `dma_configure`, as x86 has nothing to configure, and no `pm`.
static BUS: Constant<bindings::bus_type> = {
    // SAFETY: All zeroes is a valid `bus_type`.
    let mut bus: bindings::bus_type = unsafe { core::mem::zeroed() };
    bus.name = as_char_ptr_in_const_context(c"vmbus");
    bus.bus_groups = GROUPS.as_ptr();
    bus.dev_groups = DEVICE_GROUPS.as_ptr();
    bus.drv_groups = driver::GROUPS.as_ptr();
    bus.match_ = Some(match_callback);
    bus.uevent = Some(uevent_callback);
    bus.probe = Some(probe_callback);
    bus.remove = Some(remove_callback);
    bus.shutdown = Some(shutdown_callback);
    bus.driver_override = true;
    Constant(bus)
};

/// The bus, for `struct device` and `struct device_driver`.
pub(crate) fn as_ptr() -> *const bindings::bus_type {
    &raw const BUS.0
}

/// Whether a driver is for a device.
extern "C" fn match_callback(
    device: *mut bindings::device,
    driver: *const bindings::device_driver,
) -> ffi::c_int {
    // SAFETY: The driver core passes a device and a driver of this bus.
    let (device, overridden) = unsafe {
        let overridden =
            hv_bindings::rust_helper_hv_match_driver_override(device.cast(), driver.cast());
        (Device::from_raw(device), overridden)
    };
    let device: &Device = device;
    let offer = device.channel().offer();
    // Sockets belong to one driver, which does not exist yet; their class is the port and means nothing to others.
    if offer.flags.contains(OfferFlags::TLNPI_PROVIDER_OFFER) {
        return 0;
    }
    match overridden {
        // SAFETY: The driver is one of this bus.
        ..0 => unsafe { driver::matches(driver, &offer.class) }.into(),
        0 => 0,
        _ => 1,
    }
}

/// Adds to a device's uevent what udev needs to find the driver's module.
extern "C" fn uevent_callback(
    device: *const bindings::device,
    environment: *mut bindings::kobj_uevent_env,
) -> ffi::c_int {
    from_result(|| {
        // SAFETY: The driver core passes a device of this bus.
        let device: &Device = unsafe { Device::from_raw(device) };
        let alias = CString::try_from_fmt(format_args!("{}", Modalias(device.channel().offer())))?;
        // SAFETY: The environment is the driver core's, and the arguments match the format.
        to_result(unsafe {
            bindings::add_uevent_var(
                environment,
                c"MODALIAS=%s".as_char_ptr(),
                alias.as_char_ptr(),
            )
        })?;
        Ok(0)
    })
}

/// Binds a device.
extern "C" fn probe_callback(device: *mut bindings::device) -> ffi::c_int {
    // SAFETY: This is the bus's `probe`.
    from_result(|| unsafe { driver::probe(device) }.map(|()| 0))
}

/// Unbinds a device.
extern "C" fn remove_callback(device: *mut bindings::device) {
    // SAFETY: This is the bus's `remove`.
    unsafe { driver::remove(device) };
}

/// Quiets a device.
extern "C" fn shutdown_callback(device: *mut bindings::device) {
    // SAFETY: This is the bus's `shutdown`.
    unsafe { driver::shutdown(device) };
}

/// `hibernation`: whether the guest may hibernate.
extern "C" fn hibernation(_bus: *const bindings::bus_type, buffer: *mut ffi::c_char) -> isize {
    from_result(|| {
        // SAFETY: The buffer is what sysfs passed.
        let mut page = unsafe { Page::new(buffer) };
        page.line(u8::from(crate::mshyperv::RESUMES))?;
        Ok(page.shown())
    })
}

/// The attributes of the bus, in `/sys/bus/vmbus`.
static ATTRIBUTES: [Constant<bindings::bus_attribute>; 1] = [Constant(bindings::bus_attribute {
    attr: attribute(c"hibernation", READ_ONLY),
    show: Some(hibernation),
    store: None,
})];

/// The attributes as the kernel wants them.
static LIST: AttributeList<1> = AttributeList::of(&ATTRIBUTES);
/// The group of them all.
static GROUP: Constant<bindings::attribute_group> = group(&LIST, None);
/// What the bus has.
static GROUPS: Groups = Groups::of_group(&GROUP);

/// How many devices there are in memory.
static DEVICES: Atomic<u32> = Atomic::new(0);

/// What each device holds: the module stays loaded while there is one, whoever refers to it, since what frees the
/// device is code of the module.
pub(crate) struct Occupant(());

impl Occupant {
    /// One more device.
    pub(crate) fn new() -> Self {
        DEVICES.fetch_add(1, Relaxed);
        Self(())
    }
}

impl Drop for Occupant {
    fn drop(&mut self) {
        DEVICES.fetch_sub(1, Release);
    }
}

/// The bus, registered as long as this lives.
///
/// Drivers and devices can be registered only meanwhile. Dropping it waits until there are no devices in memory, and
/// so it must go after everything that refers to one. Drivers are in modules that need this one.
pub(crate) struct Bus(());

impl Bus {
    /// Registers the bus. Process context.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the VMBus built into the kernel is active, `EEXIST` if there is another bus of this name, `ENOMEM`.
    pub(crate) fn register() -> Result<Self> {
        // SAFETY: The question has no preconditions. It spares the kernel a complaint with a stack trace.
        if unsafe { hv_bindings::rust_helper_hv_builtin_vmbus() } {
            return Err(EBUSY);
        }
        // SAFETY: The bus is constant and complete.
        to_result(unsafe { bindings::bus_register(as_ptr()) })?;
        Ok(Self(()))
    }

    /// Whether a registered driver is for devices of a class. Process context.
    #[must_use]
    pub(crate) fn has_driver_for(&self, class: &Guid) -> bool {
        extern "C" fn matches(
            driver: *mut bindings::device_driver,
            class: *mut ffi::c_void,
        ) -> ffi::c_int {
            // SAFETY: The driver core passes a driver of this bus and what it was given below.
            unsafe { driver::matches(driver, &*class.cast::<Guid>()) }.into()
        }
        let class = ptr::from_ref(class).cast_mut().cast();
        // SAFETY: The bus is registered, and `matches` takes a pointer to a GUID, which it only reads.
        unsafe { bindings::bus_for_each_drv(as_ptr(), ptr::null_mut(), class, Some(matches)) > 0 }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        // Devices go when the last of those who looked at them goes, which takes no time worth a wait queue.
        while DEVICES.load(Acquire) > 0 {
            fsleep(Delta::from_millis(1));
        }
        // SAFETY: The bus is registered, since this exists, and has neither devices nor drivers.
        unsafe { bindings::bus_unregister(as_ptr()) };
    }
}
