# SPDX-License-Identifier: GPL-2.0
# The host sets the guest's clock when it says so, and else only offers samples, which the PTP clock shows.
# guest: default
# drivers: viridian stock
# hosts: hvhost
# needs: daemons host
# timeout: 60 1200
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./ic.sh

# near GOT WANTED: give or take three seconds.
near() { [ $(($1 - $2)) -ge -3 ] && [ $(($1 - $2)) -le 3 ]; }

# ahead SECONDS: the guest's clock is so far ahead of what it was at the start.
ahead() { near $(($(date +%s) - $(uptime_seconds) - epoch)) "$1"; }

# shown: what the PTP clock shows, in seconds. ptp_ahead SECONDS: it is so far ahead of that.
shown() { phc_ctl "/dev/$ptp" get | sed -n 's/.*clock time is \([0-9]*\)\..*/\1/p'; }
ptp_ahead() { near $(($(shown) - $(uptime_seconds) - epoch)) "$1"; }

plan 18
check "the driver loads" load_utils
check "host and guest agree on versions" ready timesync
is "the newest ones" "$(versions timesync)" "3.0 4.0"
clock=$(grep -lx hyperv /sys/class/ptp/*/clock_name) ptp=${clock%/clock_name} ptp=${ptp##*/}
check "the host's clock is a PTP device" test -c "/dev/$ptp"
check "the host sets the clock" tell
sleep 1
epoch=$(($(date +%s) - $(uptime_seconds)))
check "the PTP clock shows the same" ptp_ahead 0
phc_ctl "/dev/$ptp" cmp | sed 's/^/# /'
date -s "@$(($(date +%s) - 3600))" > /dev/null
tell sample true
sleep 1
check "a sample leaves a clock that is an hour behind as it is" ahead -3600
tell
check "a sync corrects it" within 10 ahead 0
tell offset_ms 3600000
check "and moves it with the host's" within 10 ahead 3600
tell sample true offset_ms 7200000
check "the PTP clock follows the host's by a sample" ptp_ahead 7200
check "which leaves the guest's" ahead 3600
refuses "the PTP clock can't be set" sh -c "phc_ctl /dev/$ptp set 1000 | grep -v failed"
check "and shows the host's still" ptp_ahead 7200
echo Y > /sys/module/hv_utils/parameters/timesync_implicit
tell sample true
check "where samples count, one corrects a clock that is behind" within 10 ahead 7200
tell sample true offset_ms 0
sleep 1
check "but none that is ahead" ahead 7200
echo N > /sys/module/hv_utils/parameters/timesync_implicit
tell
within 10 ahead 0
if [ -n "$SOAK" ]; then
    # The next sample would be in five seconds.
    tell interval_ms 0
    sleep 602
    refuses "after ten minutes the PTP clock can't be read" sh -c "phc_ctl /dev/$ptp get | grep 'clock time is'"
    tell interval_ms 5000
elif stock; then
    skip "a time before 1970 can't be read" "the stock driver shows it as some other time"
else
    tell sample true unix_ms -600000
    refuses "a time before 1970 can't be read" sh -c "phc_ctl /dev/$ptp get | grep 'clock time is'"
fi
phc_ctl "/dev/$ptp" get | sed 's/^/# /'
tell offset_ms 0
check "the next time is shown again" ptp_ahead 0
check "the driver unloads" unload_utils
done_testing
