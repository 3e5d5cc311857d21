# SPDX-License-Identifier: GPL-2.0
# From one channel to as many as the host grants, at both versions of the protocol; CPUs go and come under load; and what
# becomes of a load when the driver is to go.
# guest: default
# drivers: viridian stock
# hosts: hvhost
# needs: host storage
# cpus: 4
# host-options: --disk ram=96M --disk ram=64M,lun=1 --sub-channels 3
# timeout: 240
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./storage.sh

# with_channels COUNT: data is verified through so many queues.
with_channels() {
    load_storage storvsc_max_hw_queues="$1" && all_appear 0 1 &&
        [ "$(echo "/sys/block/$(disk 0)/mq"/*/ | wc -w)" = "$1" ] &&
        SIZE=2m verified a="/dev/$(disk 0)" b="/dev/$(disk 1)" > /run/fio && unload_storage
}

# load_on DISK: verifies data again and again until /run/enough is there.
load_on() {
    while [ ! -e /run/enough ] && [ ! -e /run/broken ]; do SIZE=4m verified "load=/dev/$1" || touch /run/broken; done > /run/fio 2>&1
}

# cpus_go_and_come: each but the first; with the stock bus, one that has a channel refuses.
cpus_go_and_come() {
    gone=0
    for cpu in 1 2 3; do
        echo 0 > /sys/devices/system/cpu/cpu$cpu/online && gone=$((gone + 1))
        sleep 1
        echo 1 > /sys/devices/system/cpu/cpu$cpu/online
    done 2> /dev/null
    stock || [ $gone = 3 ]
}

in_use=storvsc
if stock; then in_use=hv_storvsc; fi
plan 14
for count in 1 2 3 4; do check "with $count channels" with_channels $count; done

# The host refuses the first version that is proposed.
ask fault channel scsi0 direction from-guest nth 2 action '{"error-status":3221225561}' > /dev/null
check "the driver loads again" load_storage
check "the disks appear" all_appear 0 1
is "the version is the older one" "$(of_device scsi0 .status.version)" 6.0
check "data is verified" sh -c ". ./storage.sh; SIZE=4m verified a=/dev/$(disk 0) > /run/fio"
ask faults_clear > /dev/null

load_on "$(disk 0)" &
sleep 4
check "CPUs go and come" cpus_go_and_come
refuses "a driver with a disk in use does not go" sh -c "exec 3< /dev/$(disk 0); rmmod $in_use"
touch /run/enough
wait
refuses "the load saw nothing of that" test -e /run/broken
[ ! -e /run/broken ] || tail -n 20 /run/fio | sed 's/^/#   /'
rm -f /run/enough

# By way of sysfs it goes in any case.
load_on "$(disk 0)" &
sleep 4
device=$(controller scsi0)
{ echo "${device##*/}" > $bus/drivers/hv_storvsc/unbind; touch /run/unbound; } &
check "unbound under load, the controller goes" within 60 test -e /run/unbound
check "and the load is told" within 30 test -e /run/broken
wait
rm -f /run/broken /run/unbound /run/fio /run/fio.job
check "the driver unloads" unload_storage
done_testing
