# SPDX-License-Identifier: GPL-2.0
# A disk grows and shrinks while it is in use: the kernel sees the new size, and a file system grows online.
# guest: default
# drivers: viridian stock
# hosts: hvhost
# needs: host storage
# disks: 16M
# host-options: --disk ram=96M --disk ram=64M,lun=1,sector=4096 --disk ram=16M,lun=2,ro --disk file=$DISK0,lun=3 --disk file=$DISK0,lun=4,dvd
# timeout: 90
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./storage.sh

# resized BYTES: the kernel has the size; a request must be sent for the host to say that it changed.
resized() { dd if="/dev/$new" of=/dev/null bs=4k count=1 iflag=direct && [ "$(bytes "$new")" = "$1" ]; }

# room FOLDER: MiB in the file system.
room() { df -m "$1" | awk 'END { print $2 }'; }

plan 13
check "the driver loads" load_storage
check "a disk is added" ask add_disk device scsi0 lun 20 ram '"32M"'
check "it appears" appears 20
new=$(disk 20)
is "with 32 MiB" "$(bytes "$new")" $((32 << 20))
check "it is mounted" make_and_mount "$new" /run/small
before=$(room /run/small)
check "the host makes it larger" ask resize_disk device scsi0 lun 20 size '"64M"'
check "the kernel sees 64 MiB" within 20 resized $((64 << 20))
check "the file system grows online" resize2fs "/dev/$new"
check "to twice its size" test "$(room /run/small)" -gt $((before * 17 / 10))
check "it is unmounted" umount /run/small
check "the host makes it smaller" ask resize_disk device scsi0 lun 20 size '"16M"'
check "the kernel sees 16 MiB" within 20 resized $((16 << 20))
ask remove_disk device scsi0 lun 20 > /dev/null
vanishes 20
rm -rf /run/small
check "the driver unloads" unload_storage
done_testing
