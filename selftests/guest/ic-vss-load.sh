# SPDX-License-Identifier: GPL-2.0
# The host freezes a file system that is being written: the image that is taken then is whole, and writing goes on after.
# guest: default
# drivers: viridian stock
# hosts: hvhost
# needs: daemons host storage
# timeout: 120
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./ic.sh

# busy NUMBER: makes, renames and removes files, until there is a file named stop.
busy() {
    round=0
    while [ ! -e /run/stop ]; do
        round=$((round + 1))
        dd if=/dev/zero of="/run/frozen/$1.new" bs=4k count=$((round % 20)) 2> /dev/null
        mv "/run/frozen/$1.new" "/run/frozen/$1.$((round % 7))"
        echo "$round" > "/run/round.$1"
    done
}
rounds_of() { cat /run/round.1 /run/round.2 2> /dev/null | tr '\n' ' '; }
went_on() { [ "$(rounds_of)" != "$1" ]; }

plan 13
check "the driver loads" load_utils
mkdir -p /run/frozen
stock_module brd rd_nr=1 rd_size=16384 && stock_module ext4 && mkfs.ext4 -q /dev/ram0
check "there is a file system" mount -t ext4 /dev/ram0 /run/frozen
check "the daemon's device is there" within 10 test -c /dev/vmbus/hv_vss
start_daemon hv_vss_daemon
check "host and guest agree on versions" ready vss
busy 1 &
first=$!
busy 2 &
second=$!
check "it is being written" within 10 went_on ""
check "the host freezes it" within 10 ask freeze device vss
dd if=/dev/ram0 of=/run/image bs=1M 2> /dev/null
before=$(rounds_of)
sleep 1
is "nothing is written" "$(rounds_of)" "$before"
check "the image that was taken is whole" e2fsck -f -n /run/image
dd if=/dev/ram0 bs=1M 2> /dev/null | cmp - /run/image && unchanged=1
check "and is still what is there" test -n "$unchanged"
check "the host thaws it" ask thaw device vss
check "writing goes on" within 10 went_on "$before"
touch /run/stop
wait "$first" "$second"
stop_daemons
check "it can be unmounted, and is whole" eval "umount /run/frozen && e2fsck -f -n /dev/ram0"
rm -rf /run/frozen /run/image /run/stop /run/round.*
rmmod brd
check "the driver unloads" unload_utils
done_testing
