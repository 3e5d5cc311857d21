# SPDX-License-Identifier: GPL-2.0
# A panic on a CPU that did not connect, with the device open: UNLOAD, message type 16, reaches the host after the panic line.
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
panic_on 1 true
