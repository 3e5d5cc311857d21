# SPDX-License-Identifier: GPL-2.0
# The host asks for the addresses of an adapter, and sets them through the script that the daemon calls.
# guest: default
# drivers: viridian stock
# hosts: hvhost
# needs: daemons host
# timeout: 90
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./ic.sh

adapter="{7ab17a5c-1a2b-4c3d-8e4f-001122334455}"
address=00:15:5D:01:02:03
script=/usr/libexec/hypervkvpd/hv_set_ifconfig

# An adapter, for which the daemon looks in this folder. VMBus has none here, so that its GUID is made up.
make_adapter() {
    stock_module dummy numdummies=0
    ip link add dummy0 type dummy && ip addr add 10.1.2.3/24 dev dummy0 && ip link set dummy0 up || return 1
    mkdir -p /run/net/dummy0/device
    echo $address | tr A-F a-f > /run/net/dummy0/address
    echo "$adapter" > /run/net/dummy0/device/device_id
    mount --bind /run/net /sys/class/net
}
# make_script: what the distribution leaves to others.
make_script() {
    mkdir -p "${script%/*}"
    printf '#!/bin/sh\ncp "$1" /run/ifcfg && cp "$2" /run/nmconnection\n' > $script
    chmod +x $script
}

plan 10
check "the driver loads" load_utils
check "there is an adapter" make_adapter
make_script
check "the daemon's device is there" within 10 test -c /dev/vmbus/hv_kvp
start_daemon hv_kvp_daemon
check "host and guest agree on versions" ready kvp
ask get_ip device kvp adapter_id "\"$address\"" > /run/ip
# After it comes one of IPv6, of the link, once the kernel has made it.
check "the host gets the address" jq -e '.addresses[0] == "10.1.2.3" and .subnets[0] == "255.255.255.0"' /run/ip
sed 's/^/# /' /run/ip
refuses "of no other adapter" ask get_ip device kvp adapter_id '"00:15:5D:00:00:00"'
check "the host sets addresses" ask set_ip device kvp adapter_id "\"$adapter\"" addresses '["10.9.8.7"]' \
    subnets '["255.255.0.0"]' gateways '["10.9.0.1"]' dns_servers '["10.9.0.2","10.9.0.3"]'
check "the script gets them" grep -q '^IPADDR0=10.9.8.7$' /run/ifcfg
sed 's/^/# /' /run/ifcfg
refuses "of no other adapter" ask set_ip device kvp adapter_id '"{0}"' addresses '["10.9.8.7"]'
stop_daemons
umount /sys/class/net
ip link del dummy0
rmmod dummy
rm -rf /run/net /run/ip /run/ifcfg /run/nmconnection ${script%/*}
check "the driver unloads" unload_utils
done_testing
