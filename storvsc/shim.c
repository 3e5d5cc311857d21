// SPDX-License-Identifier: GPL-2.0
#include <linux/moduleparam.h>

#include "shim.h"

/* module! would not show these in sysfs. The names are those of the stock driver, where it has them. */
static int logging_level = 1;
module_param(logging_level, int, 0644);
MODULE_PARM_DESC(logging_level, "Log failed commands: 0 none, 1 errors (default), 2 warnings too");

static unsigned int storvsc_ringbuffer_size = 128 * 1024;
module_param(storvsc_ringbuffer_size, uint, 0444);
MODULE_PARM_DESC(storvsc_ringbuffer_size, "Bytes of each ring (default 131072)");

static unsigned int storvsc_vcpus_per_sub_channel = 1;
module_param(storvsc_vcpus_per_sub_channel, uint, 0444);
MODULE_PARM_DESC(storvsc_vcpus_per_sub_channel, "CPUs that share a channel, where the host grants as many (default 1)");

static unsigned int storvsc_max_hw_queues;
module_param(storvsc_max_hw_queues, uint, 0644);
MODULE_PARM_DESC(storvsc_max_hw_queues, "Most channels of a controller, each with a queue (default 0: no limit)");

static unsigned int storvsc_poll_queues;
module_param(storvsc_poll_queues, uint, 0444);
MODULE_PARM_DESC(storvsc_poll_queues, "Queues for polled I/O (default 0)");

static unsigned int io_timeout_s;
module_param(io_timeout_s, uint, 0644);
MODULE_PARM_DESC(io_timeout_s, "Seconds after which a command is given up by resets (default 0: never)");

unsigned int rust_helper_scsi_ring_size(void)
{
	return storvsc_ringbuffer_size;
}

unsigned int rust_helper_scsi_vcpus_per_sub_channel(void)
{
	return storvsc_vcpus_per_sub_channel;
}

unsigned int rust_helper_scsi_max_hw_queues(void)
{
	return READ_ONCE(storvsc_max_hw_queues);
}

unsigned int rust_helper_scsi_poll_queues(void)
{
	return storvsc_poll_queues;
}

unsigned int rust_helper_scsi_io_timeout(void)
{
	return READ_ONCE(io_timeout_s);
}

int rust_helper_scsi_logging_level(void)
{
	return READ_ONCE(logging_level);
}
