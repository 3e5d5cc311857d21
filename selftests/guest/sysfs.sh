# SPDX-License-Identifier: GPL-2.0
# Our sysfs tree and the stock driver's in the same guest: names, modes and formats are the same, and lsvmbus agrees.
# guest: default
# needs: python
# host-options: --no-ic
# same-as: stock-bus
# differs: ^drivers/hv_pci ^hibernation\b
# timeout: 90
. ./tap.sh
. ./stack.sh

plan 4
check "the bus loads" sh -c '. ./stack.sh; load_core && load_bus'
check "the balloon is offered" within 10 balloon_device
python3 ./sysfs_dump.py unbound
check "the balloon's driver loads" load_balloon
check "and binds" within 10 bound
python3 ./sysfs_dump.py bound
done_testing
