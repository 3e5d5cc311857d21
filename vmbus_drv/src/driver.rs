// SPDX-License-Identifier: GPL-2.0

//! Drivers of the bus.
//!
//! ```ignore
//! vmbus::vmbus_device_table!(TABLE, (), [(class::DM.id, ())]);
//!
//! impl vmbus::Driver for Balloon {
//!     type IdInfo = ();
//!     type Data<'bound> = Self;
//!     const NAME: &'static CStr = c"hv_balloon";
//!     const ID_TABLE: vmbus::IdTable<()> = &TABLE;
//!
//!     fn probe<'bound>(
//!         device: &'bound vmbus::Device<Core<'_>>,
//!         _info: Option<&'bound ()>,
//!     ) -> impl PinInit<Self, Error> + 'bound {
//!         ...
//!     }
//! }
//!
//! vmbus::module_vmbus_driver! { type: Balloon, name: "viridian_balloon", ... }
//! ```

use crate::bus;
use crate::device::Device;
use crate::sysfs::{attribute, group, written, AttributeList, Constant, Groups, WRITE_ONLY};
use core::marker::PhantomData;
use core::mem::{offset_of, size_of};
use hvdef::Guid;
use kernel::device::CoreInternal;
use kernel::error::{from_result, to_result};
use kernel::prelude::*;
use kernel::sync::{new_mutex, Mutex};
use kernel::types::Opaque;
use kernel::{bindings, device, driver, ffi};

/// A class of devices that a driver is for (`struct hv_vmbus_device_id`, which file2alias reads).
#[repr(C)]
pub struct DeviceId<T: 'static> {
    /// The class.
    class: Guid,
    /// What the driver wants to know of it; `None` closes a table.
    info: Option<&'static T>,
}

const _: () = assert!(size_of::<DeviceId<()>>() == 24 && offset_of!(DeviceId<()>, info) == 16);

impl<T> DeviceId<T> {
    /// The end of a table.
    #[doc(hidden)]
    pub const END: Self = Self {
        class: Guid::ZERO,
        info: None,
    };

    /// The entry of a class.
    #[must_use]
    pub const fn new(class: Guid, info: &'static T) -> Self {
        Self {
            class,
            info: Some(info),
        }
    }
}

/// The classes that a driver is for, closed by [`DeviceId::END`]. See [`vmbus_device_table!`](crate::vmbus_device_table).
pub type IdTable<T> = &'static [DeviceId<T>];

/// A driver of VMBus devices.
pub trait Driver {
    /// What the driver wants to know of each class.
    type IdInfo: 'static;

    /// The driver's data of a device, dropped after [`Self::unbind`].
    type Data<'bound>: Send + 'bound;

    /// The driver's name in sysfs.
    const NAME: &'static CStr;

    /// The classes that the driver is for.
    const ID_TABLE: IdTable<Self::IdInfo>;

    /// Whether each device is bound by a task of its own, so that slow ones do not wait for each other; the order is
    /// then that of chance.
    const PROBE_ASYNCHRONOUSLY: bool = false;

    /// Binds a device. Process context. `info` is there unless the device was given to the driver through `new_id` or
    /// `driver_override`.
    fn probe<'bound>(
        device: &'bound Device<device::Core<'_>>,
        info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound;

    /// Stops what runs on the device, which may be gone already. Process context.
    fn unbind<'bound>(device: &'bound Device<device::Core<'_>>, data: Pin<&Self::Data<'bound>>) {
        let _ = (device, data);
    }

    /// Quiets the device before the machine halts, reboots or starts another kernel. Process context.
    fn shutdown<'bound>(device: &'bound Device<device::Core<'_>>, data: Pin<&Self::Data<'bound>>) {
        let _ = (device, data);
    }
}

/// The entry of a class in a table.
fn find<T>(table: IdTable<T>, class: &Guid) -> Option<&'static DeviceId<T>> {
    table
        .iter()
        .find(|id| id.class == *class && id.info.is_some())
}

