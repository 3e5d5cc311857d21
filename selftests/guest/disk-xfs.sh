# SPDX-License-Identifier: GPL-2.0
# XFS on sectors of either size: made, mounted, written and verified by fio, whole afterwards.
# guest: default
# drivers: viridian stock
# hosts: hvhost
# needs: host storage
# host-options: --disk ram=320M --disk ram=320M,lun=1,sector=4096
# timeout: 150
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./storage.sh

# make_xfs DISK FOLDER
make_xfs() { mkdir -p "$2" && mkfs.xfs -q -f "/dev/$1" && stock_module xfs && mount -t xfs "/dev/$1" "$2"; }

plan 9
check "the driver loads" load_storage
check "the disks appear" all_appear 0 1
small=$(disk 0) large=$(disk 1)
check "mkfs.xfs on sectors of 512 bytes" make_xfs "$small" /run/small
check "mkfs.xfs on sectors of 4096 bytes" make_xfs "$large" /run/large
check "fio finds what it wrote" sh -c ". ./storage.sh; verified small=/run/small/file large=/run/large/file > /run/fio"
check "they are unmounted" umount /run/small /run/large
check "xfs_repair finds nothing on sectors of 512 bytes" xfs_repair -n "/dev/$small"
check "xfs_repair finds nothing on sectors of 4096 bytes" xfs_repair -n "/dev/$large"
rm -rf /run/small /run/large /run/fio /run/fio.job
check "the driver unloads" unload_storage
done_testing
