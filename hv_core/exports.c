// SPDX-License-Identifier: GPL-2.0
/* Exports the Rust API of hv_core and of the crates below it to the other modules. */
#include <linux/export.h>

#define EXPORT_SYMBOL_RUST_GPL(symbol) extern int symbol; EXPORT_SYMBOL_GPL(symbol)

#include "exports_generated.h"
