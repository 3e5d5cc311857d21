# SPDX-License-Identifier: GPL-2.0
# Where the kernel's own VMBus is active, the modules refuse with EBUSY and name the boot parameter.
# guest: default
# boot: stock
# timeout: 30
. ./tap.sh
. ./stack.sh

plan 6
dmesg -c > /dev/null
refuses "hv_core refuses" insmod /modules/hv_core.ko
check "with EBUSY" said "Device or resource busy"
is "and one line" "$(lines hv_core | wc -l)" 1
is "that names the boot parameter" "$(lines hv_core | grep -c 'initcall_blacklist=hv_acpi_init')" 1
refuses "nothing is left" test -e /sys/kernel/debug/viridian
# That it works is what stock-bus shows, in the same guest where both are run.
check "the built-in VMBus is unharmed" grep -q . /sys/bus/vmbus/devices/*/id
done_testing
