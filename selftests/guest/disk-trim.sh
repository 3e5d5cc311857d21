# SPDX-License-Identifier: GPL-2.0
# fstrim gives back to the host what a file system no longer uses.
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

plan 9
check "the driver loads" load_storage
check "LUN 0 appears" appears 0
small=$(disk 0)
check "the disk takes discards" test "$(cat "/sys/block/$small/queue/discard_max_bytes")" -gt 0
check "it is mounted" make_and_mount "$small" /run/small \
    -E nodiscard,lazy_itable_init=0,lazy_journal_init=0
head -c 40000000 /dev/urandom > /run/small/file
sync
full=$(allocated 0)
check "the host holds what was written" test "$full" -ge 40000000
rm /run/small/file
sync
check "fstrim works" /usr/sbin/fstrim -v /run/small
empty=$(allocated 0)
note "the host held $full bytes, and then $empty"
# The file system writes a little in between, and the host gives back whole pieces only.
check "the host has them back" test $((full - empty)) -ge 36000000
check "it is unmounted" umount /run/small
rm -rf /run/small
check "the driver unloads" unload_storage
done_testing
