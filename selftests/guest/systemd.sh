# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# A guest with `disks: root`, whose PID 1 is systemd. Sourced after stack.sh and host.sh: . ./systemd.sh

# booted: systemd has started everything.
booted() {
    if [ "$(timeout 150 systemctl is-system-running --wait)" = running ]; then return; fi
    systemctl --no-pager --failed
    systemctl --no-pager list-jobs
    return 1
}

# active UNIT: it runs.
active() { within 20 systemctl --quiet is-active "$1" || { systemctl --no-pager status "$1"; return 1; }; }

# root_driver: the VMBus driver of the disk that the root file system is on.
root_driver() {
    disk=$(findmnt -n -o SOURCE /)
    path=$(readlink -f "/sys/class/block/${disk#/dev/}")
    driver=$(readlink "${path%/host*}/driver") && echo "${driver##*/}"
}

# all_ready NAME...: guest and host have agreed on versions of these services.
all_ready() { for service in "$@"; do within 20 ready "$service" || return 1; done; }
ready() { of_device "$1" ".status.state == \"ready\""; }
