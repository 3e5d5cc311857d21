# SPDX-License-Identifier: GPL-2.0
# What the host counts is what the guest does: requests by number, signals and interrupts no more than those.
# guest: default
# drivers: viridian stock
# hosts: hvhost
# needs: host storage
# disks: 16M
# host-options: --disk ram=96M --disk ram=64M,lun=1,sector=4096 --disk ram=16M,lun=2,ro --disk file=$DISK0,lun=3 --disk file=$DISK0,lun=4,dvd
# timeout: 60
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./storage.sh

# between NUMBER LOW HIGH
between() { [ "$1" -ge "$2" ] && [ "$1" -le "$3" ]; }
grown() { echo $(($(counter scsi0 "$1") - $2)); }

plan 9
check "the driver loads" load_storage
check "LUN 0 appears" appears 0
small=$(disk 0)
# Nothing else is to be counted: what looks at a new disk has ended.
sleep 2
for name in packets_in packets_out bytes_in signals interrupts ring_full; do
    eval "$name=\$(counter scsi0 $name)"
done
check "200 blocks are read" dd if="/dev/$small" of=/dev/null bs=4k count=200 iflag=direct
check "by as many requests" between "$(grown packets_in "$packets_in")" 200 220
check "which the host has completed" between "$(grown packets_out "$packets_out")" 200 220
check "each of a header, a command and a list of pages" between $(($(grown bytes_in "$bytes_in") / 200)) 64 160
check "with at most a signal each" between "$(grown signals "$signals")" 1 220
check "and at most an interrupt each" between "$(grown interrupts "$interrupts")" 1 220
note "needless signals: $(counter scsi0 needless_signals); ring full: $(counter scsi0 ring_full), before $ring_full"
check "the driver unloads" unload_storage
done_testing
