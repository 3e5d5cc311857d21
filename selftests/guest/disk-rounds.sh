# SPDX-License-Identifier: GPL-2.0
# Loads and unloads the driver of disks again and again, with disks in it: nothing leaks.
# guest: default
# drivers: viridian
# hosts: hvhost
# needs: host storage
# cmdline: slab_debug=U
# host-options: --disk ram=16M --disk ram=16M,lun=1 --sub-channels 1
# timeout: 240 900
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./storage.sh
. ./leaks.sh

load_and_unload() {
    insmod /modules/storvsc.ko && all_appear 0 1 &&
        dd if="/dev/$(disk 1)" of=/dev/null bs=64k count=4 iflag=direct 2> /dev/null && within 20 rmmod storvsc
}

plan 7
check "the bus loads" sh -c ". ./stack.sh; stock_module sd_mod && load_core && load_bus"
no_leak "$(rounds 10 100)" load_and_unload
check "the bus unloads" unload_bus
done_testing
