# SPDX-License-Identifier: GPL-2.0
# The host's heartbeats are answered, from the driver's loading to its end.
# guest: default
# drivers: viridian stock
# hosts: hvhost
# needs: daemons host
# timeout: 60
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./ic.sh

beats() { status heartbeat beats; }
more_beats() { [ "$(beats)" -ge "$1" ]; }

plan 5
check "the driver loads" load_utils
check "host and guest agree on versions" ready heartbeat
is "the newest ones" "$(versions heartbeat)" "3.0 3.0"
check "three heartbeats are answered" within 20 more_beats $(($(beats) + 3))
check "the driver unloads" unload_utils
done_testing
