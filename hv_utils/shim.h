/* SPDX-License-Identifier: GPL-2.0 */
/* The module's parameters and one-line shims; bindgen reads this file. */
#ifndef VIRIDIAN_HV_UTILS_SHIM_H
#define VIRIDIAN_HV_UTILS_SHIM_H

#include <linux/types.h>

struct page;
struct vm_area_desc;

bool rust_helper_utils_timesync_implicit(void);
unsigned int rust_helper_utils_daemon_patience(void);
unsigned int rust_helper_utils_daemon_timeout(void);
unsigned int rust_helper_utils_freeze_timeout(void);
void rust_helper_utils_map_pages(struct vm_area_desc *desc, struct page **pages);
struct module *rust_helper_utils_this_module(void);

#endif
