# SPDX-License-Identifier: GPL-2.0
# Hosts that offer fewer versions: shutdown, heartbeat and time at each that is not the newest. KVP has its own.
# guest: default
# drivers: viridian
# hosts: hvhost
# needs: daemons host
# timeout: 90
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./ic.sh

# offer NAME XOR: the number of message versions in the next offer is changed; hosts list the oldest first.
offer() {
    host_ask "{\"command\":\"fault\",\"channel\":\"$1\",\"direction\":\"to-guest\",\"action\":{\"corrupt\":{\"offset\":30,\"xor\":$2}}}" > /dev/null
}

# agreed NAME VERSION: that is the version of messages.
agreed() { ready "$1" && is "$1 $2" "$(versions "$1")" "3.0 $2"; }

beats() { status heartbeat beats; }
more_beats() { [ "$(beats)" -ge "$1" ]; }

# corrects: the host sets a clock that is an hour behind.
corrects() {
    right=$(date +%s)
    date -s "@$((right - 3600))" > /dev/null
    tell && within 10 later
}
later() { [ "$(date +%s)" -ge "$right" ]; }

plan 12
offer shutdown 7
offer heartbeat 3
offer timesync 1
check "the driver loads" load_utils
agreed shutdown 3.1
agreed heartbeat 1.0
agreed timesync 3.0
check "heartbeats are answered" within 20 more_beats $(($(beats) + 2))
check "the host sets the clock" corrects
unload_utils
offer shutdown 6
offer timesync 2
load_utils
agreed shutdown 3.0
agreed timesync 1.0
check "the host sets the clock" corrects
unload_utils
offer shutdown 5
load_utils
agreed shutdown 1.0
refuses "hibernation is refused" ask shutdown device shutdown hibernate true
check "the driver unloads" unload_utils
done_testing
