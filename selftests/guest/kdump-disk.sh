# SPDX-License-Identifier: GPL-2.0
# After a panic, the crash kernel saves the memory of the first one to a disk of the host, as Debian's kdump-tools would,
# and the last words of that kernel can be read from it.
# guest: fresh
# drivers: viridian stock
# hosts: hvhost
# cmdline: crashkernel=256M
# memory: 1024
# needs: dump host kexec
# host-options: --disk ram=256M
# expect: panic kdump
# timeout: 240
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./storage.sh
. ./crash.sh

mounted() { mkdir -p /run/crash && stock_module ext4 && mount -t ext4 "/dev/$(disk 0)" /run/crash; }

if [ "$STAGE" != 2 ]; then
    plan 10
    check "the driver loads" load_storage
    check "the disk appears" appears 0
    check "it has a file system" mkfs.ext4 -q "/dev/$(disk 0)"
    check "the crash kernel is loaded" load_crash_kernel
    said_all
    echo c > /proc/sysrq-trigger
fi
resume 4
check "the driver loads in the crash kernel" load_storage
check "the disk appears, and is mounted" eval 'appears 0 && mounted'
check "makedumpfile saves what the kernel had" makedumpfile -l -d 31 /proc/vmcore /run/crash/vmcore
note "$(du -k /run/crash/vmcore)"
umount /run/crash
check "after that, the file system is whole" e2fsck -f -n "/dev/$(disk 0)"
check "and the file is a dump" eval 'mounted && [ "$(head -c 5 /run/crash/vmcore)" = KDUMP ]'
check "which has the last words of the kernel" eval 'makedumpfile --dump-dmesg /run/crash/vmcore /run/words && grep -q "sysrq: Trigger a crash" /run/words'
umount /run/crash
done_testing
