/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the integration services need of the kernel and kernel::bindings lacks, crate utils_bindings. Only hv_utils'
 * abstraction files may name the crate.
 */
#include <linux/hyperv.h>
#include <linux/kobject.h>
#include <linux/ptp_clock_kernel.h>
#include <linux/reboot.h>
#include <linux/timekeeping.h>
#include <linux/uio_driver.h>
#include <asm/mshyperv.h>

#include "../shim.h"
