# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Disks of the host's controllers. Sourced after stack.sh and host.sh, with `needs: host storage`: . ./storage.sh

# controller NAME: the sysfs folder of a controller that the host calls NAME. The host is asked once, since that takes
# long, and one may ask it at a time.
controller() {
    [ -s "/run/controller.$1" ] || of_device "$1" .instance > "/run/controller.$1" || return 1
    read -r instance < "/run/controller.$1"
    echo "$bus/devices/$instance"
}

# disk LUN [NAME]: the kernel's name of a disk or DVD drive of the host's controller NAME, scsi0 if not said.
disk() {
    at=$(controller "${2:-scsi0}") || return 1
    set -- "$at"/host*/target*/*:"$1"/block/*
    [ -e "$1" ] && echo "${1##*/}"
}

# appears LUN [NAME], vanishes LUN [NAME]: it comes, with its node in /dev, or goes.
appears() { within 20 disk "$@" > /dev/null && within 5 test -b "/dev/$(disk "$@")"; }
vanishes() { within 20 lacks "$@"; }
# all_appear LUN..., all_vanish LUN...: several of scsi0.
all_appear() { for lun in "$@"; do appears "$lun" || return 1; done; }
all_vanish() { for lun in "$@"; do vanishes "$lun" || return 1; done; }
lacks() { ! disk "$@" > /dev/null; }

# bytes NAME, sector NAME: size of a disk, and of its logical sectors, as the kernel has it.
bytes() { echo $(($(cat "/sys/block/$1/size") * 512)); }
sector() { cat "/sys/block/$1/queue/logical_block_size"; }

# allocated LUN: the bytes that the host holds for a LUN of scsi0.
allocated() { of_device scsi0 ".status.luns[] | select(.lun == $1).allocated"; }

# make_and_mount DISK FOLDER [OPTION...]: a new ext4 on it, mounted.
make_and_mount() {
    node=/dev/$1
    folder=$2
    shift 2
    mkdir -p "$folder" && mkfs.ext4 -q -F "$@" "$node" && stock_module ext4 && mount -t ext4 "$node" "$folder"
}

# verified NAME=FILENAME...: one fio that writes and verifies several files or disks at a time, by direct I/O.
# SIZE, BLOCKS, DEPTH and SECONDS_LONG in the environment change its manner.
verified() {
    {
        echo "[global]"
        echo "ioengine=libaio"
        echo "direct=1"
        echo "rw=randwrite"
        echo "bsrange=${BLOCKS:-4k-64k}"
        echo "iodepth=${DEPTH:-16}"
        echo "size=${SIZE:-8m}"
        echo "fallocate=none"
        echo "verify=crc32c"
        echo "verify_fatal=1"
        echo "randseed=${SEED:-1}"
        for job in "$@"; do
            echo "[${job%%=*}]"
            echo "filename=${job#*=}"
            # A disk that has gone is no reason to make a file of its name.
            case $job in *=/dev/*) echo "allow_file_create=0" ;; esac
        done
    } > /run/fio.job
    fio --output-format=terse --thread /run/fio.job
}

# impatient LUN...: device and error handler of these LUNs of scsi0 wait for 2 s only.
impatient() {
    for lun in "$@"; do
        block=/sys/block/$(disk "$lun")/device
        echo 2 > "$block/timeout" && echo 2 > "$block/eh_timeout" || return 1
    done
}

# withdrawn, back LUN...: the controller scsi0 goes, and its disks with it; it comes again. Under load the host may be
# slow to answer on the serial port; what counts is the time from its answer on.
withdrawn() {
    device=$(controller scsi0)
    host_ask '{"command":"rescind","device":"scsi0"}' 60 > /dev/null && within 20 test ! -e "$device"
}
back() { ask reoffer device scsi0 > /dev/null && all_appear "$@"; }
