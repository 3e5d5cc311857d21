# SPDX-License-Identifier: GPL-2.0
# The host neither answers a command nor confirms that the controller is closed: it may still write to the command's memory,
# so the command stays with it until it withdraws the controller. New commands fail at once. The stock driver waits for ever.
# guest: default
# drivers: viridian
# hosts: hvhost
# needs: host storage
# cpus: 2
# host-options: --disk ram=96M --disk ram=64M,lun=1
# timeout: 180
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./storage.sh

# kept: how many commands stay with the host.
kept() { awk '$1 == "kept" { print $2 }' $debug/storvsc-host*; }

plan 12
check "the driver loads" load_storage io_timeout_s=2
check "the disks appear" all_appear 0 1
impatient 0
check "something is read" dd if="/dev/$(disk 0)" of=/dev/null bs=4k count=1 iflag=direct
is "nothing stays with the host" "$(kept)" 0
# Who opens a disk waits for the error handler, so that is done before.
exec 5< "/dev/$(disk 1)"
# A task that waits for long is what this is about.
echo 0 > /proc/sys/kernel/hung_task_timeout_secs
ask fault channel scsi0 direction from-guest type GPA_DIRECT probability 1.0 action '"drop"' > /dev/null
ask fault direction message-from-guest type GPADL_TEARDOWN probability 1.0 action '"drop"' > /dev/null
{ dd if="/dev/$(disk 0)" of=/dev/null bs=4k count=1 iflag=direct 2> /dev/null; echo $? > /run/ended; } &
check "when all was tried, the command stays with the host" within 60 sh -c "dmesg | grep -q 'commands stay with it'"
is "which debugfs counts" "$(kept)" 1
check "it does not end" test ! -e /run/ended
timeout 10 dd of=/dev/null bs=4k count=1 iflag=direct <&5 2> /dev/null
is "the other disk takes no more" $? 1
exec 5<&-
check "withdrawn, the controller goes" withdrawn
check "and the command has ended" within 10 test -s /run/ended
check "by an error" test "$(cat /run/ended)" != 0
ask faults_clear > /dev/null
wait
rm -f /run/ended
echo 30 > /proc/sys/kernel/hung_task_timeout_secs
check "the driver unloads" unload_storage
done_testing
