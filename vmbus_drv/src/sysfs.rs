// SPDX-License-Identifier: GPL-2.0

//! sysfs attributes as tables: a name, a function that shows the value, perhaps one that stores it.
//!
//! Names, modes, order and formats are those of the kernel's stable ABI (`Documentation/ABI/stable/sysfs-bus-vmbus`,
//! `drivers/hv/vmbus_drv.c`), since lsvmbus, udev rules and the agents of clouds parse them.

mod channel;
mod device;

use crate::channel::Channel;
use crate::device::Device;
use crate::kobject::ChannelFolder;
use core::fmt;
use core::marker::PhantomData;
use core::mem::{self, offset_of};
use core::ptr;
use kernel::error::from_result;
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::str::as_char_ptr_in_const_context;
use kernel::{bindings, ffi};

pub(crate) use self::channel::{GROUPS as CHANNEL_GROUPS, RING_GROUP};
pub(crate) use self::device::{Modalias, GROUPS as DEVICE_GROUPS};

/// Anyone may read it.
pub(crate) const READ_ONLY: bindings::umode_t = 0o444;
/// Anyone may read it, root may write it.
pub(crate) const READ_WRITE: bindings::umode_t = 0o644;
/// Root may do what can be done.
const ROOT_ONLY: bindings::umode_t = 0o600;
/// Root may write it.
pub(crate) const WRITE_ONLY: bindings::umode_t = 0o200;

/// A structure of the kernel that holds pointers to constants, in a static of ours.
#[repr(transparent)]
pub(crate) struct Constant<T>(pub(crate) T);

// SAFETY: The statics of this type are never written, and what they point to is constant or code.
unsafe impl<T> Sync for Constant<T> {}

/// The page that becomes what a reader of an attribute gets. What does not fit is cut off.
pub(crate) struct Page<'a> {
    /// What is left of it.
    free: &'a mut [u8],
}

impl Page<'_> {
    /// Wraps the buffer of a `show` callback, all but the byte for a closing NUL.
    ///
    /// # Safety
    ///
    /// `buffer` is what sysfs passed to that callback: a zeroed page that nobody else uses until it returns.
    pub(crate) unsafe fn new(buffer: *mut ffi::c_char) -> Self {
        // SAFETY: By the condition of this function.
        let free = unsafe { core::slice::from_raw_parts_mut(buffer.cast::<u8>(), PAGE_SIZE - 1) };
        Self { free }
    }

    /// Adds a line. Never fails, and returns a result for the convenience of `show` functions.
    ///
    /// # Errors
    ///
    /// None.
    pub(crate) fn line(&mut self, text: impl fmt::Display) -> Result {
        Ok(fmt::Write::write_fmt(self, format_args!("{text}\n"))?)
    }

    /// The result of a `show` callback: how many bytes there are.
    pub(crate) fn shown(&self) -> isize {
        // CAST: At most a page.
        (PAGE_SIZE - 1).saturating_sub(self.free.len()) as isize
    }
}

impl fmt::Write for Page<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fits = text.len().min(self.free.len());
        let (written, free) = mem::take(&mut self.free).split_at_mut(fits);
        written
            .iter_mut()
            .zip(text.bytes())
            .for_each(|(to, from)| *to = from);
        self.free = free;
        Ok(())
    }
}

/// One attribute of a `T`, of which the kernel knows the part `R`.
#[repr(C)]
pub(crate) struct Attribute<R, T: 'static> {
    /// `struct attribute` or what starts with one. First, so that a pointer to it is one to the whole.
    raw: R,
    /// Writes the value.
    show: fn(&T, &mut Page<'_>) -> Result,
    /// Takes a new value.
    store: Option<fn(&T, &[u8]) -> Result>,
    /// Whether it is for channels with a monitor only.
    monitored: bool,
}

/// An attribute of a device.
pub(crate) type DeviceAttribute = Attribute<bindings::device_attribute, Device>;
/// An attribute of one channel of a device.
pub(crate) type ChannelAttribute = Attribute<bindings::attribute, Channel>;

// SAFETY: An attribute is constant, and points to constant strings and code.
unsafe impl<R, T> Sync for Attribute<R, T> {}

impl<R, T> Attribute<R, T> {
    /// The same attribute, hidden where the channel has no monitor.
    const fn monitored(mut self) -> Self {
        self.monitored = true;
        self
    }

