# SPDX-License-Identifier: GPL-2.0
# The host withdraws services in the middle of what they do, and offers them again: who depends on one sees it fail or go,
# nothing hangs, and it works again afterwards.
# guest: default
# drivers: viridian
# hosts: hvhost
# needs: daemons host
# timeout: 180 300
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./ic.sh

# instance NAME: its folder in sysfs. gone NAME, back NAME: the guest has let it go; it is offered again and agreed on.
instance() { echo "$bus/devices/$(of_device "$1" .instance)"; }
absent() { ! [ -e "$1" ]; }
gone() { within 20 absent "$(instance "$1")"; }
back() { ask reoffer device "$1" > /dev/null && ready "$1"; }
withdraw() { ask rescind device "$1" > /dev/null && gone "$1"; }
again() { withdraw "$1" && back "$1"; }

# during NAME REQUEST: the host begins with the request, and withdraws the service at once. Both are answered, the first
# most likely with an error.
during() {
    stty -F /dev/ttyS1 raw -echo
    {
        printf '%s\n{"command":"rescind","device":"%s"}\n' "$2" "$1" >&3
        left=2
        while [ $left -gt 0 ] && IFS= read -r -t 30 answer <&3; do
            case $answer in
            '{"ok":'* | '{"error":'*) left=$((left - 1)) && note "$(echo "$answer" | cut -c1-200)" ;;
            esac
        done
    } 3<> /dev/ttyS1
    [ $left -eq 0 ] && gone "$1"
}

ptp_clock() { grep -qx hyperv /sys/class/ptp/*/clock_name; }
no_ptp_clock() { ! ptp_clock; }

plan 22
check "the drivers load" eval "load_utils && { ! stock || load_fcopy; }"
for service in heartbeat shutdown; do check "$service goes and comes" eval "ready $service && again $service"; done
check "timesync is there" ready timesync
check "so is its PTP clock" ptp_clock
check "timesync goes" withdraw timesync
check "and its PTP clock with it" within 10 no_ptp_clock
check "both come" eval "back timesync && ptp_clock"

within 10 test -c /dev/vmbus/hv_kvp
start_daemon hv_kvp_daemon
check "kvp is there" ready kvp
check "it goes while the host lists pairs" during kvp '{"command":"enumerate","device":"kvp","pool":"auto"}'
kill "$daemon" 2> /dev/null
within 20 absent /dev/vmbus/hv_kvp
ask reoffer device kvp > /dev/null
within 20 test -c /dev/vmbus/hv_kvp
start_daemon hv_kvp_daemon
check "it comes" ready kvp
check "and works" eval "ask enumerate device kvp pool auto | grep -q OSBuildNumber"
kill "$daemon"

start_daemon hv_fcopy_uio_daemon
check "fcopy is there" ready fcopy
check "it goes in the middle of a file" during fcopy '{"command":"copy_file","device":"fcopy","path":"/run/copied/large","create_path":true,"size":30000000}'
check "its daemon sees that" within 20 ended "$daemon"
ask reoffer device fcopy > /dev/null
within 20 test -d "$(instance fcopy)/uio"
start_daemon hv_fcopy_uio_daemon
check "it comes" ready fcopy
check "and works" ask copy_file device fcopy path /run/copied/small create_path true content '"As before."'
is "as before" "$(cat /run/copied/small)" "As before."
rm -rf /run/copied
kill "$daemon"

stock_module brd rd_nr=1 rd_size=16384 && stock_module ext4 && mkfs.ext4 -q /dev/ram0
mkdir -p /run/frozen && mount -t ext4 /dev/ram0 /run/frozen
start_daemon hv_vss_daemon
# It is ready without the daemon, too.
ready vss && within 10 ask freeze device vss > /dev/null
touch /run/frozen/during &
sleep 1
check "file systems are frozen" eval "! test -e /run/frozen/during"
check "vss goes meanwhile" withdraw vss
check "they are thawed" within 20 test -e /run/frozen/during
kill "$daemon" 2> /dev/null
umount /run/frozen
rmdir /run/frozen
rmmod brd
ask reoffer device vss > /dev/null
stop_daemons
within 20 test -c /dev/vmbus/hv_vss
check "the drivers unload" eval "{ ! stock || rmmod uio_hv_generic; } && unload_utils"
done_testing
