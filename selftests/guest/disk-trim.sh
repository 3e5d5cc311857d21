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

# trimmed WHAT LUN WRITTEN LEAST: of so many bytes that were written to a file system and removed again, the host of the LUN
# has at least so many back. Six points. The file system writes a little in between, and the host gives back whole pieces
# only.
trimmed() {
    name=$(disk "$2")
    check "$1 takes discards" test "$(cat "/sys/block/$name/queue/discard_max_bytes")" -gt 0
    check "it is mounted" make_and_mount "$name" /run/trimmed -E nodiscard,lazy_itable_init=0,lazy_journal_init=0
    head -c "$3" /dev/urandom > /run/trimmed/file
    sync
    full=$(allocated "$2")
    check "the host holds what was written" test "$full" -ge "$3"
    rm /run/trimmed/file
    sync
    check "fstrim works" /usr/sbin/fstrim -v /run/trimmed
    empty=$(allocated "$2")
    note "the host held $full bytes, and then $empty"
    check "the host has them back" test $((full - empty)) -ge "$4"
    check "it is unmounted" umount /run/trimmed
    rmdir /run/trimmed
}

plan 15
check "the driver loads" load_storage
check "the disks appear" all_appear 0 3
trimmed "a disk in memory" 0 40000000 36000000
trimmed "a disk in a file" 3 8000000 7000000
check "the driver unloads" unload_storage
done_testing
