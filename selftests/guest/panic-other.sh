# SPDX-License-Identifier: GPL-2.0
# A panic on a CPU that did not connect, with the device open: UNLOAD, message type 16, reaches the host after the panic line.
# guest: fresh
# drivers: viridian stock
# needs: trace
# hosts: qemu
# expect: panic
# host: vmbus_recv_message.*type 16\b
# timeout: 60
. ./tap.sh
. ./stack.sh

plan 2
# Connecting happens on the CPU that loads the bus.
check "the drivers load" taskset 1 sh -c '. ./stack.sh; load_stack'
check "the balloon is bound" within 10 bound
sleep 1
taskset 2 sh -c 'echo c > /proc/sysrq-trigger'
exit 1
