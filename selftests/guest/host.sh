# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Talks to hvhost over the second serial port: one JSON object per line each way; Documentation/hvhost.md lists the
# requests. Sourced after stack.sh, with `needs: host`: . ./host.sh

# host_ask JSON [SECONDS]: what the host answers, as JSON; fails with the host's words if it refuses, or after the time.
host_ask() {
    # Raw, and without echo: the host is not to be told its own answers.
    stty -F /dev/ttyS1 raw -echo || return 1
    # Open for both at once: what comes while nobody has the port open is lost.
    {
        # One at a time: whoever reads takes what comes.
        flock 3
        echo "$1" >&3
        while IFS= read -r -t "${2:-60}" answer <&3; do
            case $answer in
            '{"ok":'*)
                echo "$answer" | jq -c .ok
                return ;;
            '{"error":'*)
                echo "$answer" | jq -r .error >&2
                return 1 ;;
            esac
        done
    } 3<> /dev/ttyS1
    echo "the host has not answered $1" >&2
    return 1
}

# ask COMMAND [NAME VALUE...]: the same with the request's members as words; a VALUE is JSON, or else a string.
ask() {
    request="{\"command\":\"$1\""
    shift
    while [ $# -gt 1 ]; do
        case $2 in
        true | false | null | [0-9\"{[]* | -[0-9]*) request="$request,\"$1\":$2" ;;
        *) request="$request,\"$1\":\"$2\"" ;;
        esac
        shift 2
    done
    host_ask "$request}"
}

# of_device NAME FILTER: something of what the host says of a device, by a jq filter.
of_device() { ask list device "$1" | jq -er ".[0] | $2"; }

# counter NAME COUNTER: the sum over a device's channels.
counter() { ask counters device "$1" | jq -er "map(.$2) | add"; }
