#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# install.sh KDIR: installs the modules that were built for KDIR's kernel under /lib/modules/RELEASE/updates, and a udev rule.
# install.sh --root-disk: installs what the initramfs of a root disk on VMBus needs; Documentation/root-disk.md.
# install.sh --remove: removes everything that these two have installed, for all kernels.
# With DESTDIR, the same in another tree, whose initramfs is left as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
modules="hv_core vmbus_drv storvsc hv_utils"
rules=udev/rules.d/60-viridian.rules
root_disk=$(cd packaging && find initramfs-tools modprobe.d -type f)
updates=${DESTDIR:-}/lib/modules

configure() {
    for file in "$@"; do
        install -D -m "$(stat -c %a "packaging/$file")" "packaging/$file" "${DESTDIR:-}/etc/$file"
        echo "install: /etc/$file"
    done
}

initramfs() {
    if [ -z "${DESTDIR:-}" ] && command -v update-initramfs >/dev/null; then update-initramfs -u -k all; fi
}

case $1 in
--root-disk)
    configure $root_disk
    initramfs ;;
--remove)
    for file in $rules $root_disk; do rm -fv "${DESTDIR:-}/etc/$file"; done
    for folder in "$updates"/*/updates; do
        for module in $modules; do rm -fv "$folder/$module.ko"; done
        [ ! -d "$folder" ] || depmod -b "${DESTDIR:-/}" "$(basename "$(dirname "$folder")")"
    done
    initramfs
    echo "install: boot without initcall_blacklist=hv_acpi_init from now on" ;;
*)
    release=$(make -s -C "$1" kernelrelease)
    target=$updates/$release/updates
    [ -d "$updates/$release" ] || { echo "install: kernel $release is not installed here" >&2; exit 1; }
    for module in $modules; do
        install -D -m 644 -t "$target" "build/modules/$release/$module.ko"
        # Debug information is most of a module, and an initramfs would have it in memory.
        strip --strip-debug "$target/$module.ko"
    done
    depmod -b "${DESTDIR:-/}" "$release"
    configure "$rules"
    echo "install: hv_core.ko, vmbus_drv.ko, storvsc.ko and hv_utils.ko are in $target"
    echo "install: hv_utils.ko goes before the stock driver of that name, which the kernel's own VMBus needs; to go back: make uninstall"
    echo "install: they load when the kernel is booted with initcall_blacklist=hv_acpi_init; README.md says what that costs" ;;
esac
