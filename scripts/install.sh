#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# install.sh KDIR: installs the modules that were built for KDIR's kernel under /lib/modules/RELEASE/updates.
set -euo pipefail
cd "$(dirname "$0")/.."
release=$(make -s -C "$1" kernelrelease)
target=${DESTDIR:-}/lib/modules/$release/updates
[ -d "${DESTDIR:-}/lib/modules/$release" ] || { echo "install: kernel $release is not installed here" >&2; exit 1; }
install -D -m 644 -t "$target" "build/modules/$release"/{hv_core,vmbus_drv}.ko
if [ -z "${DESTDIR:-}" ]; then depmod "$release"; fi
echo "install: hv_core.ko and vmbus_drv.ko are in $target"
echo "install: they load when the kernel is booted with initcall_blacklist=hv_acpi_init; README.md says what that costs"
