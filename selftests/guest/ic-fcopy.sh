# SPDX-License-Identifier: GPL-2.0
# The host copies files into the guest through the daemon, which drives the channel itself, through UIO.
# guest: default
# drivers: viridian stock
# hosts: hvhost
# needs: daemons host
# timeout: 90
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./ic.sh

copy() { ask copy_file device fcopy "$@"; }

plan 15
check "the driver loads" load_fcopy
check "the daemon's device is there" within 10 test -c /dev/uio0
if stock; then
    skip "sysfs tells nobody where the rings are" "the stock driver does"
else
    is "sysfs tells nobody where the rings are" "$(cat /sys/class/uio/uio0/maps/map0/addr)" 0x0000000000000000
fi
start_daemon hv_fcopy_uio_daemon
check "host and guest agree on versions" ready fcopy
is "the newest ones" "$(versions fcopy)" "3.0 1.1"
check "a file is copied" copy path /run/copied/one create_path true content '"A line from the host."'
is "with its content" "$(cat /run/copied/one)" "A line from the host."
refuses "it is not overwritten unasked" copy path /run/copied/one content '"Another."'
check "but when asked" copy path /run/copied/one overwrite true content '"Another."'
is "with its content" "$(cat /run/copied/one)" "Another."
check "a large file is copied" copy path /run/copied/large size 1000000
is "with all of it" "$(wc -c < /run/copied/large)" 1000000
# The n-th byte is n modulo 251.
is "in order" "$(head -c 4 /run/copied/large | xxd -p)" 00010203
check "to the end" cmp -s -n $((1000000 - 251)) /run/copied/large /run/copied/large 251 0
check "the daemon still runs" daemon_runs
stop_daemons
rm -rf /run/copied
unload_fcopy
done_testing
