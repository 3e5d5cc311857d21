// SPDX-License-Identifier: GPL-2.0

//! Character devices that one program talks to (`linux/miscdevice.h`). Those of the kernel crate cannot be polled.

use core::marker::PhantomData;
use core::ptr::NonNull;
use hv_utils_proto::sole::{Held, Sole};
use kernel::error::{from_result, to_result};
use kernel::fs::File;
use kernel::prelude::*;
use kernel::sync::poll::PollTable;
use kernel::sync::{Arc, ArcBorrow};
use kernel::types::Opaque;
use kernel::uaccess::{UserPtr, UserSlice, UserSliceReader, UserSliceWriter};
use kernel::{bindings, ffi};

/// What is behind a device. All functions are called in process context.
pub(crate) trait Talk: Send + Sync + 'static {
    /// The device is opened.
    ///
    /// # Errors
    ///
    /// What the program is to get; then it is not opened.
    fn open(this: ArcBorrow<'_, Self>) -> Result;

    /// It is closed for good. Once for each [`Self::open`].
    fn release(this: ArcBorrow<'_, Self>);

    /// The program reads; returns how many bytes it gets. Does not wait if the program does not.
    ///
    /// # Errors
    ///
    /// What the program is to get.
    fn read(this: ArcBorrow<'_, Self>, to: UserSliceWriter, wait: bool) -> Result<usize>;

    /// The program writes. All of it is taken.
    ///
    /// # Errors
    ///
    /// What the program is to get.
    fn write(this: ArcBorrow<'_, Self>, from: UserSliceReader) -> Result;

    /// What the program could do without waiting (`POLL*`), and a place in the queue of those who wait for it.
    fn poll(this: ArcBorrow<'_, Self>, file: &File, table: &PollTable<'_>) -> u32;
}

/// The name of a device, and whether there is one: two would have the kernel warn with a stack dump.
pub(crate) struct Name {
    /// The name.
    text: &'static CStr,
    /// Which device has it.
    sole: Sole,
}

impl Name {
    /// One that is free.
    pub(crate) const fn new(text: &'static CStr) -> Self {
        Self {
            text,
            sole: Sole::new(),
        }
    }
}

/// A description, and what is behind the device.
#[repr(C)]
struct Described<T> {
    /// The description.
    device: Opaque<bindings::miscdevice>,
    /// What is behind it.
    talk: Arc<T>,
    /// Its name, free again when it is removed.
    _name: Held<'static>,
}

/// A registered device. Dropping it, in process context, removes it; who has it open keeps what is behind.
///
/// # Invariants
///
/// The description in the box, which this owns, is registered.
pub(crate) struct MiscDevice<T: Talk>(NonNull<Described<T>>);

// SAFETY: A device may be removed by any thread, and what is behind it is `Send` and `Sync`.
unsafe impl<T: Talk> Send for MiscDevice<T> {}
// SAFETY: As above; there is nothing to do with a reference.
unsafe impl<T: Talk> Sync for MiscDevice<T> {}

impl<T: Talk> MiscDevice<T> {
    /// Registers a device that root alone may open. It has no parent. Process context.
    ///
    /// # Errors
    ///
    /// `EBUSY` if there is one of that name; `ENOMEM` and others, if there can be no such device.
    pub(crate) fn new(name: &'static Name, talk: Arc<T>) -> Result<Self> {
        let held = name.sole.take().ok_or(EBUSY)?;
        // SAFETY: All zeroes is a valid description, of a device with no name.
        let mut device: bindings::miscdevice = unsafe { core::mem::zeroed() };
        // CAST: A small number.
        device.minor = bindings::MISC_DYNAMIC_MINOR as ffi::c_int;
        device.name = name.text.as_char_ptr();
        device.fops = &raw const *Operations::<T>::TABLE;
        let described = KBox::new(
            Described {
                device: Opaque::new(device),
                talk,
                _name: held,
            },
            GFP_KERNEL,
        )?;
        let described = NonNull::from(KBox::leak(described));
        // SAFETY: The description stays where it is until the device is removed.
        let registered = unsafe { bindings::misc_register((*described.as_ptr()).device.get()) };
        if let Err(error) = to_result(registered) {
            // SAFETY: The box from above, which nobody else knows.
            drop(unsafe { KBox::from_raw(described.as_ptr()) });
            return Err(error);
        }
        // INVARIANT: Just registered.
        Ok(Self(described))
    }
}

impl<T: Talk> Drop for MiscDevice<T> {
    fn drop(&mut self) {
        // SAFETY: By the invariant. Opening a device and removing it exclude each other, and files that are open do not
        // use the description, so that the box can go.
        unsafe {
            bindings::misc_deregister((*self.0.as_ptr()).device.get());
            drop(KBox::from_raw(self.0.as_ptr()));
        }
    }
}

/// What the kernel calls (`struct file_operations`). An open file's private data is a reference to what is behind.
struct Operations<T>(PhantomData<T>);

impl<T: Talk> Operations<T> {
    /// All of it.
    const TABLE: &'static bindings::file_operations = &{
        // SAFETY: All zeroes is a valid table, which leaves everything out.
        let mut table: bindings::file_operations = unsafe { core::mem::zeroed() };
        // An open file keeps the module loaded.
        table.owner = &raw mut bindings::__this_module;
        table.open = Some(Self::open);
        table.release = Some(Self::release);
        table.read = Some(Self::read);
        table.write = Some(Self::write);
        table.poll = Some(Self::poll);
        table
    };

    /// What is behind an open file.
    ///
    /// # Safety
    ///
    /// [`Self::open`] has succeeded on the file, and it is not released for all of `'a`.
    unsafe fn behind<'a>(file: *mut bindings::file) -> ArcBorrow<'a, T> {
        // SAFETY: By the condition of this function; the file has a reference.
        unsafe { ArcBorrow::from_raw((*file).private_data.cast()) }
    }

    /// Opens a file.
    extern "C" fn open(_: *mut bindings::inode, file: *mut bindings::file) -> ffi::c_int {
        from_result(|| {
            // SAFETY: `misc_open` has put the description there, and keeps it registered.
            let described = unsafe { &*(*file).private_data.cast::<Described<T>>() };
            let talk = described.talk.clone();
            T::open(talk.as_arc_borrow())?;
            // SAFETY: The private data of a file is its driver's, once it is being opened.
            unsafe { (*file).private_data = Arc::into_raw(talk).cast_mut().cast() };
            Ok(0)
        })
    }

    /// Closes it.
    extern "C" fn release(_: *mut bindings::inode, file: *mut bindings::file) -> ffi::c_int {
        // SAFETY: `open` left a reference, and nothing is called after this.
        let talk = unsafe { Arc::from_raw((*file).private_data.cast::<T>()) };
        T::release(talk.as_arc_borrow());
        0
    }

    /// Reads.
    extern "C" fn read(
        file: *mut bindings::file,
        buffer: *mut ffi::c_char,
        length: usize,
        _: *mut bindings::loff_t,
    ) -> isize {
        // SAFETY: The file is open.
        let (talk, flags) = unsafe { (Self::behind(file), (*file).f_flags) };
        let to = UserSlice::new(UserPtr::from_ptr(buffer.cast()), length).writer();
        match T::read(talk, to, flags & bindings::O_NONBLOCK == 0) {
            // CAST: No object has more bytes.
            Ok(read) => read as isize,
            // CAST: It grows.
            Err(error) => error.to_errno() as isize,
        }
    }

    /// Writes.
    extern "C" fn write(
        file: *mut bindings::file,
        buffer: *const ffi::c_char,
        length: usize,
        _: *mut bindings::loff_t,
    ) -> isize {
        // SAFETY: The file is open.
        let talk = unsafe { Self::behind(file) };
        let from = UserSlice::new(UserPtr::from_ptr(buffer.cast_mut().cast()), length).reader();
        match T::write(talk, from) {
            // CAST: The kernel lets nobody write more than fits.
            Ok(()) => length as isize,
            // CAST: It grows.
            Err(error) => error.to_errno() as isize,
        }
    }

    /// Polls.
    extern "C" fn poll(
        file: *mut bindings::file,
        table: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: The file is open, and for the duration of this call the kernel keeps it and the table.
        let (talk, file, table) = unsafe {
            (
                Self::behind(file),
                File::from_raw_file(file),
                PollTable::from_raw(table),
            )
        };
        T::poll(talk, file, &table)
    }
}
