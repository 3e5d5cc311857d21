# SPDX-License-Identifier: GPL-2.0
# Opens and closes the balloon's channel again and again: nothing leaks.
# guest: default
# drivers: viridian stock
# cmdline: slab_debug=U
# timeout: 360 1200
. ./tap.sh
. ./stack.sh
. ./leaks.sh

open_and_close() {
    if stock; then
        echo "${device##*/}" > $bus/drivers/hv_balloon/bind && echo "${device##*/}" > $bus/drivers/hv_balloon/unbind
    else
        load_balloon && within 5 bound && rmmod viridian_balloon
    fi
}

plan 6
check "the drivers load" load_stack
within 10 bound
device=$(balloon_device)
if stock; then echo "${device##*/}" > $bus/drivers/hv_balloon/unbind; else rmmod viridian_balloon; fi
no_leak "$(rounds 20 100)" open_and_close
done_testing
