# SPDX-License-Identifier: GPL-2.0
# What `make bench` runs in each of its guests; bench.py reads what this prints. No test, so it has no key `guest`.
# MARK and CHANNELS come from the kernel's command line.
# timeout: 200
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./storage.sh

# load NAME OPERATIONS OPTION...: one fio on the disk. The profile's section between two marks is that of its operations.
# Prints their number, the milliseconds that they took, and what the host had counted on the controller's channels before
# and after.
load() {
    name=$1
    operations=$2
    shift 2
    before=$(ask counters device scsi0)
    # Fields 9 and 50 are the time of reads and that of writes.
    if took=$(fio --name="$name" --filename="/dev/$disk" --cpus_allowed="$cpu" --ioengine=io_uring --direct=1 --thread \
        --gtod_reduce=1 --norandommap --number_ios="$operations" --output-format=terse \
        --exec_prerun="/bench/mark-$MARK" --exec_postrun="/bench/mark-$MARK" "$@" | sed -n 's/^3;/&/p' | cut -d';' -f9,50); then
        echo "bench load $name $operations $((${took%;*} + ${took#*;})) $before $(ask counters device scsi0)"
    fi
}

load_storage || exit 1
appears 0 || exit 1
disk=$(disk 0)
echo none > "/sys/block/$disk/queue/scheduler"
for module in hv_core vmbus_drv storvsc hv_storvsc; do
    for section in /sys/module/$module/sections/.text*; do
        [ ! -e "$section" ] || echo "bench section $module ${section##*/} $(cat "$section")"
    done
done
echo "bench queues $(ls "/sys/block/$disk/mq" | wc -l) channels $(ls "$(controller scsi0)/channels" | wc -l)"
# Beside the first channel's interrupts, wherever the driver has put them: a program that wanders has the answers brought to
# it by the other CPU or not, as chance will have it.
cpu=$(cd "$(controller scsi0)/channels" && cat "$(printf '%s\n' * | sort -n | head -n 1)/cpu")
# Whoever looks at a new disk has ended.
sleep 1
load write-1 1000 --rw=randwrite --bs=4k --iodepth=1
load read-1 1000 --rw=randread --bs=4k --iodepth=1
load write-32 4000 --rw=randwrite --bs=4k --iodepth=32
load read-32 4000 --rw=randread --bs=4k --iodepth=32
load write-256k 200 --rw=write --bs=256k --iodepth=4
load read-256k 200 --rw=read --bs=256k --iodepth=4
load batch-write 4096 --rw=randwrite --bs=4k --iodepth=32 --iodepth_batch_submit=16 --iodepth_batch_complete_min=16
load batch-read 4096 --rw=randread --bs=4k --iodepth=32 --iodepth_batch_submit=16 --iodepth_batch_complete_min=16
unload_storage
