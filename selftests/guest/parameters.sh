# SPDX-License-Identifier: GPL-2.0
# A module parameter out of range is refused with EINVAL, before anything is touched.
# guest: default
# timeout: 30
. ./tap.sh
. ./stack.sh

plan 5
check "hv_core loads" load_core
for value in 1 0x7fffffff; do
    refuses "max_version=$value is refused" load_bus max_version=$value
    check "with EINVAL" said "Invalid argument"
done
done_testing
