// SPDX-License-Identifier: GPL-2.0

//! Devices of the bus: one for each primary channel that the host offers.

use crate::bus::{self, Occupant};
use crate::channel::Channel;
use crate::kobject::{ChannelFolder, ChannelsFolder};
use core::marker::PhantomData;
use core::mem;
use core::ops::Deref;
use core::ptr::{self, NonNull};
use kernel::bindings;
use kernel::device::{self, DeviceContext};
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::str::CString;
use kernel::sync::aref::{ARef, AlwaysRefCounted};
use kernel::sync::{new_mutex, Arc, Mutex};
use kernel::types::Opaque;

/// A device on the bus, counted by references; what its driver may do with it depends on `Ctx`.
///
/// # Invariants
///
/// Every device was made by [`NewDevice::new`]: it is in a box of its own and its `struct device` is initialised.
#[repr(transparent)]
pub struct Device<Ctx: DeviceContext = device::Normal>(Inner, PhantomData<Ctx>);

/// What a device consists of.
#[repr(C)]
#[pin_data]
struct Inner {
    /// The kernel's part.
    device: Opaque<bindings::device>,
    /// The DMA segment limits that `device` points to.
    dma_parameters: Opaque<bindings::device_dma_parameters>,
    /// The DMA mask that `device` points to.
    dma_mask: Opaque<u64>,
    /// The first channel.
    channel: Arc<Channel>,
    /// All channels and their folders.
    #[pin]
    channels: Mutex<Channels>,
    /// Keeps this code loaded. The last field, so that nothing is dropped after it.
    _occupant: Occupant,
}

/// The channels of a device.
struct Channels {
    /// How far the device has come.
    stage: Stage,
    /// The first channel, and then the sub-channels in the order of their offers.
    members: KVec<Member>,
}

/// How far the folder of the channels has come.
enum Stage {
    /// It does not exist yet. Channels may be added already, since a driver's probe function may ask for them.
    New,
    /// It exists.
    Registered(ChannelsFolder),
    /// It is gone, and channels can no longer be added.
    Removed,
}

/// A channel of a device.
struct Member {
    /// The channel.
    channel: Arc<Channel>,
    /// Its folder, while there is one.
    folder: Option<ChannelFolder>,
}

impl Member {
    /// Makes the folder in the folder of all channels, if that exists.
    fn add_folder(&mut self, stage: &Stage) -> Result {
        if let Stage::Registered(parent) = stage {
            self.folder = Some(ChannelFolder::new(parent, self.channel.clone())?);
        }
        Ok(())
    }
}

// SAFETY: `Device` is a transparent wrapper of a type that does not depend on its generic argument.
kernel::impl_device_context_deref!(unsafe { Device });
kernel::impl_device_context_into_aref!(Device);

// SAFETY: `struct device` is made for use by any task, and the rest is `Send`.
unsafe impl Send for Device {}
// SAFETY: Shared access to `struct device` is synchronised by the driver core, and the rest is `Sync`.
unsafe impl Sync for Device {}
// SAFETY: As for `Device<Normal>`: the context is a marker without size.
unsafe impl Sync for Device<device::Bound> {}

// SAFETY: A device is counted by its `struct device`.
unsafe impl AlwaysRefCounted for Device {
    fn inc_ref(&self) {
        // SAFETY: The reference `self` shows that the count is not zero.
        unsafe { bindings::get_device(self.as_raw()) };
    }

    unsafe fn dec_ref(device: NonNull<Self>) {
        // SAFETY: The caller gives up a reference, so that the device is valid.
        unsafe { bindings::put_device(device.as_ref().as_raw()) };
    }
}

impl<Ctx: DeviceContext> Device<Ctx> {
    /// The kernel's part.
    pub(crate) fn as_raw(&self) -> *mut bindings::device {
        self.0.device.get()
    }

    /// The device that contains the kernel's part.
    ///
    /// # Safety
    ///
    /// `device` is on the bus `vmbus` and referenced for all of `'a`, and `Ctx` is true of it for that time.
    pub(crate) unsafe fn from_raw<'a>(device: *const bindings::device) -> &'a Self {
        // SAFETY: By the condition of this function the device is one of ours, which start with `struct device`.
        unsafe {
            &*kernel::container_of!(device.cast_mut().cast::<Opaque<_>>(), Inner, device).cast()
        }
    }

