# SPDX-License-Identifier: GPL-2.0
# The fast way to the disks of an emulated IDE controller: a device each, whose name tells which disk it is.
# guest: default
# drivers: viridian stock
# hosts: hvhost
# needs: host storage
# host-options: --ide ram=32M --ide ram=48M,target=1
# timeout: 90
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./storage.sh

# place DISK: path, target and LUN of a disk.
place() { basename "$(readlink -f "/sys/block/$1/device")" | cut -d : -f 2-; }

plan 8
check "the driver loads" load_storage
check "the first disk appears" appears 0 ide0.0
check "the second disk appears" appears 0 ide0.1
first=$(disk 0 ide0.0) second=$(disk 0 ide0.1)
is "the first is target 0" "$(place "$first")" 0:0:0
is "the second is target 1" "$(place "$second")" 0:1:0
is "the sizes are right" "$(bytes "$first") $(bytes "$second")" "$((32 << 20)) $((48 << 20))"
check "data is verified on both" sh -c ". ./storage.sh; SIZE=4m verified a=/dev/$first b=/dev/$second > /run/fio"
check "the driver unloads" unload_storage
rm -f /run/fio /run/fio.job
done_testing
