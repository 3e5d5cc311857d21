// SPDX-License-Identifier: GPL-2.0
#include <linux/module.h>
#include <linux/moduleparam.h>

#include "shim.h"

/* module! would not show it in sysfs. Name, type and mode are those of the stock driver. */
static bool timesync_implicit;
module_param(timesync_implicit, bool, 0644);
MODULE_PARM_DESC(timesync_implicit, "Set the clock by a sample, too, where it is five seconds behind (default N)");

bool rust_helper_utils_timesync_implicit(void)
{
	return READ_ONCE(timesync_implicit);
}

struct module *rust_helper_utils_this_module(void)
{
	return THIS_MODULE;
}
