# SPDX-License-Identifier: GPL-2.0
# Where the kernel has not set Hyper-V up, hv_core does: guest id, hypercall page of its own, reference time. There is
# no interrupt to be had, so vmbus_drv refuses.
# guest: default
# boot: nopv
# timeout: 60
. ./tap.sh
. ./stack.sh

ticks() { cat $debug/reference_time; }

plan 8
check "hv_core loads" load_core
check "the hypervisor is described" grep -q . $debug/hypervisor
check "hypercalls go through a page of ours" grep -q "^route  *own page" $debug/hypercall
first=$(ticks)
check "the reference time runs" test "$(ticks)" -gt "$first"
refuses "vmbus_drv refuses" load_bus
check "with ENODEV" said "No such device"
check "hv_core unloads" rmmod hv_core
check "and loads again" load_core
done_testing
