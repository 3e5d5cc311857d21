# SPDX-License-Identifier: GPL-2.0
# The way back from native mode: booted without the parameter, the same Debian has its root on the stock driver. The
# services are missing as long as our hv_utils is installed.
# guest: fresh
# hosts: hvhost
# boot: stock
# disks: root
# host-options: --disk file=$DISK0,thin=off
# cmdline: root=LABEL=viridian ro systemd.show_status=no
# memory: 1024
# timeout: 200
. ./tap.sh
. ./stack.sh
. ./systemd.sh

plan 4
check "systemd has booted, and no unit has failed" booted
is "the root file system is on a disk of VMBus" "$(root_driver)" hv_storvsc
is "its driver is the stock one" "$(basename "$(readlink -f $bus/drivers/hv_storvsc/module)")" hv_storvsc
refuses "ours are not there" test -e /sys/module/vmbus_drv
done_testing
