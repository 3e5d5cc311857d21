# SPDX-License-Identifier: GPL-2.0
# The kernel's own VMBus in the same guest: shows that the host serves it, and dumps what ours is compared with.
# guest: default
# boot: stock
# needs: python
# host-options: --no-ic
# timeout: 90
. ./tap.sh

balloon=525074dc-8985-46e2-8057-a307dc18a502

plan 7
check "the built-in driver has negotiated a version" grep -q "Vmbus version:" /run/dmesg
class=$(grep -l "{$balloon}" /sys/bus/vmbus/devices/*/class_id)
device=${class%/*}
check "the balloon is offered" test -n "$class"
python3 ./sysfs_dump.py unbound
is "lsvmbus as a program names it" "$(lsvmbus)" "VMBUS ID  1: [Dynamic Memory]"
check "the stock balloon driver loads" insmod /modules/stock/hv_balloon.ko
check "and binds" test -L "$device/driver"
python3 ./sysfs_dump.py bound
# The stock module can't be removed, but its driver can be unbound.
check "it can be unbound" sh -c "echo ${device##*/} > /sys/bus/vmbus/drivers/hv_balloon/unbind"
refuses "and is" test -e "$device/driver"
done_testing
