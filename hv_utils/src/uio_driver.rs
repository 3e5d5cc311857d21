// SPDX-License-Identifier: GPL-2.0

//! Devices that a program drives itself, through UIO (`linux/uio_driver.h`): it maps memory, waits for signals by reading
//! and sends them by writing.

use hv_core::IrqLock;
use kernel::device;
use kernel::error::{from_result, to_result};
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::{Arc, ArcBorrow};
use kernel::types::Opaque;
use kernel::{bindings, ffi};
use utils_bindings as raw;
use vmbus::SharedPages;

/// What the kernel does for such a program. All functions are called in process context, one at a time.
pub(crate) trait Operations: Send + Sync + Sized {
    /// The driver's name, which programs look for.
    const NAME: &'static CStr;
    /// The version of the driver.
    const VERSION: &'static CStr;

    /// A program opens the device; another one may have.
    ///
    /// # Errors
    ///
    /// What the program is to get.
    fn open(uio: ArcBorrow<'_, Uio<Self>>) -> Result;

    /// A program closes it.
    fn release(&self);

    /// A program wants signals, or none.
    ///
    /// # Errors
    ///
    /// What the program is to get.
    fn control(&self, wanted: bool) -> Result;
}

/// A device, as the kernel knows it.
#[pin_data]
#[repr(C)]
pub(crate) struct Uio<T> {
    /// The kernel's description.
    #[pin]
    info: Opaque<raw::uio_info>,
    /// Whether signals can be passed on.
    #[pin]
    registered: IrqLock<bool>,
    /// Map 0.
    pages: Arc<SharedPages>,
    /// The same, as those know it who map it.
    list: KVec<*mut bindings::page>,
    /// The rest of it.
    #[pin]
    operations: T,
}

// SAFETY: The description is used by the kernel alone after registration, but for one atomic field; the list is only read.
unsafe impl<T: Send> Send for Uio<T> {}
// SAFETY: As above.
unsafe impl<T: Sync> Sync for Uio<T> {}

impl<T: Operations> Uio<T> {
    /// Describes a device with one map of this name.
    pub(crate) fn new<'a>(
        map: &'static CStr,
        pages: Arc<SharedPages>,
        operations: impl PinInit<T, Error> + 'a,
    ) -> impl PinInit<Self, Error> + 'a
    where
        T: 'a,
    {
        // SAFETY: All zeroes is a valid description, without maps and functions.
        let mut info: raw::uio_info = unsafe { core::mem::zeroed() };
        info.name = T::NAME.as_char_ptr();
        info.version = T::VERSION.as_char_ptr();
        // CAST: Small constants, here and below.
        info.irq = raw::UIO_IRQ_CUSTOM as ffi::c_long;
        info.open = Some(Self::open_callback);
        info.release = Some(Self::release_callback);
        info.irqcontrol = Some(Self::control_callback);
        info.mmap_prepare = Some(Self::map_callback);
        // Who maps it needs no address; sysfs would show one of the kernel's to everybody.
        let [first, ..] = &mut info.mem;
        first.name = map.as_char_ptr();
        first.size = (pages.count() * hv_core::HV_PAGE_SIZE) as u64;
        try_pin_init!(Self {
            info: Opaque::new(info),
            registered <- hv_core::new_irq_lock!(false),
            list: list_of(&pages)?,
            pages,
            operations <- operations,
        }? Error)
    }

    /// What it does.
    pub(crate) fn operations(&self) -> &T {
        &self.operations
    }

    /// The memory of map 0.
    pub(crate) fn pages(&self) -> &Arc<SharedPages> {
        &self.pages
    }

    /// Wakes those who wait for a signal. Any context.
    pub(crate) fn notify(&self) {
        let registered = self.registered.lock();
        if *registered {
            // SAFETY: Under the lock, the device stays registered.
            unsafe { raw::uio_event_notify(self.info.get()) };
        }
    }

    /// Lets every read and write fail from now on, those that wait included. Any context.
    pub(crate) fn fail(&self) {
        // SAFETY: The field is aligned and lives as long as the description. The kernel only ever reads it, as a word.
        let irq = unsafe { Atomic::<ffi::c_long>::from_ptr(&raw mut (*self.info.get()).irq) };
        // CAST: A small constant.
        irq.store(raw::UIO_IRQ_NONE as ffi::c_long, Relaxed);
        self.notify();
    }

