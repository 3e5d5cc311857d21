# SPDX-License-Identifier: GPL-2.0
# A crash kernel takes over from a panic with the device open: it connects, though nobody closed anything.
# guest: fresh
# drivers: viridian stock
# cmdline: crashkernel=192M
# memory: 768
# needs: kexec
# expect: panic kdump
# timeout: 120
. ./tap.sh
. ./stack.sh

if [ "$STAGE" != 2 ]; then
    plan 4
    check "the drivers load" load_stack
    check "the balloon is bound" within 10 bound
    # One CPU is what distributions give a crash kernel.
    kexec -p /kexec/vmlinuz --initrd=/kexec/initrd \
        --command-line="$(sed 's/crashkernel=[^ ]*//' /proc/cmdline) STAGE=2 nr_cpus=1 reset_devices" || exit 1
    sync
    sleep 1
    echo c > /proc/sysrq-trigger
    exit 1
fi
resume 2
check "the drivers load in the crash kernel" load_stack
check "the balloon is bound in the crash kernel" within 10 bound
done_testing
