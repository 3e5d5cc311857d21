# SPDX-License-Identifier: GPL-2.0
# fio writes and verifies in many manners: sectors of 512 and 4096 bytes, 1 to 8 jobs, pieces of 512 bytes to 1 MiB,
# few and many at a time, each pair of settings at least once; pieces of 512 bytes only where sectors have as many.
# guest: default
# drivers: viridian stock
# hosts: hvhost
# needs: host storage
# disks: 16M
# host-options: --disk ram=96M --disk ram=64M,lun=1,sector=4096 --disk ram=16M,lun=2,ro --disk file=$DISK0,lun=3 --disk file=$DISK0,lun=4,dvd
# timeout: 480
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./storage.sh

# manner LUN JOBS PIECES DEPTH: each job has 2 MiB of its own, of which small pieces fill a quarter.
manner() {
    case $3 in
    *-4k) size=512k ;;
    *) size=2m ;;
    esac
    fio --name=manner --filename="/dev/$(disk "$1")" --numjobs="$2" --bsrange="$3" --iodepth="$4" --size=$size \
        --offset_increment=2m --rw=randwrite --direct=1 --ioengine=libaio --verify=crc32c --verify_fatal=1 --thread \
        --allow_file_create=0 --group_reporting --output=/run/fio || { tail -n 20 /run/fio; return 1; }
}

plan 23
check "the driver loads" load_storage
check "the disks appear" all_appear 0 1
while read -r lun jobs pieces depth; do
    check "LUN $lun, $jobs jobs, pieces of $pieces, depth $depth" manner "$lun" "$jobs" "$pieces" "$depth" < /dev/null
done <<END
0 1 512-4k 1
0 2 512-4k 32
0 4 512-4k 8
0 8 512-4k 1
0 1 4k-4k 32
1 2 4k-4k 8
0 4 4k-4k 1
1 8 4k-4k 32
1 1 64k-64k 8
0 2 64k-64k 32
1 4 64k-64k 1
0 8 64k-64k 8
1 1 1m-1m 32
0 2 1m-1m 1
1 4 1m-1m 8
0 8 1m-1m 32
0 1 4k-1m 8
1 2 4k-1m 1
0 4 4k-1m 32
1 8 4k-1m 1
END
rm -f /run/fio
check "the driver unloads" unload_storage
done_testing
