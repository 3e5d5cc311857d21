# SPDX-License-Identifier: GPL-2.0
# The host sets the guest's clock when it says so, and else only offers samples.
# guest: default
# drivers: stock
# hosts: hvhost
# needs: daemons host
# timeout: 60
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./ic.sh

# ahead SECONDS: the clock is so far ahead of what it was at the start, give or take three seconds.
ahead() {
    drift=$(($(date +%s) - $(uptime_seconds) - epoch - $1))
    [ $drift -ge -3 ] && [ $drift -le 3 ]
}

plan 9
check "the driver loads" load_utils
check "host and guest agree on versions" ready timesync
is "the newest ones" "$(versions timesync)" "3.0 4.0"
check "the host's clock is a PTP device" grep -qx hyperv /sys/class/ptp/*/clock_name
check "the host sets the clock" ask timesync device timesync
sleep 1
epoch=$(($(date +%s) - $(uptime_seconds)))
date -s "@$(($(date +%s) - 7200))" > /dev/null
ask timesync device timesync sample true offset_ms 0 > /dev/null
sleep 1
check "a sample leaves the clock as it is" ahead -7200
ask timesync device timesync offset_ms 0 > /dev/null
check "a sync corrects it" within 10 ahead 0
ask timesync device timesync offset_ms 3600000 > /dev/null
check "and moves it with the host's" within 10 ahead 3600
ask timesync device timesync offset_ms 0 > /dev/null
within 10 ahead 0
check "the driver unloads" unload_utils
done_testing
