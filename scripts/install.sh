#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# install.sh KDIR: installs the modules that were built for KDIR's kernel under /lib/modules/RELEASE/updates.
set -euo pipefail
cd "$(dirname "$0")/.."
release=$(make -s -C "$1" kernelrelease)
target=${DESTDIR:-}/lib/modules/$release/updates
[ -d "${DESTDIR:-}/lib/modules/$release" ] || { echo "install: kernel $release is not installed here" >&2; exit 1; }
install -D -m 644 -t "$target" "build/modules/$release"/{hv_core,vmbus_drv,hv_utils}.ko
if [ -z "${DESTDIR:-}" ]; then depmod "$release"; fi
echo "install: hv_core.ko, vmbus_drv.ko and hv_utils.ko are in $target"
echo "install: hv_utils.ko goes before the stock driver of that name, which the kernel's own VMBus needs; to go back, remove it"
echo "install: they load when the kernel is booted with initcall_blacklist=hv_acpi_init; README.md says what that costs"