/// What a driver does, without its type.
struct Operations {
    /// Whether the driver's own table has a class.
    matches: fn(&Guid) -> bool,
    /// Binds a device.
    probe: fn(&Device<CoreInternal<'_>>) -> Result,
    /// Unbinds a device that was bound.
    remove: unsafe fn(&Device<CoreInternal<'_>>),
    /// Quiets a device that is bound.
    shutdown: unsafe fn(&Device<CoreInternal<'_>>),
}

/// What the bus knows of a registered driver.
#[pin_data]
struct Registered {
    /// What it does.
    operations: &'static Operations,
    /// The classes that were added through `new_id`.
    #[pin]
    dynamic_ids: Mutex<KVec<Guid>>,
}

/// A driver as the driver core knows it (`struct hv_driver`).
#[repr(C)]
#[derive(Default)]
pub struct RawDriver {
    /// The driver core's part.
    driver: bindings::device_driver,
    /// Set while the driver is registered.
    registered: Option<Pin<KBox<Registered>>>,
}

impl RawDriver {
    /// Registers the driver, and binds the devices that it is for.
    ///
    /// # Safety
    ///
    /// `this` stays valid and in its place until [`Self::unregister`], and nobody else uses it.
    ///
    /// # Errors
    ///
    /// `EBUSY` if there is a driver of this name, `ENOMEM`.
    unsafe fn register(
        this: *mut Self,
        name: &'static CStr,
        module_name: &'static CStr,
        module: &'static ThisModule,
        asynchronous: bool,
        operations: &'static Operations,
    ) -> Result {
        let registered = KBox::pin_init(
            pin_init!(Registered { operations, dynamic_ids <- new_mutex!(KVec::new()) }),
            GFP_KERNEL,
        )?;
        // SAFETY: By the condition of this function, and until the driver is registered nobody else sees it.
        let result = unsafe {
            (*this).registered = Some(registered);
            let driver = &raw mut (*this).driver;
            (*driver).name = name.as_char_ptr();
            (*driver).bus = bus::as_ptr();
            (*driver).owner = module.as_ptr();
            (*driver).mod_name = module_name.as_char_ptr();
            if asynchronous {
                (*driver).probe_type = bindings::probe_type_PROBE_PREFER_ASYNCHRONOUS;
            }
            to_result(bindings::driver_register(driver))
        };
        if result.is_err() {
            // SAFETY: The driver is not registered.
            unsafe { (*this).registered = None };
        }
        result
    }

    /// Unbinds all devices and unregisters the driver.
    ///
    /// # Safety
    ///
    /// The driver was registered.
    unsafe fn unregister(this: *mut Self) {
        // SAFETY: By the condition of this function; afterwards nobody sees the driver any more.
        unsafe {
            bindings::driver_unregister(&raw mut (*this).driver);
            (*this).registered = None;
        }
    }

    /// What the bus knows of a driver.
    ///
    /// # Safety
    ///
    /// `driver` is registered with our bus for all of `'a`.
    unsafe fn of<'a>(driver: *const bindings::device_driver) -> Result<&'a Registered> {
        // SAFETY: By the condition of this function the driver is part of a `RawDriver`, which does not change.
        let this = unsafe { &*kernel::container_of!(driver.cast_mut(), Self, driver) };
        this.registered.as_deref().ok_or(ENODEV)
    }
}

/// Whether a driver is for a class, by its own table or by `new_id`.
///
/// # Safety
///
/// `driver` is registered with our bus.
pub(crate) unsafe fn matches(driver: *const bindings::device_driver, class: &Guid) -> bool {
    // SAFETY: By the condition of this function.
    unsafe { RawDriver::of(driver) }.is_ok_and(|registered| {
        (registered.operations.matches)(class) || registered.dynamic_ids.lock().contains(class)
    })
}

/// Binds a device to the driver that the driver core chose.
///
/// # Safety
///
/// The driver core is in the bus's `probe` of `device`.
pub(crate) unsafe fn probe(device: *mut bindings::device) -> Result {
    // SAFETY: By the condition of this function the device has a driver, and both stay.
    unsafe { (RawDriver::of((*device).driver)?.operations.probe)(Device::from_raw(device)) }
}

/// Unbinds a device.
///
/// # Safety
///
/// The driver core is in the bus's `remove` of `device`.
pub(crate) unsafe fn remove(device: *mut bindings::device) {
    // SAFETY: As for `probe`; the driver core removes only what it probed with success.
    unsafe {
        if let Ok(registered) = RawDriver::of((*device).driver) {
            (registered.operations.remove)(Device::from_raw(device));
        }
    }
}

/// Quiets a device, if it is bound.
///
/// # Safety
///
/// The driver core is in the bus's `shutdown` of `device`.
pub(crate) unsafe fn shutdown(device: *mut bindings::device) {
    // SAFETY: The driver core holds the device's lock, so that a device with a driver has been probed with success.
    unsafe {
        if (*device).driver.is_null() {
            return;
        }
        if let Ok(registered) = RawDriver::of((*device).driver) {
            (registered.operations.shutdown)(Device::from_raw(device));
        }
    }
}

/// Reads a GUID in text form; what follows it, such as the end of a line, is ignored.
fn parse(text: &[u8]) -> Result<Guid> {
    text.get(..36).and_then(Guid::from_ascii).ok_or(EINVAL)
}

/// `new_id`: adds a class to the driver, and binds the devices of the class.
///
/// # Errors
///
/// `EINVAL` if that is no GUID, `EEXIST` if it was added before, `ENOMEM`.
extern "C" fn new_id(
    driver: *mut bindings::device_driver,
    text: *const ffi::c_char,
    size: usize,
) -> isize {
    from_result(|| {
        // SAFETY: The attribute is one of the drivers of our bus, and sysfs removes it before the driver goes. The
        // text is what sysfs passed.
        let (registered, text) = unsafe { (RawDriver::of(driver)?, written(text, size)) };
        let class = parse(text)?;
        let mut ids = registered.dynamic_ids.lock();
        if ids.contains(&class) {
            return Err(EEXIST);
        }
        ids.push(class, GFP_KERNEL)?;
        drop(ids);
        // SAFETY: The driver is registered.
        to_result(unsafe { bindings::driver_attach(driver) })?;
        // CAST: At most a page.
        Ok(size as isize)
    })
}

/// `remove_id`: takes away a class that was added. Devices stay bound.
///
/// # Errors
///
/// `EINVAL` if that is no GUID, `ENODEV` if it was not added.
extern "C" fn remove_id(
    driver: *mut bindings::device_driver,
    text: *const ffi::c_char,
    size: usize,
) -> isize {
    from_result(|| {
        // SAFETY: As for `new_id`.
        let (registered, text) = unsafe { (RawDriver::of(driver)?, written(text, size)) };
        let class = parse(text)?;
        let mut ids = registered.dynamic_ids.lock();
        let index = ids.iter().position(|id| *id == class).ok_or(ENODEV)?;
        ids.remove(index).map_err(|_| ENODEV)?;
        // CAST: At most a page.
        Ok(size as isize)
    })
}

/// The attributes of a driver, in `/sys/bus/vmbus/drivers/<name>`.
static ATTRIBUTES: [Constant<bindings::driver_attribute>; 2] = [
    Constant(bindings::driver_attribute {
        attr: attribute(c"new_id", WRITE_ONLY),
        show: None,
        store: Some(new_id),
    }),
    Constant(bindings::driver_attribute {
        attr: attribute(c"remove_id", WRITE_ONLY),
        show: None,
        store: Some(remove_id),
    }),
];

/// The attributes as the kernel wants them.
static LIST: AttributeList<2> = AttributeList::of(&ATTRIBUTES);
/// The group of them all.
static GROUP: Constant<bindings::attribute_group> = group(&LIST, None);
/// What every driver of the bus has; the driver core adds `bind`, `unbind` and `uevent`.
pub(crate) static GROUPS: Groups = Groups::of_group(&GROUP);

/// Connects a driver of type `T` with the driver core; see [`driver::Registration`].
pub struct Adapter<T: Driver>(PhantomData<T>);

impl<T: Driver> Adapter<T> {
    /// What the driver does.
    const OPERATIONS: &'static Operations = &Operations {
        matches: |class| find(T::ID_TABLE, class).is_some(),
        probe: Self::probe,
        remove: Self::remove,
        shutdown: Self::shutdown,
    };

    /// See [`Operations::probe`].
    fn probe(device: &Device<CoreInternal<'_>>) -> Result {
        let info = find(T::ID_TABLE, &device.channel().offer().class).and_then(|id| id.info);
        let data = T::probe(device, info);
        device.as_ref().set_drvdata(data)
    }

    /// See [`Operations::remove`].
    ///
    /// # Safety
    ///
    /// The device is bound to this driver.
    unsafe fn remove(device: &Device<CoreInternal<'_>>) {
        // SAFETY: The device is bound, so that `probe` has set the data, of this type.
        let data = unsafe { device.as_ref().drvdata_borrow::<T::Data<'_>>() };
        T::unbind(device, data);
    }

    /// See [`Operations::shutdown`].
    ///
    /// # Safety
    ///
    /// The device is bound to this driver.
    unsafe fn shutdown(device: &Device<CoreInternal<'_>>) {
        // SAFETY: As for `remove`.
        let data = unsafe { device.as_ref().drvdata_borrow::<T::Data<'_>>() };
        T::shutdown(device, data);
    }
}

// SAFETY: `RawDriver` is `repr(C)` with a `struct device_driver` at this offset, and `probe` sets data of this type.
unsafe impl<T: Driver> driver::DriverLayout for Adapter<T> {
    type DriverType = RawDriver;
    type DriverData<'bound> = T::Data<'bound>;
    const DEVICE_DRIVER_OFFSET: usize = offset_of!(RawDriver, driver);
}

// SAFETY: `unregister` is valid after `register` was successful.
unsafe impl<T: Driver> driver::RegistrationOps for Adapter<T> {
    unsafe fn register(
        raw: &Opaque<RawDriver>,
        name: &'static CStr,
        module: &'static ThisModule,
    ) -> Result {
        // SAFETY: The caller keeps `raw` in its place until `unregister`.
        unsafe {
            RawDriver::register(
                raw.get(),
                T::NAME,
                name,
                module,
                T::PROBE_ASYNCHRONOUSLY,
                Self::OPERATIONS,
            )
        }
    }

    unsafe fn unregister(raw: &Opaque<RawDriver>) {
        // SAFETY: The caller registered it.
        unsafe { RawDriver::unregister(raw.get()) };
    }
}

/// Makes the table of the classes that a driver is for, and from it the module's aliases.
///
/// The arguments are the table's name, [`Driver::IdInfo`], and pairs of class and information. The layout is that of
/// the C drivers, so that the kernel's `file2alias` understands it; unlike `kernel::module_device_table!` it is the same
/// for every kernel version.
#[macro_export]
macro_rules! vmbus_device_table {
    ($table:ident, $info_type:ty, [$(($class:expr, $info:expr $(,)?)),* $(,)?]) => {
        #[export_name = concat!(
            "__mod_device_table__", line!(), "__kmod_", module_path!(), "__vmbus__", stringify!($table)
        )]
        static $table: [$crate::DeviceId<$info_type>; <[$crate::Guid]>::len(&[$($class),*]) + 1] =
            [$($crate::DeviceId::new($class, &$info),)* $crate::DeviceId::END];
    };
}

/// Makes a module that has one driver. The arguments are those of `module!`, with the [`Driver`] as the type.
#[macro_export]
macro_rules! module_vmbus_driver {
    ($($arguments:tt)*) => {
        ::kernel::module_driver!(<T>, $crate::Adapter<T>, { $($arguments)* });
    };
}
