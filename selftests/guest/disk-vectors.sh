# SPDX-License-Identifier: GPL-2.0
# Reads and writes whose memory has gaps: parts that begin and end inside pages, which one list of pages can't describe.
# guest: default
# drivers: viridian stock
# hosts: hvhost
# needs: host storage python
# host-options: --disk ram=16M
# timeout: 90 240
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./storage.sh

plan 6
check "the driver loads" load_storage
check "the disk appears" appears 0
disk=$(disk 0)
is "the queue knows that gaps must not be" "$(cat "/sys/block/$disk/queue/virt_boundary_mask")" 4095
seed=${SEED:-$(date +%s)}
note "seed $seed"
rounds=$(rounds 100 1000)
before=$(counter scsi0 packets_in)
check "what goes by one vector comes back by another" python3 ./vectors.py "/dev/$disk" "$rounds" "$seed"
check "each took several commands" test $(($(counter scsi0 packets_in) - before)) -gt $((6 * rounds))
check "the driver unloads" unload_storage
done_testing
