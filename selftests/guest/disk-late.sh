# SPDX-License-Identifier: GPL-2.0
# The host carries a READ out long after its time has passed: memory that the guest uses for something else by then stays
# as it is. The stock driver would wait.
# guest: default
# drivers: viridian
# hosts: hvhost
# needs: host storage
# cpus: 4
# host-options: --disk ram=96M --disk ram=64M,lun=1 --sub-channels 3
# timeout: 480
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./storage.sh

# zeros: a file of zeros in memory, which takes what was freed last; all_zero: it still has nothing else.
zeros() { head -c 50000000 /dev/zero > /run/zeros; }
all_zero() { [ "$(tr -d '\0' < /run/zeros | wc -c)" = 0 ]; }

# late_by MS: the host gets a READ of 1 MiB that much later. When whoever wanted it is told, its memory is used anew,
# before the host can have carried it out or just after.
late_by() {
    impatient 0 || return 1
    rule="channel scsi0 direction from-guest type GPA_DIRECT"
    # shellcheck disable=SC2086 # Words are wanted.
    ask fault $rule action "{\"delay_ms\":$1}" > /dev/null
    timeout 60 dd if="/dev/$(disk 0)" of=/dev/null bs=1M count=1 iflag=direct
    [ $? != 124 ] && zeros && sleep $(($1 / 1000)) && all_zero
    result=$?
    rm -f /run/zeros
    ask faults_clear > /dev/null
    return $result
}

# Reads of LUN 0 that the host has carried out.
reads() { of_device scsi0 '.status.luns[] | select(.lun == 0).counters.reads'; }

# written_late: the guest has given the READ up and asks for resets, two of which are lost, when the host carries it out and
# writes to the guest's memory. Nobody repeats this command, so that the READ which the host counts is that one. Seven
# seconds are the least that such a command may ask for.
written_late() {
    before=$(reads)
    # A lost reset is waited for so long: the guest gives up its command after 7 to 9 seconds, and the controller after 15.
    echo 4 > /sys/module/storvsc/parameters/io_timeout_s
    ask fault channel scsi0 direction from-guest type GPA_DIRECT action '{"delay_ms":11500}' > /dev/null
    ask fault channel scsi0 direction from-guest type IN_BAND times 2 action '"drop"' > /dev/null
    timeout 60 sg_raw -t 7 -r 65536 -o /run/read "/dev/$(disk 0)" 28 00 00 00 00 00 00 00 80 00 && return 1
    zeros && sleep 3 && all_zero && [ "$(reads)" = $((before + 1)) ]
    result=$?
    rm -f /run/zeros /run/read
    ask faults_clear > /dev/null
    echo 2 > /sys/module/storvsc/parameters/io_timeout_s
    return $result
}

plan 7
check "the driver loads" load_storage io_timeout_s=2
check "the disks appear" all_appear 0 1
# What is read would be seen anywhere.
yes viridian | dd of="/dev/$(disk 0)" bs=1M count=8 iflag=fullblock oflag=direct 2> /dev/null
impatient 0
check "a READ that is over for the guest is carried out, and changes nothing" written_late
withdrawn && back 0 1
for late in 3000 12000; do
    check "a READ that is late by $late ms changes nothing" late_by $late
    withdrawn && back 0 1
done
check "the disk is as it was" sh -c "dd if=/dev/$(disk 0) bs=1M count=8 iflag=direct 2> /dev/null | tr -d 'viridan\n' | cmp - /dev/null"
check "the driver unloads" unload_storage
done_testing
