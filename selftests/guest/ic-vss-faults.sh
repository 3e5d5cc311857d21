# SPDX-License-Identifier: GPL-2.0
# What is frozen is thawed, whoever vanishes: the daemon, the host, or the host's wish to thaw.
# guest: default
# drivers: viridian
# hosts: hvhost
# needs: daemons host
# timeout: 300
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./ic.sh

# In /proc/mounts the blank is \040, and so is followed by what could be one more digit of the same number.
folder="/run/frozen 1"

# start: the daemon runs. Not in `check`, which would wait for its end.
start() { within 10 test -c /dev/vmbus/hv_vss && start_daemon hv_vss_daemon; }
# succeeds: the host can do a backup.
succeeds() { ready vss && within 5 ask backup device vss; }
freeze() { ask freeze device vss timeout_ms 4000; }
# writable: writing to it takes no time, or less than some seconds.
writable() {
    rm -f /run/written
    { touch "$folder/file" && touch /run/written; } > /dev/null 2>&1 &
    within "${1:-4}" test -e /run/written
}
# frozen: nobody can.
frozen() { ! writable 1; }
# gives RULE: one packet of a backup, of which the third freezes and the fourth thaws, has something done to it; in the end
# nothing is frozen, and a backup succeeds.
gives() {
    host_ask "{\"command\":\"fault\",\"channel\":\"vss\",$1}" && { ask backup device vss timeout_ms 6000 || true; } &&
        host_ask '{"command":"faults_clear"}' && writable 8 && within 10 ask backup device vss timeout_ms 6000 && writable
}

plan 30
check "the driver loads" load_utils daemon_timeout_s=2 freeze_timeout_s=4
mkdir -p "$folder"
stock_module brd rd_nr=1 rd_size=16384 && stock_module ext4 && mkfs.ext4 -q /dev/ram0
check "there is a file system" mount -t ext4 /dev/ram0 "$folder"
check "without a daemon a freeze fails" eval "ready vss && ! freeze"
start
check "with a daemon it can be done" succeeds
is "it can be backed up while it runs" "$(ask check device vss)" '{"dm_info":0,"hot_backup":5}'

check "the host freezes and does not thaw" freeze
check "it is frozen" frozen
check "after some time it is not" writable 8
refuses "the host's thaw fails, so that it knows" ask thaw device vss
check "a backup succeeds" succeeds

kill -STOP "$daemon"
refuses "a daemon that sleeps: the freeze fails" freeze
kill -CONT "$daemon"
check "when it wakes nothing is frozen" writable 8
check "a backup succeeds" succeeds

check "the host freezes" freeze
kill -KILL "$daemon"
check "its daemon is killed: all is thawed" writable
start
check "with another one a backup succeeds" succeeds

check "the host freezes" freeze
ask rescind device vss
check "it withdraws the service: all is thawed" writable
within 10 sh -c "[ ! -e /dev/vmbus/hv_vss ]"
ask reoffer device vss
start
check "it offers it again: a backup succeeds" succeeds

for nth in 3 4; do
    for direction in to-guest from-guest; do
        check "packet $nth $direction is lost" gives "\"direction\":\"$direction\",\"nth\":$nth,\"action\":\"drop\""
    done
done
# The shell that the driver has thaw takes its time, and the next daemon comes in between.
rm /bin/sh
printf '#!/bin/ash\nsleep 8\nexec /bin/ash "$@"\n' > /bin/sh
chmod +x /bin/sh
check "the host freezes" freeze
kill -KILL "$daemon"
start
check "its daemon is killed, and another one is there" within 5 ask check device vss
refuses "a freeze that the driver's own thaw will undo is refused" freeze
check "one that comes after that succeeds" within 15 freeze
check "and lasts" frozen
ask thaw device vss > /dev/null
check "until the host thaws" writable 8
ln -sf busybox /bin/sh

stop_daemons
umount "$folder"
rmdir "$folder"
rm -f /run/written
rmmod brd
check "the driver unloads" unload_utils
done_testing
