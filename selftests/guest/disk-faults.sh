# SPDX-License-Identifier: GPL-2.0
# What the host does wrong at random costs commands, and perhaps the controller: never data that was acknowledged, never
# the guest. Each seed has its faults; `ROUNDS=n` runs seeds 1 to n. The stock driver waits for ever for a lost answer.
# guest: default
# drivers: viridian
# hosts: hvhost
# needs: host storage
# cpus: 4
# host-options: --disk ram=96M --disk ram=64M,lun=1 --sub-channels 3
# timeout: 720 4000
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./storage.sh

# random N: a number below N, which follows from the seed.
random() {
    state=$(((state * 1103515245 + 12345) & 0x7fffffff))
    number=$(((state >> 8) % $1))
}

# add_fault KIND: a rule of this kind, from 0 to 12, and random in all else, for one of the next packets.
add_fault() {
    random 2
    if [ $number = 0 ]; then way=to-guest; else way=from-guest; fi
    case $1 in
    0) action='"drop"' ;;
    1) random 6000; action="{\"delay_ms\":$number}" ;;
    2) action='"duplicate"' ;;
    3) action='"reorder"' ;;
    4) action='"wrong-id"' ;;
    5) action='"unknown-id"' ;;
    6) random 56; action="{\"truncate\":$number}" ;;
    7) action='{"rescind":"before"}' ;;
    8) action='{"rescind":"after"}' ;;
    9) action='{"index":{"write":12345}}' ;;
    10) way=from-guest action='{"index":{"read":1048576}}' ;;
    11) way=from-guest action='{"error-status":4}' ;;
    # A packet larger than any that the device may send.
    12) way=to-guest action='{"extend":600}' ;;
    esac
    random 60
    nth=$((number + 1))
    note "seed $seed: $way $nth $action"
    ask fault channel scsi0 direction $way nth $nth action "$action" > /dev/null
}

# make_node: a node for LUN 0 that stays when the disk goes, so that nobody makes a file of that name instead.
node=/run/disk
make_node() {
    rm -f $node
    # shellcheck disable=SC2046 # Two words.
    mknod $node b $(tr : ' ' < "/sys/block/$(disk 0)/dev")
}

# write_part FIRST: sixteen pieces from that one on, each by itself; those that the disk has taken are noted.
write_part() {
    piece=$1
    while [ "$piece" -lt $(($1 + 16)) ]; do
        dd if=/run/data of=$node bs=32k count=1 skip="$piece" seek="$piece" oflag=direct conv=notrunc 2> /dev/null &&
            echo "$piece" >> "/run/taken.$1"
        piece=$((piece + 1))
    done
}

# as_taken: every piece that was taken is on the disk.
as_taken() {
    for piece in $(cat /run/taken.*); do
        dd if=$node bs=32k count=1 skip="$piece" iflag=direct 2> /dev/null > /run/found
        dd if=/run/data bs=32k count=1 skip="$piece" 2> /dev/null | cmp - /run/found || return 1
    done
}

# one_seed: what the host then has is what it took.
one_seed() {
    state=$seed
    head -c 2097152 /dev/urandom > /run/data
    rm -f /run/taken.*
    touch /run/taken.0
    impatient 0 1 || return 1
    # What looks at a new disk has ended, so that the faults hit the writers.
    sleep 2
    make_node || return 1
    # Eight seeds have each kind once, and three of them twice; then others come together.
    add_fault $(((2 * seed - 2) % 13)) && add_fault $(((2 * seed - 1) % 13)) || return 1
    for first in 0 16 32 48; do write_part $first & done
    wait
    ask faults_clear > /dev/null
    taken=$(cat /run/taken.* | wc -l)
    total=$((total + taken))
    note "seed $seed: $taken of 64 were taken"
    # Whether it was given up or not: it goes, and another comes.
    withdrawn && back 0 1 && make_node && as_taken
}

plan 6
check "the driver loads" load_storage io_timeout_s=2
check "the disks appear" all_appear 0 1
failed_seeds= total=0
count=$(rounds 8 50)
for seed in $(seq "$count"); do one_seed || failed_seeds="$failed_seeds $seed"; done
is "with $count seeds, what was taken is there" "$failed_seeds" ""
check "something was taken, but not all" test $total -gt $((count * 8)) -a $total -lt $((count * 64))
check "the host works again" dd if="/dev/$(disk 1)" of=/dev/null bs=64k count=16 iflag=direct
rm -f /run/data /run/found /run/taken.* $node
check "the driver unloads" unload_storage
done_testing
