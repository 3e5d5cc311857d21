# SPDX-License-Identifier: GPL-2.0
# Sub-channels: they come after the first channel is open, get folders of their own, are used, and go with the device.
# guest: default
# drivers: viridian stock
# hosts: hvhost
# needs: host
# timeout: 90
. ./tap.sh
. ./stack.sh
. ./host.sh

stock && skip_all "no stock driver but those of disks and networks opens sub-channels"

folders() { set -- "$(balloon_device)"/channels/*; echo $#; }
used() { grep -qE "^sub-channels +$1\$" $debug/balloon; }
count_is() { [ "$(folders)" = "$1" ]; }
gone() { ! balloon_device > /dev/null; }

plan 10
check "the bus loads" load_bus_alone
check "the host is to offer two sub-channels" ask sub_channels device balloon count 2
is "with one channel" "$(folders)" 1
check "its driver loads" load_balloon
check "two more channels come" within 10 count_is 3
check "both are used" within 20 used 2
check "driver and host talk" talking
ask rescind device balloon > /dev/null
check "the device goes with all of them" within 10 gone
ask sub_channels device balloon count 0 > /dev/null
ask reoffer device balloon > /dev/null
check "and comes back" within 10 bound
check "it unloads" unload_stack
done_testing
