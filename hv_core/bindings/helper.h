/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The quarantine of generated bindings, crate hv_bindings: the functions, variables and constants that
 * kernel::bindings lacks. Types are never generated, they come from kernel::bindings, so that nothing needs a cast.
 * Only Rust files named after the C interface that they wrap may name the crate.
 */
#include <linux/version.h>
#include <linux/panic_notifier.h>
#include <asm/irq_vectors.h>
#include <asm/mshyperv.h>

#include "../shim.h"
#include "../../vmbus_drv/shim.h"
