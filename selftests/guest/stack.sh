# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# The drivers under test: ours, or the kernel's own where the guest was booted for them. Sourced: . ./stack.sh

balloon=525074dc-8985-46e2-8057-a307dc18a502
bus=/sys/bus/vmbus
debug=/sys/kernel/debug/viridian

# stock: the kernel's own VMBus is what this guest runs.
stock() { ! grep -q initcall_blacklist=hv_acpi_init /proc/cmdline; }

# load_core, load_bus, load_balloon: insert one module. The stock core and bus are built in.
load_core() { stock || insmod /modules/hv_core.ko "$@"; }
load_bus() { stock || insmod /modules/vmbus_drv.ko "$@"; }
# The stock balloon driver would report nothing in its first 45 seconds. Once loaded it stays.
load_balloon() {
    if ! stock; then
        insmod /modules/viridian_balloon.ko "$@"
    elif [ ! -e /sys/module/hv_balloon ]; then
        insmod /modules/stock/hv_balloon.ko pressure_report_delay=0
    fi
}

# load_bus_alone: all but a device driver; the balloon is there.
load_bus_alone() { load_core && load_bus && within 10 balloon_device; }

# load_stack: everything, device bound.
load_stack() { load_core && load_bus && load_balloon; }

# unload_bus, unload_stack: the way back. The stock drivers stay: they can't be removed.
unload_bus() { stock || rmmod vmbus_drv hv_core; }
unload_stack() { stock || rmmod viridian_balloon vmbus_drv hv_core; }

# stock_module NAME [PARAMETER=VALUE...]: inserts a module of the kernel after those that it needs.
stock_module() {
    name=$1
    shift
    while read -r module; do
        if [ ! -e "/sys/module/$module" ]; then
            if [ "$module" = "$name" ]; then insmod "/modules/stock/$module.ko" "$@"; else insmod "/modules/stock/$module.ko"; fi || return 1
        fi
    done < "/modules/stock/$name.order"
}

# load_driver STOCK OURS [PARAMETER=VALUE...]: inserts a device driver; ours after the bus.
load_driver() {
    driver=$1
    own=$2
    shift 2
    if stock; then stock_module "$driver" "$@"; else load_core && load_bus && insmod "/modules/$own.ko" "$@"; fi
}
unload_driver() { if stock; then rmmod "$1"; else rmmod "$2" vmbus_drv hv_core; fi; }

# load_storage, load_utils, unload_utils, unload_storage: the drivers of storage and of the integration services.
load_storage() { stock_module sd_mod && load_driver hv_storvsc storvsc "$@"; }
# Ours has file copy in it, which needs UIO.
load_utils() { { stock || stock_module uio; } && load_driver hv_utils hv_utils "$@"; }
unload_utils() { unload_driver hv_utils hv_utils; }

# unload_storage: a disk that was closed or removed just now may hold the driver for a moment.
unload_storage() {
    if stock; then within 20 rmmod hv_storvsc; else within 20 rmmod storvsc && unload_bus; fi
}

# load_fcopy, unload_fcopy: what gives the channel of file copying to the daemon.
load_fcopy() { if stock; then stock_module uio_hv_generic; else load_utils; fi; }
unload_fcopy() { unload_driver uio_hv_generic hv_utils; }

# within SECONDS COMMAND...: the command succeeds sooner or later.
within() {
    end=$(($(uptime_seconds) + $1))
    last=
    shift
    until "$@" 2>/dev/null; do
        if [ -n "$last" ]; then return 1; fi
        # The second that had begun does not count; and who was kept from looking looks once more.
        if [ "$(uptime_seconds)" -gt "$end" ]; then last=1; fi
        sleep 0.1
    done
}

uptime_seconds() {
    read -r seconds _ < /proc/uptime
    echo "${seconds%.*}"
}

# running PID, ended PID: of a process of this shell's. Where the shell has not waited for it, it is there after its end.
running() { grep -q '^State:.[^Z]' "/proc/$1/status" 2>/dev/null; }
ended() { ! running "$1"; }

# balloon_device: the sysfs folder of the offered balloon.
balloon_device() {
    class=$(grep -l "{$balloon}" $bus/devices/*/class_id) && echo "${class%/class_id}"
}

# bound: the balloon has its driver. The link is there before its probe has ended; the channels' folders come after that.
bound() {
    device=$(balloon_device) && [ -L "$device/driver" ] && set -- "$device"/channels/*/cpu && [ -e "$1" ]
}

# talking: the driver sends reports, and the host takes them.
talking() { device=$(balloon_device) && within 10 noted && within 30 moved && within 10 taken; }
noted() { read -r sent < "$device/out_write_index"; }
moved() { read -r now < "$device/out_write_index" && [ "$now" != "$sent" ]; }
# By the shell itself: a program that starts in between may take as long as it is from one report to the next.
taken() {
    read -r now < "$device/out_read_index" && read -r written < "$device/out_write_index" && [ "$now" = "$written" ]
}

# rounds DEFAULT SOAK: how often to repeat; ROUNDS in the environment (make ... ROUNDS=n) overrides both.
rounds() { if [ -n "$ROUNDS" ]; then echo "$ROUNDS"; elif [ -n "$SOAK" ]; then echo "$2"; else echo "$1"; fi; }

# lines MODULE: the different lines that a module has logged. (busybox tries each insmod that fails twice.)
lines() { dmesg | sed 's/^\[[^]]*\] //' | grep "^$1: " | grep -v taint | sort -u; }

# host COMMAND...: one line for the host, on the second serial port; its answer is left in /run/host.
host() {
    if [ ! -e /run/host ]; then
        # Without echo the host is not told its own answers.
        stty -F /dev/ttyS1 raw -echo
        cat /dev/ttyS1 > /run/host &
    fi
    echo "$*" > /dev/ttyS1
}
