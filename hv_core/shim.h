/* SPDX-License-Identifier: GPL-2.0 */
/* One-line shims of the kernel's macros and inline functions that hv_core needs; bindgen reads this file. */
#ifndef VIRIDIAN_HV_CORE_SHIM_H
#define VIRIDIAN_HV_CORE_SHIM_H

#include <linux/spinlock_types.h>
#include <linux/types.h>

void rust_helper_hv_cpuid(u32 leaf, u32 *regs);
int rust_helper_hv_rdmsr_safe(u32 msr, u64 *value);
int rust_helper_hv_wrmsr_safe(u32 msr, u64 value);
u64 rust_helper_hv_rdtsc(void);
u64 rust_helper_hv_static_call(u64 control, u64 input, u64 output);
u64 rust_helper_hv_page_call(u64 control, u64 input, u64 output);
u64 rust_helper_hv_hypercall_page_pfn(void);
void *rust_helper_hv_tsc_page(void);
bool rust_helper_hv_builtin_vmbus(void);
bool rust_helper_hv_kernel_runs_hyperv(void);
unsigned long rust_helper_hv_local_irq_save(void);
void rust_helper_hv_local_irq_restore(unsigned long flags);
unsigned long rust_helper_hv_spin_lock_irqsave(spinlock_t *lock);
bool rust_helper_hv_spin_trylock_irqsave(spinlock_t *lock, unsigned long *flags);
void rust_helper_hv_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags);
u64 rust_helper_hv_virt_to_phys(void *address);
bool rust_helper_hv_cpu_online(unsigned int cpu);
int rust_helper_hv_cpu_to_node(unsigned int cpu);
void rust_helper_hv_sync_set_bit(long bit, void *address);
unsigned int rust_helper_hv_memalloc_noio_save(void);
void rust_helper_hv_memalloc_noio_restore(unsigned int flags);

/* Constants that are macros with casts or live behind ones. */
const u32 RUST_CONST_HELPER_HV_CALLBACK_VECTOR = HYPERVISOR_CALLBACK_VECTOR;
const u32 RUST_CONST_HELPER_HV_LINUX_VERSION = LINUX_VERSION_CODE;

#endif
