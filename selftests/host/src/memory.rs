// SPDX-License-Identifier: GPL-2.0

//! The guest's address space: where RAM, tables and MMIO are.

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use std::sync::Arc;
use vm_memory::{Address, GuestAddress, GuestMemory, GuestMemoryMmap, GuestMemoryRegion};

/// One MiB, in bytes.
pub(crate) const MIB: u64 = 1 << 20;
/// Where RAM below 4 GiB ends at the latest; from here to 4 GiB is MMIO.
pub(crate) const LOW_END: u64 = 0xc000_0000;
/// Where RAM goes on.
pub(crate) const HIGH_START: u64 = 1 << 32;
/// End of conventional memory. From here to 1 MiB the firmware's tables are, which is no RAM for the guest.
pub(crate) const CONVENTIONAL_END: u64 = 0x9_fc00;
/// Where the ACPI tables are, within what a guest searches for them.
pub(crate) const ACPI_START: u64 = 0xe_0000;
/// MMIO below 4 GiB for VMBus devices, both ends included. As Hyper-V has it, but ending below the I/O APIC.
pub(crate) const VMBUS_LOW_MMIO: (u32, u32) = (0xf800_0000, 0xfebf_ffff);
/// MMIO above 4 GiB for VMBus devices, both ends included. As Hyper-V has it: the last 512 MiB of the first 64 GiB.
pub(crate) const VMBUS_HIGH_MMIO: (u64, u64) = (0xf_e000_0000, 0xf_ffff_ffff);
/// Where the I/O APIC of KVM is.
pub(crate) const IOAPIC: u32 = 0xfec0_0000;
/// Where the local APICs are.
pub(crate) const LOCAL_APIC: u32 = 0xfee0_0000;
/// Three pages that KVM needs on Intel's processors, in the hole.
pub(crate) const TSS: usize = 0xfffb_d000;
/// One more such page.
pub(crate) const IDENTITY_MAP: u64 = 0xfffb_c000;
/// The least RAM that a guest can have, in MiB.
pub(crate) const MIN_MEBIBYTES: u64 = 64;
/// The most, which ends below [`VMBUS_HIGH_MMIO`].
pub(crate) const MAX_MEBIBYTES: u64 = 32 << 10;

/// The ranges of RAM, as (start, length).
///
/// # Errors
///
/// A sentence if the size is out of bounds.
pub(crate) fn ram_ranges(mebibytes: u64) -> Result<Vec<(u64, u64)>, String> {
    if !(MIN_MEBIBYTES..=MAX_MEBIBYTES).contains(&mebibytes) {
        return Err(format!(
            "--memory {mebibytes}: a guest can have {MIN_MEBIBYTES} to {MAX_MEBIBYTES} MiB"
        ));
    }
    let size = mebibytes.saturating_mul(MIB);
    let low = size.min(LOW_END);
    let high = size.saturating_sub(low);
    let mut ranges = vec![(0, low)];
    if high != 0 {
        ranges.push((HIGH_START, high));
    }
    Ok(ranges)
}

/// Anonymous memory for the guest's RAM.
///
/// # Errors
///
/// A sentence if there is not enough, or the size is out of bounds.
pub(crate) fn allocate(mebibytes: u64) -> Result<Arc<GuestMemoryMmap>, String> {
    let mut ranges = Vec::new();
    for (start, length) in ram_ranges(mebibytes)? {
        let length = usize::try_from(length).map_err(|error| error.to_string())?;
        ranges.push((GuestAddress(start), length));
    }
    let memory = GuestMemoryMmap::from_ranges(&ranges)
        .map_err(|error| format!("no memory for a guest of {mebibytes} MiB: {error}"))?;
    Ok(Arc::new(memory))
}

/// RAM that a VM has been given, with the VM.
///
/// # Invariants
///
/// The VM has no other RAM than `memory`, and runs only while this exists.
pub(crate) struct Ram {
    /// The VM, kept so that nobody else is the last to have it.
    _vm: Arc<VmFd>,
    /// Its memory.
    memory: Arc<GuestMemoryMmap>,
}

impl Ram {
    /// Gives the memory to a VM that has none.
    ///
    /// # Errors
    ///
    /// A sentence with KVM's error.
    pub(crate) fn map(vm: Arc<VmFd>, memory: Arc<GuestMemoryMmap>) -> Result<Self, String> {
        for (slot, region) in (0u32..).zip(memory.iter()) {
            let address = memory
                .get_host_address(region.start_addr())
                .map_err(|error| format!("the guest's memory has no address: {error}"))?;
            let request = kvm_userspace_memory_region {
                slot,
                guest_phys_addr: region.start_addr().raw_value(),
                memory_size: region.len(),
                userspace_addr: u64::try_from(address.addr()).map_err(|error| error.to_string())?,
                flags: 0,
            };
            // SAFETY:
            // - The range is one mapping of `memory`, of this length.
            // - It stays mapped while a VP can run: by the invariant of `Ram`, which holds the memory.
            // - Rust holds no reference into it: vm-memory's accesses are volatile or atomic.
            unsafe { vm.set_user_memory_region(request) }
                .map_err(|error| format!("KVM refuses the guest's memory: {error}"))?;
        }
        Ok(Self { _vm: vm, memory })
    }

    /// The memory.
    pub(crate) fn memory(&self) -> &Arc<GuestMemoryMmap> {
        &self.memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_split_at_the_hole() {
        assert_eq!(ram_ranges(64).unwrap(), [(0, 64 << 20)]);
        assert_eq!(ram_ranges(3072).unwrap(), [(0, LOW_END)]);
        assert_eq!(ram_ranges(3073).unwrap(), [(0, LOW_END), (HIGH_START, MIB)]);
        let ranges = ram_ranges(MAX_MEBIBYTES).unwrap();
        let (start, length) = ranges.last().unwrap();
        assert!(start.checked_add(*length).unwrap() <= VMBUS_HIGH_MMIO.0);
    }

    #[test]
    fn sizes_out_of_bounds_are_refused() {
        for size in [0, MIN_MEBIBYTES - 1, MAX_MEBIBYTES + 1, u64::MAX] {
            assert!(ram_ranges(size).unwrap_err().contains("MiB"));
        }
    }
}