    /// The attribute that the kernel calls `raw`.
    ///
    /// # Safety
    ///
    /// `raw` points to an `Attribute<R, T>` in a static.
    unsafe fn of(raw: *const bindings::attribute) -> &'static Self {
        const { assert!(offset_of!(Self, raw) == 0) };
        // SAFETY: By the condition of this function.
        unsafe { &*raw.cast() }
    }

    /// What a `show` callback does.
    ///
    /// # Safety
    ///
    /// As for [`Page::new`].
    unsafe fn read(&self, subject: &T, buffer: *mut ffi::c_char) -> isize {
        // SAFETY: By the condition of this function.
        let mut page = unsafe { Page::new(buffer) };
        from_result(|| (self.show)(subject, &mut page).map(|()| page.shown()))
    }

    /// What a `store` callback does.
    ///
    /// # Safety
    ///
    /// As for [`written`].
    unsafe fn write(&self, subject: &T, buffer: *const ffi::c_char, size: usize) -> isize {
        // SAFETY: By the condition of this function.
        let text = unsafe { written(buffer, size) };
        from_result(|| {
            self.store.ok_or(EIO)?(subject, text)?;
            // CAST: At most a page.
            Ok(size as isize)
        })
    }

    /// The mode in the folder of a thing with or without monitor: 0 hides the attribute.
    fn mode(&self, raw: &bindings::attribute, has_monitor: bool) -> bindings::umode_t {
        if self.monitored && !has_monitor {
            0
        } else {
            raw.mode
        }
    }
}

/// What was written to an attribute.
///
/// # Safety
///
/// `buffer` and `size` are what sysfs passed to a `store` callback that has not returned.
pub(crate) unsafe fn written<'a>(buffer: *const ffi::c_char, size: usize) -> &'a [u8] {
    // SAFETY: By the condition of this function.
    unsafe { core::slice::from_raw_parts(buffer.cast::<u8>(), size) }
}

/// The kernel's part of an attribute.
pub(crate) const fn attribute(name: &'static CStr, mode: bindings::umode_t) -> bindings::attribute {
    // SAFETY: All zeroes is a valid `attribute`. It has more fields where lockdep is configured.
    let mut raw: bindings::attribute = unsafe { mem::zeroed() };
    raw.name = as_char_ptr_in_const_context(name);
    raw.mode = mode;
    raw
}

impl DeviceAttribute {
    /// A read-only attribute.
    const fn new(name: &'static CStr, show: fn(&Device, &mut Page<'_>) -> Result) -> Self {
        // SAFETY: All zeroes is a valid `device_attribute`.
        let mut raw: bindings::device_attribute = unsafe { mem::zeroed() };
        raw.attr = attribute(name, READ_ONLY);
        raw.__bindgen_anon_1.show_const = Some(Self::show_callback);
        Self {
            raw,
            show,
            store: None,
            monitored: false,
        }
    }

    /// The driver core's `show`.
    extern "C" fn show_callback(
        device: *mut bindings::device,
        raw: *const bindings::device_attribute,
        buffer: *mut ffi::c_char,
    ) -> isize {
        // SAFETY: The attribute is in the groups of our bus alone, so that the device is one of the bus, and sysfs
        // removes the file before the device goes. All attributes of the groups are of this type and static.
        unsafe { Self::of(raw.cast()).read(Device::from_raw(device), buffer) }
    }

    /// The groups' `is_visible`.
    extern "C" fn visible_callback(
        object: *mut bindings::kobject,
        raw: *const bindings::attribute,
        _index: ffi::c_int,
    ) -> bindings::umode_t {
        // SAFETY: The groups are those of our bus, so that the object is inside a device of the bus, as above.
        let (device, raw, this): (&Device, _, _) = unsafe {
            let device = kernel::container_of!(object, bindings::device, kobj);
            (Device::from_raw(device), &*raw, Self::of(raw))
        };
        this.mode(raw, device.channel().offer().monitor_id.is_some())
    }
}

impl ChannelAttribute {
    /// A read-only attribute.
    const fn new(name: &'static CStr, show: fn(&Channel, &mut Page<'_>) -> Result) -> Self {
        Self {
            raw: attribute(name, READ_ONLY),
            show,
            store: None,
            monitored: false,
        }
    }

    /// The same attribute, writable by root.
    const fn writable(mut self, store: fn(&Channel, &[u8]) -> Result) -> Self {
        self.raw.mode = READ_WRITE;
        self.store = Some(store);
        self
    }

    /// The kobject type's `show`.
    extern "C" fn show_callback(
        object: *mut bindings::kobject,
        raw: *mut bindings::attribute,
        buffer: *mut ffi::c_char,
    ) -> isize {
        // SAFETY: These are the operations of the channel folders' type alone, whose groups have attributes of this
        // type in statics; sysfs removes the file before the folder goes.
        unsafe { Self::of(raw).read(ChannelFolder::channel(object), buffer) }
    }

    /// The kobject type's `store`.
    extern "C" fn store_callback(
        object: *mut bindings::kobject,
        raw: *mut bindings::attribute,
        buffer: *const ffi::c_char,
        size: usize,
    ) -> isize {
        // SAFETY: As for `show_callback`.
        unsafe { Self::of(raw).write(ChannelFolder::channel(object), buffer, size) }
    }

    /// The groups' `is_visible`.
    extern "C" fn visible_callback(
        object: *mut bindings::kobject,
        raw: *const bindings::attribute,
        _index: ffi::c_int,
    ) -> bindings::umode_t {
        // SAFETY: As for `show_callback`.
        let (channel, raw, this) =
            unsafe { (ChannelFolder::channel(object), &*raw, Self::of(raw)) };
        this.mode(raw, channel.offer().monitor_id.is_some())
    }
}

