# SPDX-License-Identifier: GPL-2.0
# The host asks for a reboot, and the guest resets itself in order.
# guest: fresh
# drivers: viridian stock
# hosts: hvhost
# needs: daemons host
# expect: end
# host: reset itself
# timeout: 60
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./ic.sh

plan 4
check "the driver loads" load_utils
check "host and guest agree on versions" ready shutdown
# What the kernel runs.
rm /sbin/reboot
printf '#!/bin/sh\nsleep 2\necho "<5>tap: ok 4 - the guest is told to reboot" > /dev/kmsg\nsleep 1\nbusybox reboot -f\n' > /sbin/reboot
chmod +x /sbin/reboot
check "the guest agrees to reboot" ask shutdown device shutdown reboot true
sleep 60
