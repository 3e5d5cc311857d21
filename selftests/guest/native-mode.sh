# SPDX-License-Identifier: GPL-2.0
# The stock kernel keeps its hands off VMBus when booted with initcall_blacklist=hv_acpi_init: what native mode rests on.
# guest: default
# timeout: 30
. ./tap.sh

plan 6
check "the kernel sees a Hyper-V hypervisor" grep -q "Hypervisor detected: Microsoft Hyper-V" /run/dmesg
check "the ACPI device VMBUS is there" test -d /sys/bus/acpi/devices/VMBUS:00
refuses "there is no bus vmbus" test -e /sys/bus/vmbus
refuses "no driver holds the VMBUS device" test -e /sys/bus/acpi/devices/VMBUS:00/physical_node/driver
refuses "the stock balloon driver refuses" insmod /modules/stock/hv_balloon.ko
check "with ENODEV" said "No such device"
done_testing
