# SPDX-License-Identifier: GPL-2.0
# A CPU without a channel goes offline and comes back, with the device open and talking.
# guest: default
# drivers: viridian stock
# timeout: 120 300
. ./tap.sh
. ./stack.sh

cpu=/sys/devices/system/cpu/cpu1/online
plan 7
check "the drivers load" load_stack
check "the balloon is bound" within 10 bound
check "driver and host talk" talking
device=$(balloon_device)
grep -q ":1$" "$device/channel_vp_mapping" && cpu=/sys/devices/system/cpu/cpu0/online
if [ ! -e $cpu ]; then
    skip "it goes offline and back" "the channel is on the only CPU that can go"
    skip "the SynIC is on again" "nothing was tried"
    skip "driver and host still talk" "nothing was tried"
    skip "it unloads" "nothing was tried"
    done_testing
fi

synic_on() { stock || [ "$(grep -c ' enabled ' $debug/synic)" = 2 ]; }
once() { echo 0 > $cpu && [ "$(cat $cpu)" = 0 ] && echo 1 > $cpu && [ "$(cat $cpu)" = 1 ]; }
failures=0
count=$(rounds 5 20)
round=0
while [ $round -lt "$count" ]; do
    once || failures=$((failures + 1))
    round=$((round + 1))
done
is "a CPU goes offline and back $count times" "$failures" 0
check "the SynIC is on again" synic_on
check "driver and host still talk" talking
check "the bus unloads with both CPUs back" unload_stack
done_testing
