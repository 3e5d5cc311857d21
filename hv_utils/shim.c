// SPDX-License-Identifier: GPL-2.0
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>

#include "shim.h"

/* module! would not show it in sysfs. Name, type and mode are those of the stock driver. */
static bool timesync_implicit;
module_param(timesync_implicit, bool, 0644);
MODULE_PARM_DESC(timesync_implicit, "Set the clock by a sample, too, where it is five seconds behind (default N)");

/* The stock driver has these as constants. */
static unsigned int daemon_patience_s = 55;
module_param(daemon_patience_s, uint, 0444);
MODULE_PARM_DESC(daemon_patience_s, "Seconds that the host of KVP waits for a daemon to be started (default 55)");

static unsigned int daemon_timeout_s = 30;
module_param(daemon_timeout_s, uint, 0444);
MODULE_PARM_DESC(daemon_timeout_s, "Seconds that a daemon may take for one request (default 30)");

static unsigned int freeze_timeout_s = 15 * 60;
module_param(freeze_timeout_s, uint, 0444);
MODULE_PARM_DESC(freeze_timeout_s, "Seconds that freezing may take, and that file systems are frozen at most (default 900)");

unsigned int rust_helper_utils_daemon_patience(void)
{
	return daemon_patience_s;
}

unsigned int rust_helper_utils_daemon_timeout(void)
{
	return daemon_timeout_s;
}

unsigned int rust_helper_utils_freeze_timeout(void)
{
	return freeze_timeout_s;
}

bool rust_helper_utils_timesync_implicit(void)
{
	return READ_ONCE(timesync_implicit);
}

void rust_helper_utils_map_pages(struct vm_area_desc *desc, struct page **pages)
{
	vma_desc_set_flags(desc, VMA_DONTEXPAND_BIT, VMA_DONTDUMP_BIT);
	mmap_action_map_kernel_pages_full(desc, pages);
}

struct module *rust_helper_utils_this_module(void)
{
	return THIS_MODULE;
}
