# SPDX-License-Identifier: GPL-2.0
# A controller with several channels, and what becomes of it when the host withdraws it: with a file system that has
# yet to be written back, and under load. The stock driver never ends the cache's flush then, and hangs for ever.
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

# shown NAME: the sum of a number over the channels of the first controller.
shown() { awk -v name="$1" '$0 ~ "^  " name " " { sum += $NF } END { print sum + 0 }' $debug/storvsc-host*; }

# busy: the host has commands.
busy() { [ "$(shown 'in flight')" -gt 0 ]; }

plan 20
check "the driver loads" load_storage
check "LUN 0 appears" appears 0
check "LUN 1 appears" appears 1
device=$(controller scsi0) name=$(disk 0)
is "the driver has the stock name" "$(basename "$(readlink "$device/driver")")" hv_storvsc
is "and so has the host" "$(cat "$device"/host*/scsi_host/host*/proc_name)" storvsc_host
is "each channel has a queue" "$(echo "/sys/block/$name/mq"/*/ | wc -w)" 4
is "debugfs shows four channels" "$(grep -c '^channel ' $debug/storvsc-host*)" 4
check "memory is below 16 MiB" test "$(awk '$1 == "memory" { print $2 }' $debug/storvsc-host*)" -lt $((16 << 20))
check "data is verified on two disks" sh -c ". ./stack.sh; . ./host.sh; . ./storage.sh; DEPTH=32 verified a=/dev/$(disk 0) b=/dev/$(disk 1) > /run/fio"
check "signals are saved" test "$(shown 'signals saved')" -gt 0
is "nothing is left in flight" "$(shown 'in flight')" 0
is "the host made no mistakes" "$(($(shown unknown) + $(shown nonsense)))" 0
sed 's/^/# /' $debug/storvsc-host*

check "a file system is made" make_and_mount "$(disk 0)" /run/disk
dd if=/dev/urandom of=/run/disk/data bs=64k count=200 2> /dev/null
ask delay device scsi0 lun 0 delay_ms 60000 > /dev/null
{ sg_sync "/dev/$name"; echo $? > /run/ended; } 2> /dev/null &
within 20 busy
check "withdrawn with data to be written and its cache being flushed, it goes" withdrawn
check "the flush ends" within 20 test -s /run/ended
rm -f /run/ended
ask delay device scsi0 lun 0 delay_ms 0 > /dev/null
umount -l /run/disk
check "and comes back" back 0 1
name=$(disk 0)
{ SIZE=64m DEPTH=4 verified "a=/dev/$name" > /run/fio 2>&1; echo $? > /run/ended; } &
within 20 busy
check "withdrawn under load, it goes" withdrawn
check "whoever writes to it is told" within 20 test -s /run/ended
check "and it comes back" back 0 1
wait
rm -f /run/fio /run/fio.job /run/ended
check "the driver unloads" unload_storage
done_testing
