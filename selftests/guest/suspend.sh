# SPDX-License-Identifier: GPL-2.0
# Suspend and hibernation are refused with EOPNOTSUPP while VMBus is connected, and possible again afterwards.
# guest: default
# timeout: 60
. ./tap.sh
. ./stack.sh

sleep_now() { echo "$1" 2>&1 > /sys/power/state; }

plan 7
check "the drivers load" load_stack
dmesg -c > /dev/null
refuses "suspend to idle is refused" sleep_now freeze
is "with one line" "$(dmesg | grep -c 'suspend and hibernation are not supported')" 1
check "with EOPNOTSUPP" said "Operation not supported"
is "hibernation reads 0" "$(cat $bus/hibernation)" 0
check "the device still talks" grep -qE 'failures +0' $debug/balloon
check "everything unloads" unload_stack
done_testing
