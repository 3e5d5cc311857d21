# SPDX-License-Identifier: GPL-2.0
# A slow LUN that is busy keeps no other of its controller waiting: a writer that flushes each block goes on beside a
# reader with 64 requests on the way.
# guest: default
# drivers: viridian stock
# hosts: hvhost
# needs: host storage
# cpus: 4
# host-options: --disk ram=96M --disk ram=64M,lun=1 --sub-channels 3
# timeout: 240
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./storage.sh

# written: blocks that are written and flushed, one at a time, in five seconds.
written() {
    fio --name=writer --filename="/dev/$(disk 1)" --rw=write --bs=4k --fsync=1 --ioengine=psync --size=64m --time_based \
        --runtime=5 --output-format=json --thread | jq '.jobs[0].write.total_ios'
}

# reads: how many the slow LUN has answered so far.
reads() { awk '{ print $1 }' "/sys/block/$(disk 0)/stat"; }

plan 5
check "the driver loads" load_storage
check "the disks appear" all_appear 0 1
alone=$(written)
ask delay device scsi0 lun 0 delay_ms 50 > /dev/null
fio --name=reader --filename="/dev/$(disk 0)" --rw=randread --bs=4k --iodepth=64 --ioengine=libaio --direct=1 --size=96m \
    --time_based --runtime=12 --thread --output=/run/fio &
sleep 2
before=$(reads)
beside=$(written)
answered=$(($(reads) - before))
wait
ask delay device scsi0 lun 0 delay_ms 0 > /dev/null
note "blocks in five seconds: $alone alone, $beside beside a reader that had $answered answers meanwhile"
check "the writer writes" test "$alone" -gt 10
# A writer that had to wait until the reader's requests are answered would see all 64 of them, for the write and for the
# flush. A ratio of times would say how busy this machine is.
check "no block waits for the reader's requests" test "$answered" -lt $((beside * 64))
rm -f /run/fio
check "the driver unloads" unload_storage
done_testing
