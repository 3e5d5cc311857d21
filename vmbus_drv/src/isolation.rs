// SPDX-License-Identifier: GPL-2.0

//! CPUs that an administrator keeps free of something (`linux/sched/isolation.h`).

use hv_core::Cpu;

/// Whether `cpu` may have the interrupts of devices, which `isolcpus=managed_irq` forbids. Any context.
pub(crate) fn takes_managed_irqs(cpu: Cpu) -> bool {
    // SAFETY: The number is that of a possible CPU.
    unsafe { hv_bindings::rust_helper_hv_is_managed_irq_cpu(cpu.number()) }
}
