# SPDX-License-Identifier: GPL-2.0
# Key-value pairs when something goes wrong: with the daemon, on the channel, and with the channel. Whatever it is, the host
# gets an answer or gives up, and the next request succeeds.
# guest: default
# drivers: viridian
# hosts: hvhost
# needs: daemons host
# timeout: 300
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./ic.sh

load() { load_utils daemon_timeout_s=2 daemon_patience_s=2 freeze_timeout_s=2; }
# set_pair: the host sets a pair, which it does not remember; it waits twice as long as the driver.
set_pair() { ask set device kvp pool guest key colour value '"blue"' timeout_ms 4000; }
# refused: it is told that it failed, by the guest.
refused() { set_pair 2>&1 | grep -q "the guest refused"; }
# late: how often the driver has waited for a daemon in vain.
late() { dmesg | grep -c "kvp: the daemon did not answer in time"; }
# gives RULE: one packet of the channel has something done to it; what that does to a request is another question.
gives() {
    host_ask "{\"command\":\"fault\",\"channel\":\"kvp\",$1}" && { set_pair || true; } &&
        host_ask '{"command":"faults_clear"}' && within 5 set_pair
}
# speaks VERSIONS: what was agreed, and it works.
speaks() { ready kvp && [ "$(versions kvp)" = "$1" ] && within 5 set_pair; }
# offers_less COUNT: a host that offers fewer of its three versions, the oldest first, by a bit of their number.
offers_less() {
    host_ask "{\"command\":\"fault\",\"channel\":\"kvp\",\"direction\":\"to-guest\",\"action\":{\"corrupt\":{\"offset\":30,\"xor\":$1}}}"
    load
    start
}
# start: the daemon runs. Not in `check`, which would wait for its end.
start() { within 10 test -c /dev/vmbus/hv_kvp && start_daemon hv_kvp_daemon; }
# withdrawn: what the guest had of the service is gone, and who used it.
withdrawn() { [ ! -e /dev/vmbus/hv_kvp ] && ended "$daemon"; }

plan 26
check "the driver loads" load
check "without a daemon the versions are agreed in the end" ready kvp
check "and requests fail" refused
start
check "with a daemon they succeed" within 5 set_pair

kill -STOP "$daemon"
check "a daemon that sleeps: the request fails" refused
kill -CONT "$daemon"
check "the next one succeeds" set_pair
check "with the same daemon" daemon_runs
kill -STOP "$daemon"
before=$(late)
{ refused && touch /run/refused; } &
sleep 1
kill -KILL "$daemon"
check "a daemon is killed: the request fails" within 10 test -e /run/refused
is "at once" "$(late)" "$before"
start
check "with a new one the next succeeds" within 5 set_pair

for direction in to-guest from-guest; do
    for action in '"drop"' '"duplicate"' '{"delay_ms":2500}' '{"truncate":30}' \
        '{"corrupt":{"offset":28,"xor":66}}' '{"corrupt":{"offset":24,"xor":1}}'; do
        check "$direction: $action" gives "\"direction\":\"$direction\",\"action\":$action"
    done
done

ask rescind device kvp
check "the host withdraws the service: the device is gone, and the daemon" within 10 withdrawn
ask reoffer device kvp
within 10 test -c /dev/vmbus/hv_kvp
start
check "it offers it again: it works" eval "ready kvp && within 5 set_pair"
stop_daemons
unload_utils
offers_less 1
check "version 3.0" speaks "3.0 3.0"
stop_daemons
unload_utils
offers_less 2
check "version 1.0" speaks "3.0 1.0"
stop_daemons
unload_utils
rm -f /run/refused
done_testing