    /// The device that a description is part of.
    ///
    /// # Safety
    ///
    /// `info` is the description of a registered device of this type, and stays so for all of `'a`.
    unsafe fn of<'a>(info: *mut raw::uio_info) -> ArcBorrow<'a, Self> {
        // SAFETY: By the condition of this function, and only devices in an `Arc` are registered.
        unsafe { ArcBorrow::from_raw(kernel::container_of!(info.cast::<Opaque<_>>(), Self, info)) }
    }

    /// The kernel's `mmap_prepare`. All is mapped at once, so that no page fault comes here.
    extern "C" fn map_callback(
        info: *mut raw::uio_info,
        area: *mut bindings::vm_area_desc,
    ) -> ffi::c_int {
        // SAFETY: The kernel calls this for devices that are registered, and not while they are being removed.
        let uio = unsafe { Self::of(info) };
        // SAFETY: The kernel has seen to it that the area is no larger than map 0, which all of the list is of, and uses the
        // list before the device can be removed. The pages that it maps stay as long as they are mapped.
        unsafe { raw::rust_helper_utils_map_pages(area, uio.list.as_ptr().cast_mut()) };
        0
    }

    /// The kernel's `open`.
    extern "C" fn open_callback(
        info: *mut raw::uio_info,
        _inode: *mut bindings::inode,
    ) -> ffi::c_int {
        // SAFETY: As above.
        let uio = unsafe { Self::of(info) };
        from_result(|| T::open(uio).map(|()| 0))
    }

    /// The kernel's `release`.
    extern "C" fn release_callback(
        info: *mut raw::uio_info,
        _inode: *mut bindings::inode,
    ) -> ffi::c_int {
        // SAFETY: As above.
        let uio = unsafe { Self::of(info) };
        uio.operations.release();
        0
    }

    /// The kernel's `irqcontrol`.
    extern "C" fn control_callback(info: *mut raw::uio_info, wanted: i32) -> ffi::c_int {
        // SAFETY: As above.
        let uio = unsafe { Self::of(info) };
        from_result(|| uio.operations.control(wanted != 0).map(|()| 0))
    }
}

/// The kernel's descriptions of pages.
///
/// # Errors
///
/// `ENOMEM`.
fn list_of(pages: &SharedPages) -> Result<KVec<*mut bindings::page>> {
    let mut list = KVec::with_capacity(pages.count(), GFP_KERNEL)?;
    for index in 0..pages.count() {
        let address = pages.address() + index * hv_core::HV_PAGE_SIZE;
        let address = core::ptr::without_provenance::<ffi::c_void>(address);
        // SAFETY: The address is inside an allocation of `Vmalloc`, which has a page there.
        list.push(unsafe { bindings::vmalloc_to_page(address) }, GFP_KERNEL)?;
    }
    Ok(list)
}

/// A registered device. Dropping it, in process context, removes it: then no function of it is called any more, and reads and
/// writes fail. Pages that a program has mapped stay until it goes.
///
/// # Invariants
///
/// The device is registered.
pub(crate) struct Registered<T: Operations>(Arc<Uio<T>>);

impl<T: Operations> Registered<T> {
    /// Registers a device. Process context; a program may open it before this returns.
    ///
    /// # Errors
    ///
    /// `EPROBE_DEFER` if UIO is not ready, `ENOMEM`.
    pub(crate) fn new(parent: &device::Device, uio: Arc<Uio<T>>) -> Result<Self> {
        // SAFETY: A `Device` is a `struct device`. The description stays in its place until the device is removed.
        to_result(unsafe {
            raw::__uio_register_device(
                raw::rust_helper_utils_this_module(),
                core::ptr::from_ref(parent).cast_mut().cast(),
                uio.info.get(),
            )
        })?;
        *uio.registered.lock() = true;
        // Who opened the device meanwhile may have missed a signal.
        uio.notify();
        // INVARIANT: Just registered.
        Ok(Self(uio))
    }

    /// The device.
    pub(crate) fn uio(&self) -> &Arc<Uio<T>> {
        &self.0
    }
}

impl<T: Operations> Drop for Registered<T> {
    fn drop(&mut self) {
        *self.0.registered.lock() = false;
        // SAFETY: By the invariant.
        unsafe { raw::uio_unregister_device(self.0.info.get()) };
    }
}
