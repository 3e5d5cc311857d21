# SPDX-License-Identifier: GPL-2.0
# Two controllers with ten disks at a time, of different versions: what one agrees on is nothing to the other (defect 8 of
# the stock driver: it keeps one version and one queue depth for all).
# guest: default
# drivers: viridian stock
# hosts: hvhost
# needs: host storage
# host-options: --disk ram=16M --disk ram=16M --disk ram=16M --disk ram=16M --disk ram=16M --disk ram=16M --disk ram=16M --disk ram=16M --disk ram=16M,controller=1,sector=4096 --disk ram=16M,controller=1,lun=63 --ide ram=16M
# timeout: 150
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./storage.sh

plan 7
# The second controller refuses the first version that is proposed.
ask fault channel scsi1 direction from-guest nth 2 action '{"error-status":3221225561}' > /dev/null
check "the driver loads" load_storage
check "eight disks of the first controller" all_appear 0 1 2 3 4 5 6 7
check "two of the second" sh -c ". ./stack.sh; . ./host.sh; . ./storage.sh; appears 0 scsi1 && appears 63 scsi1"
is "each controller has its version" "$(of_device scsi0 .status.version) $(of_device scsi1 .status.version)" "6.2 6.0"
if stock; then
    skip "and knows it" "the stock driver does not show it"
else
    is "and knows it" "$(sed -n 's/^version *//p' $debug/storvsc-host* | sort | tr '\n' ' ')" "6.0 6.2 6.2 "
fi
jobs=
for lun in 0 1 2 3 4 5 6 7; do jobs="$jobs a$lun=/dev/$(disk $lun)"; done
jobs="$jobs b0=/dev/$(disk 0 scsi1) b63=/dev/$(disk 63 scsi1)"
check "data is verified on all ten" sh -c ". ./storage.sh; SIZE=1m verified $jobs > /run/fio"
ask faults_clear > /dev/null
rm -f /run/fio /run/fio.job
check "the driver unloads" unload_storage
done_testing
