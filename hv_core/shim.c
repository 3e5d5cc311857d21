// SPDX-License-Identifier: GPL-2.0
#include <linux/cpumask.h>
#include <linux/hyperv.h>
#include <linux/io.h>
#include <linux/irqflags.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/spinlock.h>
#include <linux/topology.h>
#include <linux/version.h>
#include <asm/cpuid/api.h>
#include <asm/irq_vectors.h>
#include <asm/mshyperv.h>
#include <asm/msr.h>
#include <asm/sync_bitops.h>
#include <asm/tsc.h>
#include <clocksource/hyperv_timer.h>

#include "shim.h"

#ifndef CONFIG_SMP
#error "Viridian does not support kernels without CONFIG_SMP: their barriers are none, and the host runs on other processors"
#endif
#ifdef CONFIG_PREEMPT_RT
#error "Viridian does not support kernels with CONFIG_PREEMPT_RT: its interrupt handler takes spinlocks, which sleep there"
#endif

/* hypercall_page.S */
u64 viridian_hypercall(u64 control, u64 input, u64 output);
extern const u8 viridian_hypercall_page[];

void rust_helper_hv_cpuid(u32 leaf, u32 *regs)
{
	cpuid(leaf, &regs[0], &regs[1], &regs[2], &regs[3]);
}

int rust_helper_hv_rdmsr_safe(u32 msr, u64 *value)
{
	return rdmsrq_safe(msr, value);
}

int rust_helper_hv_wrmsr_safe(u32 msr, u64 value)
{
	return wrmsrq_safe(msr, value);
}

u64 rust_helper_hv_rdtsc(void)
{
	return rdtsc_ordered();
}

u64 rust_helper_hv_static_call(u64 control, u64 input, u64 output)
{
	return static_call_mod(hv_hypercall)(control, input, output);
}

u64 rust_helper_hv_page_call(u64 control, u64 input, u64 output)
{
	return viridian_hypercall(control, input, output);
}

u64 rust_helper_hv_hypercall_page_pfn(void)
{
	return vmalloc_to_pfn(viridian_hypercall_page);
}

void *rust_helper_hv_tsc_page(void)
{
	return hv_get_tsc_page();
}

bool rust_helper_hv_kernel_runs_hyperv(void)
{
	return hv_is_hyperv_initialized();
}

bool rust_helper_hv_builtin_vmbus(void)
{
	return hv_vmbus_exists();
}

unsigned long rust_helper_hv_local_irq_save(void)
{
	unsigned long flags;

	local_irq_save(flags);
	return flags;
}

void rust_helper_hv_local_irq_restore(unsigned long flags)
{
	local_irq_restore(flags);
}

unsigned long rust_helper_hv_spin_lock_irqsave(spinlock_t *lock)
{
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	return flags;
}

bool rust_helper_hv_spin_trylock_irqsave(spinlock_t *lock, unsigned long *flags)
{
	return spin_trylock_irqsave(lock, *flags);
}

void rust_helper_hv_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags)
{
	spin_unlock_irqrestore(lock, flags);
}

u64 rust_helper_hv_virt_to_phys(void *address)
{
	return virt_to_phys(address);
}

bool rust_helper_hv_cpu_online(unsigned int cpu)
{
	return cpu_online(cpu);
}

int rust_helper_hv_cpu_to_node(unsigned int cpu)
{
	return cpu_to_node(cpu);
}

void rust_helper_hv_sync_set_bit(long bit, void *address)
{
	sync_set_bit(bit, address);
}

unsigned int rust_helper_hv_memalloc_noio_save(void)
{
	return memalloc_noio_save();
}

void rust_helper_hv_memalloc_noio_restore(unsigned int flags)
{
	memalloc_noio_restore(flags);
}
