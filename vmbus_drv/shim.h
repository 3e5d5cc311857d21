/* SPDX-License-Identifier: GPL-2.0 */
/* One-line shims of the kernel's macros and inline functions that vmbus_drv needs; bindgen reads this file. */
#ifndef VIRIDIAN_VMBUS_DRV_SHIM_H
#define VIRIDIAN_VMBUS_DRV_SHIM_H

#include <linux/types.h>

#endif
