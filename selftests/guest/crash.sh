# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Panics, and crash kernels after them. Sourced after tap.sh and stack.sh: . ./crash.sh

# connected: CPU 0 is the one that the host's messages come to: of ours the first one online, of the stock drivers always.
connected() { stock || grep -q '^connect cpu *0$' $debug/vmbus; }

# said_all: what was said so far is on the console.
said_all() {
    within 20 relayed
    sync
    sleep 1
}
relayed() { dmesg | grep -q "tap: .*ok $point "; }

# panic_on CPU COMMAND...: the device is opened (three points), COMMAND prepares, and then the kernel panics on CPU.
panic_on() {
    cpu=$1
    shift
    check "the drivers load" load_stack
    check "CPU 0 has connected" connected
    check "the balloon is bound" within 10 bound
    "$@" || exit 1
    said_all
    taskset $((1 << cpu)) sh -c 'echo c > /proc/sysrq-trigger'
    exit 1
}

# load_crash_kernel: as distributions boot it, with one CPU.
load_crash_kernel() {
    kexec -p /kexec/vmlinuz --initrd=/kexec/initrd \
        --command-line="$(sed 's/crashkernel=[^ ]*//' /proc/cmdline) STAGE=2 nr_cpus=1 reset_devices"
}

# kdump_on CPU: the whole test: a crash kernel takes over from a panic on CPU, and connects.
kdump_on() {
    if [ "$STAGE" != 2 ]; then
        plan 5
        panic_on "$1" load_crash_kernel
    fi
    resume 3
    check "the drivers load in the crash kernel" load_stack
    check "the balloon is bound in the crash kernel" within 10 bound
    done_testing
}
