# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Integration services and the daemons of the distribution. Sourced after stack.sh and host.sh, with
# `needs: daemons host`: . ./ic.sh

# status NAME FIELD: what the host knows of a service, by a jq filter on its status.
status() { of_device "$1" ".status.$2"; }

# ready NAME: guest and host have agreed on versions.
ready() { within 20 is_ready "$1"; }
is_ready() { [ "$(status "$1" state)" = ready ]; }

# versions NAME: the two versions that were agreed on.
versions() { of_device "$1" '.status | "\(.framework) \(.version)"'; }

# tell [NAME VALUE...]: the host tells the time; the guest has taken it when it has answered. The host may be telling it at this
# moment of its own accord: then once more.
tell() {
    until ask timesync device timesync "$@" > /run/told 2>&1; do
        grep -q "another request is under way" /run/told || { cat /run/told; return 1; }
    done
    rm /run/told
}

# start_daemon PROGRAM: runs a daemon as its service file does; its log is /run/syslog.
start_daemon() {
    mkdir -p /var/lib
    if [ ! -S /dev/log ]; then
        syslogd -n -O /run/syslog &
        logger=$!
        within 5 test -S /dev/log
    fi
    "/usr/sbin/$1" -n &
    daemon=$!
}

# daemon_runs: it has not given up.
daemon_runs() { running "$daemon"; }

# stop_daemons: they are killed, their log is shown, and what they wrote is removed.
stop_daemons() {
    kill "$daemon" "$logger" 2>/dev/null
    wait
    sed 's/^/# /' /run/syslog
    rm -rf /run/syslog /dev/log /var/lib/hyperv
}

# padded TEXT SIZE: the text with zeroes after it, as the records of KVP's files have it.
padded() {
    printf %s "$1"
    head -c $(($2 - ${#1})) /dev/zero
}
