# SPDX-License-Identifier: GPL-2.0
# The host asks for shutdown, and the guest powers itself off in order: the kernel runs the program that it has for that.
# guest: fresh
# drivers: viridian stock
# hosts: hvhost
# needs: daemons host
# expect: end
# host: switched the power off
# timeout: 60
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./ic.sh

plan 6
check "the driver loads" load_utils
check "host and guest agree on versions" ready shutdown
is "the newest ones" "$(versions shutdown)" "3.0 3.2"
refuses "hibernation is refused" ask shutdown device shutdown hibernate true
printf '#!/bin/sh\nsleep 2\necho "<5>tap: ok 6 - the guest is told to power off" > /dev/kmsg\nsleep 1\npoweroff -f\n' > /run/poweroff
chmod +x /run/poweroff
echo /run/poweroff > /proc/sys/kernel/poweroff_cmd
check "the guest agrees to shut down" ask shutdown device shutdown
sleep 60
