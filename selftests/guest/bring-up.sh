# SPDX-License-Identifier: GPL-2.0
# Load, connect, list, open, exchange, close, unload.
# guest: default
# kernels: stable testing
# timeout: 60
. ./tap.sh
. ./stack.sh

plan 13
check "hv_core loads" load_core
check "the hypervisor is described" grep -q . $debug/hypervisor
check "the SynIC is on" grep -q . $debug/synic
check "vmbus_drv loads" load_bus
check "it has negotiated a version" within 10 grep -q . $debug/vmbus
check "the balloon is offered" within 10 balloon_device
is "its modalias is the stock one" "$(cat "$(balloon_device)/modalias")" "vmbus:dc7450528589e2468057a307dc18a502"
check "the balloon's driver loads" load_balloon
check "it is bound" within 10 bound
check "driver and host talk" talking
check "ten status reports have gone out" within 30 grep -qE 'reports +[1-9][0-9]+' $debug/balloon
check "everything unloads" unload_stack
refuses "no bus is left" test -e $bus
done_testing
