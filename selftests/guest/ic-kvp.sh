# SPDX-License-Identifier: GPL-2.0
# Key-value pairs through the daemon: the host's come into the guest, the guest's and what it says of itself go to the host.
# guest: default
# drivers: viridian stock
# hosts: hvhost
# needs: daemons host
# timeout: 90
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./ic.sh

# has POOL KEY VALUE: the file of a pool has a record: 512 bytes of key, 2048 of value.
has() { { padded "$2" 512 && padded "$3" 2048; } | cmp -s -n 2560 - "/var/lib/hyperv/.kvp_pool_$1"; }

plan 13
check "the driver loads" load_utils
check "the daemon's device is there" within 10 test -c /dev/vmbus/hv_kvp
start_daemon hv_kvp_daemon
check "host and guest agree on versions" ready kvp
is "the newest ones" "$(versions kvp)" "3.0 4.0"
check "the host sets a pair" ask set device kvp pool external key colour value '"blue"'
check "the guest has it" has 0 colour blue
check "the host changes it" ask set device kvp pool external key colour value '"green"'
check "the guest has it" has 0 colour green
check "the host deletes it" ask delete device kvp pool external key colour
is "the guest has nothing" "$(wc -c < /var/lib/hyperv/.kvp_pool_0)" 0
{ padded shape 512; padded round 2048; } > /var/lib/hyperv/.kvp_pool_1
is "the host finds what the guest set" "$(ask enumerate device kvp pool guest)" '[{"key":"shape","value":"round"}]'
ask enumerate device kvp pool auto > /run/kvp
check "the guest says what it is" jq -e --arg release "$(uname -r)" 'any(.key == "OSBuildNumber" and .value == $release)' /run/kvp
jq -r '.[] | "# \(.key): \(.value)"' /run/kvp
rm /run/kvp
stop_daemons
check "the driver unloads" unload_utils
done_testing
