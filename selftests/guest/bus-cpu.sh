# SPDX-License-Identifier: GPL-2.0
# The channel's interrupt moves: when its file `cpu` is written, and when its CPU goes offline.
# guest: default
# drivers: viridian stock
# hosts: hvhost
# needs: host
# timeout: 90
. ./tap.sh
. ./stack.sh
. ./host.sh

# vp: where the host sends the channel's interrupts.
vp() { of_device balloon '.channels[0].vp'; }
at() { [ "$(cat "$channel/cpu")" = "$1" ] && [ "$(vp)" = "$1" ]; }
move() { echo "$1" > "$channel/cpu"; }

plan 13
check "the drivers load" load_stack
check "the balloon is bound" within 10 bound
channel=$(echo "$(balloon_device)"/channels/*)
for cpu in 1 0 1; do
    check "the channel moves to CPU $cpu" move $cpu
    check "and guest and host agree" within 5 at $cpu
done
check "driver and host talk" talking
check "its CPU goes offline" sh -c 'echo 0 > /sys/devices/system/cpu/cpu1/online'
check "so it is on the other one" within 5 at 0
check "driver and host still talk" talking
echo 1 > /sys/devices/system/cpu/cpu1/online
check "it unloads" unload_stack
done_testing
