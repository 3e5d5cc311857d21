/* SPDX-License-Identifier: GPL-2.0 */
/* One-line shims of the kernel's macros and inline functions that vmbus_drv needs; bindgen reads this file. */
#ifndef VIRIDIAN_VMBUS_DRV_SHIM_H
#define VIRIDIAN_VMBUS_DRV_SHIM_H

#include <linux/types.h>

void rust_helper_hv_copy(void *to, const void *from, size_t len);
void *rust_helper_hv_acpi_parent(void *device);
void rust_helper_hv_mdelay(unsigned int ms);
int rust_helper_hv_notifier_from_errno(int error);
bool rust_helper_hv_is_managed_irq_cpu(unsigned int cpu);
unsigned int rust_helper_hv_max_version(void);
int rust_helper_hv_match_driver_override(void *device, const void *driver);
void rust_helper_hv_local_bh_disable(void);
void rust_helper_hv_local_bh_enable(void);

#endif