    /// The device's first channel.
    #[must_use]
    pub fn channel(&self) -> &Arc<Channel> {
        &self.0.channel
    }

    /// Calls `function` for the first channel and then for the sub-channels that the host has offered so far, in the
    /// order of their offers. Process context; sub-channels cannot come or go meanwhile.
    ///
    /// # Errors
    ///
    /// `ENODEV` once the device is being removed, and what `function` returns.
    pub fn for_each_channel(&self, mut function: impl FnMut(&Arc<Channel>) -> Result) -> Result {
        let channels = self.0.channels.lock();
        if matches!(channels.stage, Stage::Removed) {
            return Err(ENODEV);
        }
        channels
            .members
            .iter()
            .try_for_each(|member| function(&member.channel))
    }

    /// Has sysfs show a file `ring` for the first channel, as large as both of its rings, for programs that read and write
    /// them and want to know; none for 0 bytes. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn show_ring(&self, bytes: usize) -> Result {
        let channels = self.0.channels.lock();
        self.0.channel.set_ring_file(bytes);
        // Without a folder yet, the file comes with it.
        match channels
            .members
            .first()
            .and_then(|member| member.folder.as_ref())
        {
            Some(folder) => folder.update_ring(),
            None => Ok(()),
        }
    }

    /// Adds a sub-channel with its folder. Process context; may be called while a driver is being bound.
    ///
    /// # Errors
    ///
    /// `ENODEV` once the device is being removed, `EEXIST` if its relid is there already, `ENOMEM`.
    pub(crate) fn add_channel(&self, channel: &Arc<Channel>) -> Result {
        let mut channels = self.0.channels.lock();
        let Channels { stage, members } = &mut *channels;
        if matches!(stage, Stage::Removed) {
            return Err(ENODEV);
        }
        members.reserve(1, GFP_KERNEL)?;
        let mut member = Member {
            channel: channel.clone(),
            folder: None,
        };
        member.add_folder(stage)?;
        Ok(members.push(member, GFP_KERNEL)?)
    }

    /// Removes a sub-channel with its folder; waits for readers and writers of its files, and so must not be called
    /// with a lock that [`Channel::retarget`] takes. Process context. Nothing happens if it is not there.
    pub(crate) fn remove_channel(&self, channel: &Arc<Channel>) {
        let mut channels = self.0.channels.lock();
        let member = channels
            .members
            .iter()
            .position(|member| Arc::ptr_eq(&member.channel, channel));
        let member = member.and_then(|index| channels.members.remove(index).ok());
        // The folder goes without the lock, for the reason above.
        drop(channels);
        drop(member);
    }

    /// Makes the folders of the channels that are there.
    ///
    /// # Safety
    ///
    /// The device is registered, and stays so until [`Self::close_channels`].
    unsafe fn open_channels(&self) -> Result {
        let mut channels = self.0.channels.lock();
        let Channels { stage, members } = &mut *channels;
        // SAFETY: By the condition of this function.
        *stage = Stage::Registered(unsafe { ChannelsFolder::new(self.as_raw())? });
        members
            .iter_mut()
            .try_for_each(|member| member.add_folder(stage))
    }

    /// Removes the folders, for good.
    fn close_channels(&self) {
        let mut channels = self.0.channels.lock();
        let stage = mem::replace(&mut channels.stage, Stage::Removed);
        let members = mem::take(&mut channels.members);
        // Without the lock, as in `remove_channel`. The channels' folders are inside the other.
        drop(channels);
        drop(members);
        drop(stage);
    }
}

impl<Ctx: DeviceContext> AsRef<device::Device<Ctx>> for Device<Ctx> {
    fn as_ref(&self) -> &device::Device<Ctx> {
        // SAFETY: `struct device` is valid as long as `self`, and the context is the same.
        unsafe { device::Device::from_raw(self.as_raw()) }
    }
}

