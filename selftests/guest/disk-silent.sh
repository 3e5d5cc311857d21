# SPDX-License-Identifier: GPL-2.0
# The driver unloads although the host says nothing any more: a flush of the cache is waited for no longer than its own
# time. The stock driver never ends.
# guest: default
# drivers: viridian
# hosts: hvhost
# needs: host storage
# cpus: 4
# host-options: --disk ram=96M --disk ram=64M,lun=1 --sub-channels 3
# timeout: 120
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./storage.sh

plan 6
check "the driver loads" load_storage
check "the disks appear" all_appear 0 1
impatient 0 1
check "something is written" dd if=/dev/zero of="/dev/$(disk 0)" bs=4k count=10 oflag=direct
# Whoever looks at a new disk has ended: what it reads would hold the driver.
within 20 grep -qx 0 /sys/module/storvsc/refcnt
ask fault channel scsi0 direction from-guest type IN_BAND probability 1.0 action '"drop"' > /dev/null
ask fault channel scsi0 direction from-guest type GPA_DIRECT probability 1.0 action '"drop"' > /dev/null
{ rmmod storvsc; echo $? > /run/ended; } &
check "the driver unloads in time" within 40 test -s /run/ended
is "without an error" "$(cat /run/ended)" 0
ask faults_clear > /dev/null
wait
rm -f /run/ended
check "and so does the bus" unload_bus
done_testing
