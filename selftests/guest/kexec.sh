# SPDX-License-Identifier: GPL-2.0
# kexec into the same kernel with the device open: the host is told by UNLOAD, message type 16, before the second kernel
# boots, and that one connects.
# guest: fresh
# drivers: viridian stock
# needs: kexec trace
# host: vmbus.*\btype 16\b
# expect: kexec
# timeout: 240
. ./tap.sh
. ./stack.sh

if [ "$STAGE" != 2 ]; then
    plan 4
    check "the drivers load" load_stack
    check "the balloon is bound" within 10 bound
    kexec -l /kexec/vmlinuz --initrd=/kexec/initrd --command-line="$(cat /proc/cmdline) STAGE=2" || exit 1
    kexec -e
    exit 1
fi
resume 2
check "the drivers load in the second kernel" load_stack
check "the balloon is bound in the second kernel" within 10 bound
done_testing
