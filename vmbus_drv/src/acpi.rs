// SPDX-License-Identifier: GPL-2.0

//! The ACPI device that stands for VMBus, and the address ranges that it gives to VMBus devices.

use core::fmt;
use core::ptr::{self, NonNull};
use kernel::bindings;
use kernel::device;
use kernel::prelude::*;
use kernel::types::Opaque;

/// Hardware ids of VMBus, in the order in which they are looked for.
const IDS: [&CStr; 3] = [c"VMBUS", c"VMBus", c"MSFT1000"];

/// Ranges that end below this serve legacy devices and are of no use to VMBus devices.
const LOWEST_END: u64 = 1 << 20;

/// An address range, both ends included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MmioRange {
    /// First address.
    pub(crate) start: u64,
    /// Last address.
    pub(crate) end: u64,
}

/// The VMBus device in ACPI.
///
/// # Invariants
///
/// `device` is an ACPI device on which this holds a reference.
pub(crate) struct AcpiDevice {
    /// The device.
    device: NonNull<bindings::acpi_device>,
    /// Ranges for VMBus devices, of the device itself or of the nearest ancestor that has some.
    mmio: KVec<MmioRange>,
}

// SAFETY: ACPI devices are reference counted and may be used from any thread.
unsafe impl Send for AcpiDevice {}
// SAFETY: As above.
unsafe impl Sync for AcpiDevice {}

impl AcpiDevice {
    /// Finds the device. Process context.
    ///
    /// # Errors
    ///
    /// - `ENODEV` if the firmware describes no VMBus.
    /// - `ENOMEM`.
    pub(crate) fn find() -> Result<Self> {
        let found = IDS.iter().find_map(|id| {
            // SAFETY: The id is a string; null and -1 stand for any unique id and any revision.
            NonNull::new(unsafe {
                bindings::acpi_dev_get_first_match_dev(id.as_char_ptr(), ptr::null(), -1)
            })
        });
        let Some(device) = found else {
            pr_err!("the firmware describes no VMBus: no ACPI device VMBUS, VMBus or MSFT1000\n");
            return Err(ENODEV);
        };
        // INVARIANT: The search took a reference.
        let mut this = Self {
            device,
            mmio: KVec::new(),
        };
        let mut current = device.as_ptr();
        while !current.is_null() && this.mmio.is_empty() {
            this.read_ranges(current)?;
            // SAFETY: `current` is an ACPI device, and a child keeps its ancestors.
            current = unsafe { hv_bindings::rust_helper_hv_acpi_parent(current.cast()) }.cast();
        }
        Ok(this)
    }

    /// Adds the bus windows among the resources of `device`.
    fn read_ranges(&mut self, device: *mut bindings::acpi_device) -> Result {
        let list = Opaque::<bindings::list_head>::uninit();
        // SAFETY: The list is valid for writes and empties into itself.
        unsafe { (*list.get()).next = list.get() };
        // SAFETY: As above.
        unsafe { (*list.get()).prev = list.get() };
        // SAFETY: The list is empty; without a filter every resource is added.
        if unsafe { bindings::acpi_dev_get_resources(device, list.get(), None, ptr::null_mut()) }
            < 0
        {
            return Ok(());
        }
        let mut result = Ok(());
        // SAFETY: The list is initialised, and each entry is the first field of a `resource_entry`.
        unsafe {
            let mut entry = (*list.get()).next;
            while entry != list.get() && result.is_ok() {
                let resource = (*entry.cast::<bindings::resource_entry>()).res;
                result = self.add_range((*resource).flags, (*resource).start, (*resource).end);
                entry = (*entry).next;
            }
        }
        // SAFETY: The entries are those that the kernel added.
        unsafe { bindings::acpi_dev_free_resource_list(list.get()) };
        result
    }

    /// Adds a resource if it is a window of memory addresses that is of use.
    fn add_range(&mut self, flags: usize, start: u64, end: u64) -> Result {
        let wanted = (bindings::IORESOURCE_MEM | bindings::IORESOURCE_WINDOW) as usize;
        if flags & wanted == wanted && start <= end && end >= LOWEST_END {
            self.mmio.push(MmioRange { start, end }, GFP_KERNEL)?;
        }
        Ok(())
    }

    /// The device that VMBus devices have as parent.
    pub(crate) fn as_device(&self) -> &device::Device {
        // SAFETY: The device is alive while this holds its reference; `dev` is a field of it.
        unsafe { device::Device::from_raw(&raw mut (*self.device.as_ptr()).dev) }
    }
}

impl fmt::Display for AcpiDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mmio.is_empty() {
            return writeln!(f, "none");
        }
        self.mmio
            .iter()
            .try_for_each(|range| writeln!(f, "{:#x}-{:#x}", range.start, range.end))
    }
}

impl Drop for AcpiDevice {
    fn drop(&mut self) {
        // SAFETY: By the invariant this owns a reference.
        unsafe { bindings::put_device(&raw mut (*self.device.as_ptr()).dev) };
    }
}
