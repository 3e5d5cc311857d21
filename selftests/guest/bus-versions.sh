# SPDX-License-Identifier: GPL-2.0
# Every version of VMBus that the host can be told to speak: connect, open, exchange, close; and 3.0, which is refused.
# guest: default
# drivers: viridian stock
# hosts: hvhost
# needs: host
# timeout: 120
. ./tap.sh
. ./stack.sh
. ./host.sh

stock && skip_all "the stock VMBus is built in, and connects but once"

# connect VERSION [PARAMETER]: the bus loads, and agrees with the host on that version.
connect() {
    wanted=$1
    shift
    load_bus "$@" && within 10 grep -q "^version  *$wanted\$" $debug/vmbus
}

# host_speaks VERSION: up to that.
host_speaks() { ask configure vmbus_max "\"$1\"" > /dev/null; }

# exchange VERSION: a channel is opened and used.
exchange() { host_speaks "$1" && connect "$1" && load_balloon && within 10 bound && talking; }

plan 18
check "hv_core loads" load_core
for version in 4.0 4.1 5.0 5.1 5.2 5.3 6.0; do
    check "$version: an exchange" exchange $version
    check "$version: everything unloads" rmmod viridian_balloon vmbus_drv
done
host_speaks 3.0
refuses "3.0 is refused" load_bus
host_speaks 6.0
check "the guest's own limit holds" connect 5.2 max_version=$((5 << 16 | 2))
check "everything unloads" rmmod vmbus_drv hv_core
done_testing
