# SPDX-License-Identifier: GPL-2.0
# A panic on the CPU that connected, with the device open: UNLOAD, message type 16, reaches the host after the panic line.
# guest: fresh
# drivers: viridian stock
# needs: trace
# expect: panic
# host: vmbus.*\btype 16\b
# timeout: 60
. ./tap.sh
. ./stack.sh
. ./crash.sh

plan 3
panic_on 0 true
