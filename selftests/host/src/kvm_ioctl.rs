// SPDX-License-Identifier: GPL-2.0

//! What kvm-ioctls lacks of KVM's Hyper-V interface: two ioctls, two exit payloads, one kind of interrupt route.

use kvm_bindings::{
    kvm_cpuid2, kvm_hyperv_eventfd, kvm_irq_routing_entry, kvm_irq_routing_hv_sint, CpuId, KVMIO,
    KVM_EXIT_HYPERV_HCALL, KVM_EXIT_HYPERV_SYNIC, KVM_HYPERV_EVENTFD_DEASSIGN,
    KVM_IRQ_ROUTING_HV_SINT,
};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use std::io;
use std::os::fd::AsRawFd;
use vmm_sys_util::eventfd::EventFd;
use vmm_sys_util::ioctl::{ioctl_with_mut_ptr, ioctl_with_ref};
use vmm_sys_util::{ioctl_iow_nr, ioctl_iowr_nr};

mod number {
    //! The ioctls' numbers (`include/uapi/linux/kvm.h`).
    use super::*;
    ioctl_iowr_nr!(KVM_GET_SUPPORTED_HV_CPUID, KVMIO, 0xc1, kvm_cpuid2);
    ioctl_iow_nr!(KVM_HYPERV_EVENTFD, KVMIO, 0xbd, kvm_hyperv_eventfd);
}

/// Entries that there is room for; KVM has ten leaves.
const HV_LEAVES: usize = 32;

/// The Hyper-V CPUID leaves that KVM can offer to a guest.
///
/// # Errors
///
/// As the ioctl: this KVM has no Hyper-V support.
pub(crate) fn supported_hv_cpuid(kvm: &Kvm) -> io::Result<CpuId> {
    let mut cpuid =
        CpuId::new(HV_LEAVES).map_err(|error| io::Error::other(format!("{error:?}")))?;
    // SAFETY:
    // - `kvm` is the KVM device.
    // - The pointer is to a `kvm_cpuid2` whose `nent` says how many entries follow it, and the wrapper owns as many.
    // - KVM writes at most that many entries, and sets `nent` to no more.
    let result = unsafe {
        ioctl_with_mut_ptr(
            kvm,
            number::KVM_GET_SUPPORTED_HV_CPUID(),
            cpuid.as_mut_fam_struct_ptr(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(cpuid)
}

/// Has signals on a connection counted by `eventfd`, or no longer if there is none.
///
/// # Errors
///
/// As the ioctl: the connection is taken, or unknown, or above 24 bits.
pub(crate) fn set_signal_eventfd(
    vm: &VmFd,
    connection_id: u32,
    eventfd: Option<&EventFd>,
) -> io::Result<()> {
    let request = kvm_hyperv_eventfd {
        conn_id: connection_id,
        fd: eventfd.map_or(-1, AsRawFd::as_raw_fd),
        flags: if eventfd.is_some() {
            0
        } else {
            KVM_HYPERV_EVENTFD_DEASSIGN
        },
        ..Default::default()
    };
    // SAFETY: `vm` is a VM of KVM, which only reads the structure; it holds its own reference on the file behind `fd`.
    let result = unsafe { ioctl_with_ref(vm, number::KVM_HYPERV_EVENTFD(), &request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// A route from an interrupt number to a SINT of a VP.
pub(crate) fn sint_route(gsi: u32, vp: u32, sint: u8) -> kvm_irq_routing_entry {
    let mut route = kvm_irq_routing_entry {
        gsi,
        type_: KVM_IRQ_ROUTING_HV_SINT,
        ..Default::default()
    };
    route.u.hv_sint = kvm_irq_routing_hv_sint {
        vcpu: vp,
        sint: u32::from(sint),
    };
    route
}

/// Why a VP came out with `KVM_EXIT_HYPERV`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HypervExit {
    /// It wrote a SynIC register; these are all that place the SynIC.
    Synic(SynicRegisters),
    /// It made a hypercall that is not KVM's own; see [`set_hypercall_result`].
    Hypercall {
        /// The control word.
        control: u64,
        /// Two input registers: address of the input and of the output, or 16 bytes of fast input.
        input: [u64; 2],
    },
    /// Something that was not asked for.
    Unknown(u32),
}

/// The registers of a VP's SynIC that the device side needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SynicRegisters {
    /// `HV_X64_MSR_SCONTROL`.
    pub(crate) scontrol: u64,
    /// `HV_X64_MSR_SIEFP`.
    pub(crate) siefp: u64,
    /// `HV_X64_MSR_SIMP`.
    pub(crate) simp: u64,
}

/// Reads the payload of `KVM_EXIT_HYPERV`. Only right after that exit.
pub(crate) fn exit_payload(vcpu: &mut VcpuFd) -> HypervExit {
    let run = vcpu.get_kvm_run();
    // SAFETY: The caller has just seen this kind of exit. All of the union's members are plain integers, so that even a
    // wrong one is initialised: the run page is zeroed memory that KVM writes.
    let exit = unsafe { run.__bindgen_anon_1.hyperv };
    match exit.type_ {
        KVM_EXIT_HYPERV_SYNIC => {
            // SAFETY: The type says which member it is; all are integers.
            let synic = unsafe { exit.u.synic };
            HypervExit::Synic(SynicRegisters {
                scontrol: synic.control,
                siefp: synic.evt_page,
                simp: synic.msg_page,
            })
        }
        KVM_EXIT_HYPERV_HCALL => {
            // SAFETY: As above.
            let call = unsafe { exit.u.hcall };
            HypervExit::Hypercall {
                control: call.input,
                input: call.params,
            }
        }
        other => HypervExit::Unknown(other),
    }
}

/// Sets the result word that the guest gets when the VP runs again. Only after [`HypervExit::Hypercall`].
pub(crate) fn set_hypercall_result(vcpu: &mut VcpuFd, result: u64) {
    vcpu.get_kvm_run().__bindgen_anon_1.hyperv.u.hcall.result = result;
}

/// What KVM says about `KVM_EXIT_INTERNAL_ERROR`: the kind and its data. Only right after that exit.
pub(crate) fn internal_error(vcpu: &mut VcpuFd) -> (u32, Vec<u64>) {
    let run = vcpu.get_kvm_run();
    // SAFETY: As in `exit_payload`: all members are integers in initialised memory.
    let internal = unsafe { run.__bindgen_anon_1.internal };
    let count = usize::try_from(internal.ndata).unwrap_or(0);
    (
        internal.suberror,
        internal.data.iter().take(count).copied().collect(),
    )
}
