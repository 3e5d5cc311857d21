# SPDX-License-Identifier: GPL-2.0
# The ways in which guest and host signal each other: shared and dedicated interrupts, monitor pages.
# guest: default
# drivers: viridian stock
# hosts: hvhost
# needs: host
# timeout: 120
. ./tap.sh
. ./stack.sh
. ./host.sh

stock && skip_all "the stock VMBus is built in, and connects but once"

# offered NAME VALUE...: the balloon is offered anew in that way, and works.
offered() {
    ask reoffer device balloon "$@" > /dev/null &&
        within 10 balloon_device && load_balloon && within 10 bound && talking
}

# grows COUNTER COMMAND...: the command succeeds, and the host has counted meanwhile.
grows() {
    counted=$1
    count=$(counter balloon "$counted")
    shift
    "$@" && note "$counted: $count, then $(counter balloon "$counted")" && [ "$(counter balloon "$counted")" -gt "$count" ]
}

# offers FILTER: how the host has offered it.
offers() { of_device balloon ".channels[0] | $1"; }

plan 18
for version in 4.0 5.3; do
    ask configure vmbus_max "\"$version\"" > /dev/null
    check "$version: the bus loads" load_bus_alone
    for dedicated in false true; do
        check "$version, dedicated $dedicated: host and driver talk" offered monitored false dedicated_interrupt $dedicated
        check "$version, dedicated $dedicated: by signals" grows signals talking
        rmmod viridian_balloon
    done
    check "$version, monitored: host and driver talk" offered monitored true
    check "$version, monitored: the offer says so" offers ".monitor != null"
    check "$version, monitored: by the monitor page" grows monitor_triggers talking
    check "$version: the bus unloads" unload_stack
done
ask reoffer device balloon > /dev/null
done_testing
