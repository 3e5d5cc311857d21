// SPDX-License-Identifier: GPL-2.0

//! A small VMM on KVM that poses as Hyper-V: a machine for `vmbus_host` and its devices.

// `kvm_ioctl` and `memory` say why they need it.
#![deny(unsafe_code)]

mod acpi;
mod boot;
mod clock;
mod console;
mod control;
mod cpuid;
mod devices;
mod ending;
#[expect(unsafe_code, reason = "ioctls and the union that KVM fills")]
mod kvm_ioctl;
mod machine;
#[expect(unsafe_code, reason = "a VM is given its memory by address")]
mod memory;
mod options;
mod partition;
mod ports;
mod power;
mod program;
mod reactor;
mod report;
mod rtc;
mod sync;
mod synic;
mod uart;
mod vcpu;

pub use program::run;
