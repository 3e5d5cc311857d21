# SPDX-License-Identifier: GPL-2.0
# Loads and unloads the driver again and again while the host tells the time, counts heartbeats and lists pairs: nothing
# leaks.
# guest: default
# cmdline: slab_debug=U
# drivers: viridian
# hosts: hvhost
# needs: daemons host
# timeout: 480 2400
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./ic.sh
. ./leaks.sh

reload() {
    load_utils && ready heartbeat && ready timesync && within 10 test -c /dev/vmbus/hv_kvp || return 1
    start_daemon hv_kvp_daemon
    # The host keeps to the rate, at which it is too busy to be asked again.
    [ -n "$often" ] || { tell interval_ms 5 && often=1; }
    ready kvp && ask enumerate device kvp pool auto > /dev/null && [ -n "$often" ]
    status=$?
    kill "$daemon"
    wait "$daemon"
    unload_utils && return $status
}

plan 5
no_leak "$(rounds 10 100)" reload
kill "$logger"
done_testing
