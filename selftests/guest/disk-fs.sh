# SPDX-License-Identifier: GPL-2.0
# A file system on sectors of either size: made, mounted, written and verified by fio, whole afterwards.
# guest: default
# drivers: viridian stock
# hosts: hvhost
# needs: host storage
# disks: 16M
# host-options: --disk ram=96M --disk ram=64M,lun=1,sector=4096 --disk ram=16M,lun=2,ro --disk file=$DISK0,lun=3 --disk file=$DISK0,lun=4,dvd
# timeout: 120 300
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./storage.sh

plan 9
check "the driver loads" load_storage
check "the disks appear" all_appear 0 1
small=$(disk 0) large=$(disk 1)
check "mkfs.ext4 on sectors of 512 bytes" make_and_mount "$small" /run/small
check "mkfs.ext4 on sectors of 4096 bytes" make_and_mount "$large" /run/large
for _ in $(seq "$(rounds 1 10)"); do
    verified small=/run/small/file large=/run/large/file > /run/fio || failed_round=1
done
check "fio finds what it wrote" test -z "$failed_round"
[ -z "$failed_round" ] || tail -n 20 /run/fio | sed 's/^/#   /'
check "they are unmounted" umount /run/small /run/large
check "e2fsck finds nothing on sectors of 512 bytes" e2fsck -f -n "/dev/$small"
check "e2fsck finds nothing on sectors of 4096 bytes" e2fsck -f -n "/dev/$large"
rm -rf /run/small /run/large /run/fio /run/fio.job
check "the driver unloads" unload_storage
done_testing
