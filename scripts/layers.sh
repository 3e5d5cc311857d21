#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# layers.sh: a path tells the rule (Documentation/architecture.md). Exits 1 and names each breach.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=0
breach() { echo "layers: $*"; failed=1; }

# Files that wrap a C interface and are named after it: the only ones that may say unsafe.
unsafe_files="
hv_core/src/cpuhp.rs hv_core/src/cpuid.rs hv_core/src/hypercall.rs hv_core/src/irqflags.rs hv_core/src/mshyperv.rs
hv_core/src/msr.rs hv_core/src/page.rs hv_core/src/partition.rs hv_core/src/rcu.rs hv_core/src/sched_mm.rs hv_core/src/spinlock.rs
hv_core/src/synic.rs hv_core/src/time.rs
vmbus_drv/src/acpi.rs vmbus_drv/src/bus.rs vmbus_drv/src/completion.rs vmbus_drv/src/delay.rs
vmbus_drv/src/device.rs vmbus_drv/src/driver.rs vmbus_drv/src/isolation.rs vmbus_drv/src/kobject.rs
vmbus_drv/src/moduleparam.rs vmbus_drv/src/mshyperv.rs vmbus_drv/src/notifier.rs vmbus_drv/src/sysfs.rs
vmbus_drv/src/vmalloc.rs vmbus_drv/src/workqueue.rs
hv_utils/src/kobject.rs hv_utils/src/miscdevice.rs hv_utils/src/moduleparam.rs hv_utils/src/mshyperv.rs hv_utils/src/ptp_clock_kernel.rs
hv_utils/src/reboot.rs hv_utils/src/timekeeping.rs hv_utils/src/uio_driver.rs hv_utils/src/umh.rs hv_utils/src/workqueue.rs
storvsc/src/moduleparam.rs storvsc/src/scsi.rs storvsc/src/scsi_cmnd.rs"

code() { sed -E 's,//.*$,,' "$1"; }

for file in $(git ls-files --cached --others --exclude-standard 'hv_core/*.rs' 'vmbus_drv/*.rs' 'storvsc/*.rs' 'hv_utils/*.rs' 'selftests/modules/*.rs'); do
    [ -f "$file" ] || continue
    lines=$(wc -l < "$file")
    [ "$lines" -le 800 ] || breach "$file has $lines lines; split it before 800"
    case $file in
    # Tests of the host side, which nothing links to.
    */ring/tests/* | */proto/tests/* | */hvdef/tests/*) ;;
    */hvdef/* | */proto/* | */ring/*)
        ! code "$file" | grep -v 'forbid(unsafe_code)' | grep -qwE 'unsafe' || breach "$file is pure but says unsafe"
        ! code "$file" | grep -qE '\bkernel::|\bhv_bindings\b' || breach "$file is pure but names the kernel"
        case $file in
        */src/lib.rs)
            grep -q 'forbid(unsafe_code)' "$file" || breach "$file does not forbid unsafe code"
            [ "$lines" -lt 100 ] || breach "$file is a crate root with $lines lines" ;;
        esac ;;
    *)
        if code "$file" | grep -qwE 'unsafe|hv_bindings|scsi_bindings|utils_bindings' && ! grep -qwF "$file" <<< "$unsafe_files"; then
            breach "$file says unsafe or names generated bindings, but wraps no C interface"
        fi ;;
    esac
    case $file in
    */src/hv_core.rs | */src/vmbus.rs | */src/storvsc.rs | */src/hv_utils.rs | */module.rs) [ "$lines" -lt 100 ] || breach "$file is a crate root with $lines lines" ;;
    esac
    ! code "$file" | grep -qE '\.unwrap\(\)|\.expect\(|\bpanic!\(|\btodo!\(|unimplemented!\(' ||
        case $file in *tests.rs | */tests/* | */hvdef/* | */proto/* | */ring/*) ;; *) breach "$file can panic" ;; esac
done

# The test host runs on this machine: everything but the ioctls and the guest's memory is safe, and its crates say so.
for file in $(git ls-files --cached --others --exclude-standard 'selftests/host/*.rs'); do
    [ -f "$file" ] || continue
    lines=$(wc -l < "$file")
    [ "$lines" -le 800 ] || breach "$file has $lines lines; split it before 800"
    case $file in
    selftests/host/src/kvm_ioctl.rs | selftests/host/src/memory.rs) ;;
    *) ! code "$file" | grep -vE '(forbid|deny|expect)\(unsafe_code' | grep -qwE 'unsafe' || breach "$file says unsafe, but wraps no system call" ;;
    esac
    case $file in
    */src/lib.rs)
        grep -qE '(forbid|deny)\(unsafe_code\)' "$file" || breach "$file does not forbid unsafe code"
        [ "$lines" -lt 100 ] || breach "$file is a crate root with $lines lines" ;;
    esac
done
exit $failed
