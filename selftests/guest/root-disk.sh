# SPDX-License-Identifier: GPL-2.0
# A Debian boots from a disk of the host in native mode: initramfs, udev and systemd find all that they need, the
# distribution's units of the integration services run, and the host shuts it down in order.
# guest: fresh
# hosts: hvhost
# disks: root
# host-options: --disk file=$DISK0,thin=off
# cmdline: root=LABEL=viridian ro systemd.show_status=no
# memory: 1024
# expect: end
# host: switched the power off
# console: systemd-shutdown.*All filesystems.* detached
# timeout: 240
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./systemd.sh

plan 12
check "systemd has booted, and no unit has failed" booted
is "the root file system is on a disk of VMBus" "$(root_driver)" hv_storvsc
is "its driver is ours" "$(basename "$(readlink -f $bus/drivers/hv_storvsc/module)")" storvsc
refuses "the stock one is not there" test -e /sys/module/hv_storvsc
check "hv_utils goes before the stock one" eval 'modinfo -F filename hv_utils | grep "/updates/hv_utils.ko$"'
# udev goes on loading drivers after systemd has started everything.
check "and is there" within 30 test -e /sys/module/hv_utils
check "hv-kvp-daemon is active" active hv-kvp-daemon
check "hv-vss-daemon is active" active hv-vss-daemon
check "hv-fcopy-uio-daemon is active" active hv-fcopy-uio-daemon
check "/dev/ptp_hyperv is there" within 20 test -c /dev/ptp_hyperv
check "the host has agreed on versions with all" all_ready shutdown heartbeat timesync kvp vss fcopy
check "the guest agrees to shut down" ask shutdown device shutdown
sleep 200