/// A binary attribute of a channel that says something by its size alone.
pub(crate) struct SizeAttribute(());

impl SizeAttribute {
    /// The attribute, for root.
    const fn named(name: &'static CStr) -> Constant<bindings::bin_attribute> {
        // SAFETY: All zeroes is a valid `bin_attribute`, which can neither be read nor be written.
        let mut raw: bindings::bin_attribute = unsafe { mem::zeroed() };
        raw.attr = attribute(name, ROOT_ONLY);
        Constant(raw)
    }

    /// The group of the one attribute, which is not there while the size is 0.
    const fn group(
        list: &'static List<bindings::bin_attribute, 1>,
    ) -> Constant<bindings::attribute_group> {
        // SAFETY: All zeroes is a valid `attribute_group`, with nothing in it.
        let mut group: bindings::attribute_group = unsafe { mem::zeroed() };
        group.is_bin_visible = Some(Self::visible_callback);
        group.bin_size = Some(Self::size_callback);
        group.bin_attrs = list.as_ptr();
        Constant(group)
    }

    /// The group's `is_bin_visible`.
    extern "C" fn visible_callback(
        object: *mut bindings::kobject,
        raw: *const bindings::bin_attribute,
        _index: ffi::c_int,
    ) -> bindings::umode_t {
        // SAFETY: The group is one of channel folders alone, and its attributes are static.
        unsafe {
            match ChannelFolder::channel(object).ring_file() {
                0 => 0,
                _ => (*raw).attr.mode,
            }
        }
    }

    /// The group's `bin_size`.
    extern "C" fn size_callback(
        object: *mut bindings::kobject,
        _raw: *const bindings::bin_attribute,
        _index: ffi::c_int,
    ) -> usize {
        // SAFETY: As for `visible_callback`.
        unsafe { ChannelFolder::channel(object) }.ring_file()
    }
}

/// How the files of a channel folder are read and written.
pub(crate) static CHANNEL_OPERATIONS: Constant<bindings::sysfs_ops> =
    Constant(bindings::sysfs_ops {
        show: Some(ChannelAttribute::show_callback),
        store: Some(ChannelAttribute::store_callback),
    });

/// A list of pointers to constants, closed by a null pointer.
#[repr(C)]
pub(crate) struct List<T: 'static, const N: usize> {
    /// The pointers.
    pointers: [*const T; N],
    /// The end.
    end: *const T,
    /// What they point to lives for ever.
    _target: PhantomData<&'static T>,
}

// SAFETY: A list is constant, and so is what it points to.
unsafe impl<T, const N: usize> Sync for List<T, N> {}

impl<T, const N: usize> List<T, N> {
    /// A list of these.
    const fn new(pointers: [*const T; N]) -> Self {
        Self {
            pointers,
            end: ptr::null(),
            _target: PhantomData,
        }
    }

    /// The list as the kernel takes it.
    pub(crate) const fn as_ptr(&'static self) -> *const *const T {
        (&raw const *self).cast()
    }
}

/// Attributes that come and go together.
pub(crate) type AttributeList<const N: usize> = List<bindings::attribute, N>;
/// A list of one group.
pub(crate) type Groups = List<bindings::attribute_group, 1>;
/// What `is_visible` is.
type Visible = unsafe extern "C" fn(
    *mut bindings::kobject,
    *const bindings::attribute,
    ffi::c_int,
) -> bindings::umode_t;

impl<const N: usize> AttributeList<N> {
    /// A list of kernel structures that start with an attribute.
    pub(crate) const fn of<A>(attributes: &'static [A; N]) -> Self {
        let mut pointers = [ptr::null(); N];
        let mut index = 0;
        while index < N {
            pointers[index] = (&raw const attributes[index]).cast();
            index += 1;
        }
        Self::new(pointers)
    }
}

impl Groups {
    /// A list of this group.
    pub(crate) const fn of_group(group: &'static Constant<bindings::attribute_group>) -> Self {
        Self::new([&raw const group.0])
    }
}

/// A group without a folder of its own.
pub(crate) const fn group<const N: usize>(
    attributes: &'static AttributeList<N>,
    visible: Option<Visible>,
) -> Constant<bindings::attribute_group> {
    // SAFETY: All zeroes is a valid `attribute_group`, with nothing in it.
    let mut group: bindings::attribute_group = unsafe { mem::zeroed() };
    group.__bindgen_anon_1.is_visible_const = visible;
    group.__bindgen_anon_2.attrs_const = attributes.as_ptr();
    Constant(group)
}
