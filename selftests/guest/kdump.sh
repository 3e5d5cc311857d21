# SPDX-License-Identifier: GPL-2.0
# A crash kernel takes over from a panic on the CPU that connected, with the device open: the host is told by UNLOAD,
# message type 16, and the crash kernel connects.
# guest: fresh
# drivers: viridian stock
# cmdline: crashkernel=192M
# memory: 768
# needs: kexec trace
# host: vmbus.*\btype 16\b
# expect: panic kdump
# timeout: 240
. ./tap.sh
. ./stack.sh
. ./crash.sh

kdump_on 0
