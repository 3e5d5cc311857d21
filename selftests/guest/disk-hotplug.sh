# SPDX-License-Identifier: GPL-2.0
# LUNs come and go while others, and they themselves, are busy.
# guest: default
# drivers: viridian stock
# hosts: hvhost
# needs: host storage
# disks: 16M
# host-options: --disk ram=96M --disk ram=64M,lun=1,sector=4096 --disk ram=16M,lun=2,ro --disk file=$DISK0,lun=3 --disk file=$DISK0,lun=4,dvd
# timeout: 360 1200
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./storage.sh

# plug LUN, unplug LUN: by the host, and seen by the kernel.
plug() { ask add_disk device scsi0 lun "$1" ram '"16M"' > /dev/null && appears "$1"; }
unplug() { ask remove_disk device scsi0 lun "$1" > /dev/null && vanishes "$1"; }

# come_and_go LUN: once, with something written in between.
come_and_go() { plug "$1" && dd if=/dev/zero of="/dev/$(disk "$1")" bs=64k count=16 oflag=direct && unplug "$1"; }

plan 10
check "the driver loads" load_storage
check "LUN 0 appears" appears 0
small=$(disk 0)
refuses "a LUN can't be added twice" ask add_disk device scsi0 lun 0 ram '"16M"'
# A load that verifies what it does, until told to end.
while [ ! -e /run/enough ]; do verified "load=/dev/$small" || touch /run/broken; done > /run/fio 2>&1 &
failures=0
count=$(rounds 10 50)
for _ in $(seq "$count"); do come_and_go 10 > /run/round 2>&1 || { failures=$((failures + 1)); sed 's/^/#   /' /run/round; }; done
is "a LUN comes and goes $count times under load" "$failures" 0
for lun in 11 12 13; do plug $lun; done
check "several are there at a time" all_appear 11 12 13
for lun in 11 12 13; do ask remove_disk device scsi0 lun $lun > /dev/null; done
check "and go at a time" all_vanish 11 12 13
plug 14
victim=/dev/$(disk 14)
while [ -b "$victim" ] && dd if=/dev/zero of="$victim" bs=64k count=200 oflag=direct; do :; done > /dev/null 2>&1 &
writer=$!
check "a LUN goes while it is being written" unplug 14
check "whoever writes to it is told" within 20 ended $writer
touch /run/enough
wait
# The writer may have made a file where the disk's node was.
[ -b "$victim" ] || rm -f "$victim"
refuses "the load saw nothing of all that" test -e /run/broken
[ ! -e /run/broken ] || tail -n 20 /run/fio | sed 's/^/#   /'
rm -f /run/enough /run/broken /run/fio /run/fio.job /run/round
check "the driver unloads" unload_storage
done_testing
