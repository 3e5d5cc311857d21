# SPDX-License-Identifier: GPL-2.0
# A slow host is waited for, and with io_timeout_s only for so long: then resets, and at last the controller is given up.
# Polled I/O, too.
# guest: default
# drivers: viridian
# hosts: hvhost
# needs: host storage
# cpus: 4
# host-options: --disk ram=96M --disk ram=64M,lun=1 --sub-channels 3
# timeout: 240
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./storage.sh

# slow MS: how long the host takes for commands of LUN 0.
slow() { ask delay device scsi0 lun 0 delay_ms "$1" > /dev/null; }

# read_once: a read that the page cache doesn't answer.
read_once() { dd if="/dev/$(disk 0)" of=/dev/null bs=4k count=1 iflag=direct; }

# pending: the host has a command that it has not answered.
pending() { [ "$(of_device scsi0 .status.in_flight)" -gt 0 ]; }

# logged TEXT: our module has said so, in this test.
logged() { dmesg | grep -q "storvsc: .*$1"; }

plan 19
check "the driver loads, with polled queues" load_storage storvsc_poll_queues=2
check "LUN 0 appears" appears 0
name=$(disk 0)
is "it can be polled" "$(cat "/sys/block/$name/queue/io_poll")" 1
for engine in "pvsync2" "io_uring --iodepth=8"; do
    # shellcheck disable=SC2086
    check "polled I/O by ${engine%% *} is verified" fio --name=polled --filename="/dev/$name" --ioengine=$engine --hipri --direct=1 \
        --rw=randwrite --bs=4k --size=2m --verify=crc32c --verify_fatal=1 --thread --output=/run/fio
done
echo 2 > "/sys/block/$name/device/timeout"
slow 5000
check "a command is waited for, far beyond its time" read_once
check "which debugfs counts" sh -c "grep -Eq '^late +[1-9]' $debug/storvsc-host*"
slow 0
check "the driver unloads" unload_storage

check "it loads with a limit" load_storage io_timeout_s=2
check "the disks appear again" all_appear 0 1
dmesg -c > /dev/null
slow 7000
{ read_once > /run/read 2>&1; echo $? > /run/ended; } &
within 20 pending
slow 0
check "a command beyond it ends" within 30 test -s /run/ended
is "well, since it is tried again" "$(cat /run/ended)" 0
check "after a reset" logged reset
check "the other LUN is as it was" dd if="/dev/$(disk 1)" of=/dev/null bs=64k count=16 iflag=direct

ask fault channel scsi0 direction from-guest type GPA_DIRECT action '"drop"' > /dev/null
timeout 60 dd if="/dev/$(disk 0)" of=/dev/null bs=4k count=1 iflag=direct > /run/read 2>&1
status=$?
check "a command that is lost ends in time" test $status != 124
check "as an error" test $status != 0
check "and the controller is given up" logged "given up"
ask faults_clear > /dev/null
refuses "nothing can be read any more" read_once
check "the driver unloads again" unload_storage
rm -f /run/fio /run/read /run/ended
done_testing
