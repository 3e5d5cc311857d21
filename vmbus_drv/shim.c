// SPDX-License-Identifier: GPL-2.0
#include <linux/acpi.h>
#include <linux/bottom_half.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/hyperv.h>
#include <linux/moduleparam.h>
#include <linux/notifier.h>
#include <linux/sched/isolation.h>
#include <linux/string.h>

#include "shim.h"

/* module! would not show it in sysfs. The default is the best version that we speak. */
static unsigned int max_version = VERSION_WIN10_V6_0;
module_param(max_version, uint, 0444);
MODULE_PARM_DESC(max_version, "Highest VMBus version to propose: major number in the upper 16 bits, minor in the lower");

void rust_helper_hv_copy(void *to, const void *from, size_t len)
{
	memcpy(to, from, len);
}

void *rust_helper_hv_acpi_parent(void *device)
{
	return acpi_dev_parent(device);
}

void rust_helper_hv_mdelay(unsigned int ms)
{
	mdelay(ms);
}

int rust_helper_hv_notifier_from_errno(int error)
{
	return notifier_from_errno(error);
}

bool rust_helper_hv_is_managed_irq_cpu(unsigned int cpu)
{
	return housekeeping_cpu(cpu, HK_TYPE_MANAGED_IRQ);
}

unsigned int rust_helper_hv_max_version(void)
{
	return max_version;
}

int rust_helper_hv_match_driver_override(void *device, const void *driver)
{
	return device_match_driver_override(device, driver);
}

void rust_helper_hv_local_bh_disable(void)
{
	local_bh_disable();
}

void rust_helper_hv_local_bh_enable(void)
{
	local_bh_enable();
}
