# SPDX-License-Identifier: GPL-2.0
# On a machine that is no Hyper-V guest, the modules refuse with ENODEV and one line.
# guest: default
# boot: plain
# timeout: 30
. ./tap.sh
. ./stack.sh

plan 4
dmesg -c > /dev/null
refuses "hv_core refuses" load_core
check "with ENODEV" said "No such device"
is "and one line" "$(lines hv_core | wc -l)" 1
refuses "nothing is left" test -e $debug
done_testing
