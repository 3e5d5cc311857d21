# SPDX-License-Identifier: GPL-2.0
# The host withdraws the device at every step of open and close, at versions that take different paths: nothing hangs,
# and the device can be offered and used again.
# guest: default
# drivers: viridian stock
# hosts: hvhost
# needs: host
# timeout: 300 600
. ./tap.sh
. ./stack.sh
. ./host.sh

stock && skip_all "the stock VMBus is built in, and connects but once"

# The messages of open, in their order, as DIRECTION TYPE NTH; the second GPADL is a buffer that the driver lends, and
# takes so many pages that they do not fit into one message.
opening='from-guest GPADL_HEADER 1
to-guest GPADL_CREATED 1
from-guest OPEN_CHANNEL 1
to-guest OPEN_RESULT 1
from-guest GPADL_HEADER 2
from-guest GPADL_BODY 1
to-guest GPADL_CREATED 2
from-guest GPADL_TEARDOWN 1
to-guest GPADL_TORNDOWN 1'
closing='from-guest CLOSE_CHANNEL 1
from-guest GPADL_TEARDOWN 1
to-guest GPADL_TORNDOWN 1'

# strike DIRECTION TYPE NTH WHEN: from now on the device goes before or after that message.
strike() {
    ask fault channel balloon direction "message-$1" type "$2" nth "$3" action "{\"rescind\":\"$4\"}" > /dev/null
}

driver=$bus/drivers/viridian_balloon
gone() { ! balloon_device > /dev/null; }

# usable: the device goes, is offered again, and its driver agrees with the host on version and capabilities.
usable() { within 20 gone && ask reoffer device balloon > /dev/null && within 20 bound; }

# rescind_opening, rescind_closing DIRECTION TYPE NTH WHEN: begin and end with the device bound.
rescind_opening() {
    echo "$instance" > $driver/unbind && strike "$@" || return 1
    # It may fail, or be over before the device goes.
    echo "$instance" > $driver/bind
    usable
}
rescind_closing() {
    strike "$@" || return 1
    # The device may be gone before the driver is.
    echo "$instance" > $driver/unbind
    usable
}

# step FUNCTION WORDS...: one of them; after a failure the next begins as if there had been none.
step() {
    "$@" && return
    cat $debug/channels $debug/vmbus
    ask faults_clear > /dev/null
    ask reoffer device balloon > /dev/null
    within 20 bound
    return 1
}

plan 84
for version in 4.0 5.3 6.0; do
    ask faults_clear > /dev/null
    ask configure vmbus_max "\"$version\"" > /dev/null
    check "$version: the drivers load" load_stack
    within 10 bound
    instance=$(basename "$(balloon_device)")
    for when in before after; do
        # A descriptor of its own, since commands in the loop read theirs.
        while read -r message <&4; do
            # shellcheck disable=SC2086 # Words are wanted.
            check "$version: $when $message" step rescind_opening $message $when
        done 4<<END
$opening
END
        while read -r message <&4; do
            # shellcheck disable=SC2086
            check "$version: $when $message" step rescind_closing $message $when
        done 4<<END
$closing
END
    done
    ask rescind device balloon > /dev/null
    check "$version: while it is in use" usable
    is "$version: each rule has struck" "$(ask faults | jq 'map(.hits) | add')" 24
    check "$version: everything unloads" unload_stack
done
ask faults_clear > /dev/null
done_testing