/// Frees a device to which nobody refers any more.
extern "C" fn release(device: *mut bindings::device) {
    // SAFETY: Only `NewDevice::new` sets this callback, for a device whose box it gave up; this was the last reference.
    drop(unsafe {
        KBox::from_raw(kernel::container_of!(
            device.cast::<Opaque<_>>(),
            Inner,
            device
        ))
    });
}

/// A device that sysfs does not show yet.
pub(crate) struct NewDevice {
    /// The device.
    device: ARef<Device>,
}

impl NewDevice {
    /// Makes the device of a primary channel. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(channel: Arc<Channel>) -> Result<Self> {
        let name = CString::try_from_fmt(format_args!("{}", channel.offer().instance))?;
        let mut members = KVec::with_capacity(1, GFP_KERNEL)?;
        members.push(
            Member {
                channel: channel.clone(),
                folder: None,
            },
            GFP_KERNEL,
        )?;
        let inner = KBox::try_pin_init(
            try_pin_init!(Inner {
                device: Opaque::zeroed(),
                dma_parameters: Opaque::zeroed(),
                // VMBus devices reach all of memory.
                dma_mask: Opaque::new(u64::MAX),
                channel,
                channels <- new_mutex!(Channels { stage: Stage::New, members }),
                _occupant: Occupant::new(),
            }? Error),
            GFP_KERNEL,
        )?;
        // SAFETY: Nothing moves the content before `release` turns it into a box again.
        let inner = KBox::into_raw(unsafe { Pin::into_inner_unchecked(inner) });
        // SAFETY: The device is valid, zeroed, and nobody else's. What it points to is in the same box.
        let (raw, device) = unsafe {
            let raw = (*inner).device.get();
            bindings::device_initialize(raw);
            (*raw).bus = bus::as_ptr();
            (*raw).release = Some(release);
            (*raw).dma_parms = (*inner).dma_parameters.get();
            (*raw).dma_mask = (*inner).dma_mask.get();
            (*raw).coherent_dma_mask = u64::MAX;
            // INVARIANT: In a box and initialised. The reference is the one of initialisation.
            (
                raw,
                ARef::from_raw(NonNull::new(inner).ok_or(ENOMEM)?.cast::<Device>()),
            )
        };
        // SAFETY: The device is initialised, and the arguments match the format.
        to_result(unsafe { bindings::dev_set_name(raw, c"%s".as_char_ptr(), name.as_char_ptr()) })?;
        Ok(Self { device })
    }

    /// The device, so that sub-channels can be added while a driver is being bound.
    #[must_use]
    pub(crate) fn device(&self) -> ARef<Device> {
        self.device.clone()
    }

    /// Registers the device below `parent` and binds its driver, if there is one that does not ask for a task of its
    /// own. Process context; calls the driver's probe function, and so must not be called with a lock that this or the
    /// arrival of a sub-channel takes.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the bus is not registered, `EEXIST` if a device of this name is there already, `ENOMEM`.
    pub(crate) fn register(self, parent: &device::Device) -> Result<RegisteredDevice> {
        let raw = self.device.as_raw();
        // SAFETY: The device is initialised and not yet visible to anybody. The driver core takes its own reference to
        // the parent, and drops it when the device is removed.
        to_result(unsafe {
            (*raw).parent = ptr::from_ref(parent).cast_mut().cast();
            bindings::device_add(raw)
        })?;
        let registered = RegisteredDevice {
            device: self.device,
        };
        // SAFETY: Registered above; dropping `registered` closes the channels first.
        unsafe { registered.open_channels()? };
        Ok(registered)
    }
}

/// A device that sysfs shows and that a driver may be bound to.
///
/// Dropping it, in process context, removes it: the files, waiting for who reads them, and the driver.
pub(crate) struct RegisteredDevice {
    /// The device.
    device: ARef<Device>,
}

impl Deref for RegisteredDevice {
    type Target = Device;

    fn deref(&self) -> &Device {
        &self.device
    }
}

impl Drop for RegisteredDevice {
    fn drop(&mut self) {
        self.close_channels();
        // SAFETY: The device is registered, since this exists, and is removed only here.
        unsafe { bindings::device_del(self.as_raw()) };
    }
}
