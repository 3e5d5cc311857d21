// SPDX-License-Identifier: GPL-2.0

//! The folders `channels` and `channels/<relid>` of a device.

use crate::channel::Channel;
use crate::sysfs::{Constant, CHANNEL_GROUPS, CHANNEL_OPERATIONS, RING_GROUP};
use core::ptr::{self, NonNull};
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel::types::Opaque;
use kernel::{bindings, ffi};

/// The folder `channels`, removed when dropped. Its channels' folders must be gone by then.
///
/// # Invariants
///
/// The pointer is to a registered kset that this owns.
pub(crate) struct ChannelsFolder(NonNull<bindings::kset>);

// SAFETY: A kset may be used and unregistered by any task.
unsafe impl Send for ChannelsFolder {}
// SAFETY: As above.
unsafe impl Sync for ChannelsFolder {}

impl ChannelsFolder {
    /// Makes the folder in that of a device. Process context.
    ///
    /// # Safety
    ///
    /// `device` is registered, and stays so for the life of the folder.
    ///
    /// # Errors
    ///
    /// `ENOMEM` whatever went wrong; the kernel does not say.
    pub(crate) unsafe fn new(device: *mut bindings::device) -> Result<Self> {
        // SAFETY: By the condition of this function the device's kobject is registered.
        let kset = unsafe {
            bindings::kset_create_and_add(
                c"channels".as_char_ptr(),
                ptr::null(),
                &raw mut (*device).kobj,
            )
        };
        // INVARIANT: The kset was registered just now, if there is one.
        NonNull::new(kset).map(Self).ok_or(ENOMEM)
    }
}

impl Drop for ChannelsFolder {
    fn drop(&mut self) {
        // SAFETY: By the invariant.
        unsafe { bindings::kset_unregister(self.0.as_ptr()) };
    }
}

/// A kobject and its channel.
#[repr(C)]
struct Node {
    /// The kobject.
    object: Opaque<bindings::kobject>,
    /// The channel, alive while somebody may read a file.
    channel: Arc<Channel>,
}

impl Node {
    /// Frees the node once nobody refers to its kobject.
    extern "C" fn release(object: *mut bindings::kobject) {
        // SAFETY: Objects of this type are those of nodes, which came from a box, and this was the last reference.
        drop(unsafe {
            KBox::from_raw(kernel::container_of!(
                object.cast::<Opaque<_>>(),
                Self,
                object
            ))
        });
    }
}

/// The type of all channel folders.
static TYPE: Constant<bindings::kobj_type> = {
    // SAFETY: All zeroes is a valid `kobj_type`.
    let mut kind: bindings::kobj_type = unsafe { core::mem::zeroed() };
    kind.release = Some(Node::release);
    kind.sysfs_ops = &raw const CHANNEL_OPERATIONS.0;
    kind.default_groups = CHANNEL_GROUPS.as_ptr().cast_mut();
    Constant(kind)
};

/// The folder of a channel, removed when dropped: then no reader is left in its files.
///
/// # Invariants
///
/// The pointer is to a node with a registered kobject, of which this owns a reference.
pub(crate) struct ChannelFolder(NonNull<Node>);

// SAFETY: A kobject may be used and removed by any task, and so may a channel.
unsafe impl Send for ChannelFolder {}
// SAFETY: As above.
unsafe impl Sync for ChannelFolder {}

impl ChannelFolder {
    /// Makes the folder of a channel and tells udev. Process context.
    ///
    /// # Errors
    ///
    /// `EEXIST` if the device has a folder of this relid, `ENOMEM`.
    pub(crate) fn new(parent: &ChannelsFolder, channel: Arc<Channel>) -> Result<Self> {
        let relid: ffi::c_uint = channel.offer().relid.get();
        let node = KBox::into_raw(KBox::new(
            Node {
                object: Opaque::zeroed(),
                channel,
            },
            GFP_KERNEL,
        )?);
        // SAFETY: The node is valid and nobody else's, and a fresh kobject is all zeroes but for its set. The
        // arguments match the format.
        let (object, result) = unsafe {
            let object = (*node).object.get();
            (*object).kset = parent.0.as_ptr();
            let result = bindings::kobject_init_and_add(
                object,
                &raw const TYPE.0,
                ptr::null_mut(),
                c"%u".as_char_ptr(),
                relid,
            );
            (object, result)
        };
        if let Err(error) = to_result(result) {
            // SAFETY: The kobject was initialised even so, and this is its only reference.
            unsafe { bindings::kobject_put(object) };
            return Err(error);
        }
        // SAFETY: The kobject is registered. That nobody listens is no error.
        unsafe { bindings::kobject_uevent(object, bindings::kobject_action_KOBJ_ADD) };
        // INVARIANT: As made above; a box is never null.
        NonNull::new(node).map(Self).ok_or(ENOMEM)
    }

    /// Makes or removes the file `ring`, as [`Channel::ring_file`] says. Process context.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn update_ring(&self) -> Result {
        // SAFETY: By the invariant the kobject is registered, and it was made with the group.
        to_result(unsafe {
            bindings::sysfs_update_group(self.0.as_ref().object.get(), &raw const RING_GROUP.0)
        })
    }

    /// The channel whose folder a kobject is.
    ///
    /// # Safety
    ///
    /// `object` is of the type `TYPE`, and is referenced for all of `'a`.
    pub(crate) unsafe fn channel<'a>(object: *mut bindings::kobject) -> &'a Arc<Channel> {
        // SAFETY: By the condition of this function the object is that of a node, whose channel never changes.
        unsafe { &(*kernel::container_of!(object.cast::<Opaque<_>>(), Node, object)).channel }
    }
}

impl Drop for ChannelFolder {
    fn drop(&mut self) {
        // SAFETY: By the invariant the kobject is registered and the reference ours.
        unsafe {
            let object = self.0.as_ref().object.get();
            bindings::kobject_del(object);
            bindings::kobject_put(object);
        }
    }
}
