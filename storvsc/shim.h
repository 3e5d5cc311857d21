/* SPDX-License-Identifier: GPL-2.0 */
/* The module's parameters; bindgen reads this file. */
#ifndef VIRIDIAN_STORVSC_SHIM_H
#define VIRIDIAN_STORVSC_SHIM_H

#include <linux/types.h>

unsigned int rust_helper_scsi_ring_size(void);
unsigned int rust_helper_scsi_vcpus_per_sub_channel(void);
unsigned int rust_helper_scsi_max_hw_queues(void);
unsigned int rust_helper_scsi_poll_queues(void);
unsigned int rust_helper_scsi_io_timeout(void);
int rust_helper_scsi_logging_level(void);

#endif
