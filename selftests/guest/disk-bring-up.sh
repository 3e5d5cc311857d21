# SPDX-License-Identifier: GPL-2.0
# Disks appear with the sizes, sectors and write protection that the host gave them; a DVD can be mounted.
# guest: default
# drivers: viridian stock
# hosts: hvhost
# needs: host storage
# disks: 16M
# host-options: --disk ram=96M --disk ram=64M,lun=1,sector=4096 --disk ram=16M,lun=2,ro --disk file=$DISK0,lun=3 --disk file=$DISK0,lun=4,dvd
# timeout: 90
. ./tap.sh
. ./stack.sh
. ./host.sh
. ./storage.sh

plan 22
check "the driver loads" load_storage
for lun in 0 1 2 3; do check "LUN $lun appears" appears $lun; done
small=$(disk 0) large=$(disk 1) protected=$(disk 2) file=$(disk 3)
is "LUN 0 has 96 MiB" "$(bytes "$small")" $((96 << 20))
is "LUN 1 has 64 MiB" "$(bytes "$large")" $((64 << 20))
is "LUN 0 has sectors of 512 bytes" "$(sector "$small")" 512
is "LUN 1 has sectors of 4096 bytes" "$(sector "$large")" 4096
is "LUN 0 can be written" "$(cat "/sys/block/$small/ro")" 0
is "LUN 2 can't be written" "$(cat "/sys/block/$protected/ro")" 1
refuses "so a write to it is refused" dd if=/dev/zero of="/dev/$protected" bs=4k count=1 oflag=direct
check "the vendor is a Hyper-V host's" grep -q "^Msft" "/sys/block/$small/device/vendor"

# Random, so that what is read can be nothing else; larger than what a request can carry.
head -c 3000000 /dev/urandom > /run/data
check "data is written" dd if=/run/data of="/dev/$large" bs=1000000 conv=fsync
echo 3 > /proc/sys/vm/drop_caches
check "and read back" cmp -s -n 3000000 /run/data "/dev/$large"

# The guest makes the image on a disk whose file is also in the drive.
mkdir -p /run/tree /run/dvd
cp /run/data /run/tree/data
check "an ISO image is made" genisoimage -quiet -R -V VIRIDIAN -o /run/iso /run/tree
check "and written to LUN 3" dd if=/run/iso of="/dev/$file" bs=1M conv=fsync
stock_module sr_mod
check "the DVD drive appears" appears 4
stock_module isofs
check "the DVD is mounted" mount -t iso9660 -o ro "/dev/$(disk 4)" /run/dvd
check "its content is right" cmp /run/data /run/dvd/data
check "it is unmounted" umount /run/dvd
rm -rf /run/data /run/tree /run/dvd /run/iso
check "the driver unloads" unload_storage
done_testing
