# SPDX-License-Identifier: GPL-2.0
# SCSI commands by name: what a disk says of itself, what it does, and the sense data with which it refuses.
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

# sense KEY COMMAND...: the command is refused with that sense data, as sg_raw prints it.
sense() {
    key=$1
    shift
    shown=$("$@" 2>&1) && return 1
    echo "$shown"
    echo "$shown" | grep -q "$key"
}

# keys: the registered reservation keys.
keys() { sg_persist --in --read-keys "/dev/$small" | grep -o '0x[0-9a-f]*$' | sort -u | tr '\n' ' '; }
persist() { sg_persist --out "$@" "/dev/$small"; }

plan 32
check "the driver loads" load_storage
check "the disks appear" all_appear 0 1 2
small=$(disk 0) large=$(disk 1) protected=$(disk 2)
check "INQUIRY: a disk of Msft" sh -c "sg_inq /dev/$small | grep -q 'Vendor identification: Msft'"
for page in 0 0x80 0x83 0xb0 0xb1 0xb2; do check "VPD page $page" sg_vpd --page=$page "/dev/$small"; done
refuses "no VPD page 0x55" sg_vpd --page=0x55 "/dev/$small"
refuses "the identifiers of two disks differ" test "$(sg_vpd --quiet --page=0x83 "/dev/$small")" = "$(sg_vpd --quiet --page=0x83 "/dev/$large")"
check "READ CAPACITY 10: the last block" sh -c "sg_readcap /dev/$small | grep -q 'Last LBA=196607 '"
check "READ CAPACITY 16: the last block" sh -c "sg_readcap --16 /dev/$large | grep -q 'Last LBA=16383 '"
check "REPORT LUNS: all five" sh -c "sg_luns --quiet /dev/$small | grep -c '^ *[0-9a-f]' | grep -qx 5"
check "TEST UNIT READY" sg_turs "/dev/$small"
check "SYNCHRONIZE CACHE" sg_sync "/dev/$small"
check "START STOP UNIT" sg_raw "/dev/$small" 1b 00 00 00 01 00

# One pattern in blocks 8 to 15, taken away by UNMAP; zeroes again by WRITE SAME.
head -c 4096 /dev/urandom > /run/pattern
put() { dd if=/run/pattern of="/dev/$small" bs=4k seek=1 count=1 oflag=direct; }
zeroes() { dd if="/dev/$small" bs=4k skip=1 count=1 iflag=direct | cmp -s -n 4096 - /dev/zero; }
put 2>/dev/null
refuses "a pattern is there" zeroes
check "UNMAP" sg_unmap --lba=8 --num=8 --force "/dev/$small"
check "leaves zeroes" zeroes
put 2>/dev/null
check "WRITE SAME 16" sg_write_same --16 --lba=8 --num=8 --in=/dev/zero --xferlen=512 "/dev/$small"
check "leaves zeroes" zeroes
rm /run/pattern

check "READ 6" sg_raw -r 512 "/dev/$small" 08 00 00 00 01 00
check "READ 12" sg_raw -r 512 "/dev/$small" a8 00 00 00 00 00 00 00 00 01 00 00
check "an unknown command: illegal request, invalid opcode" sense "Invalid command operation code" sg_raw "/dev/$small" ec 00 00 00 00 00
check "a block beyond the end: illegal request, out of range" sense "Logical block address out of range" \
    sg_raw -r 512 "/dev/$small" 28 00 7f ff ff ff 00 00 01 00
# The block device can't be opened for writing, but the kernel's other way to its commands can.
check "a write where none may be: data protect" sense "Data Protect" \
    sg_raw -s 512 -i /dev/zero "/dev/bsg/$(ls "/sys/block/$protected/device/bsg")" 2a 00 00 00 00 00 00 00 01 00

check "a key is registered" persist --register --param-sark=0xabc
is "and read" "$(keys)" "0xabc "
check "a reservation is made" persist --reserve --param-rk=0xabc --prout-type=1
check "released, and the key taken back" sh -c "sg_persist --out --release --param-rk=0xabc --prout-type=1 /dev/$small &&
    sg_persist --out --register --param-rk=0xabc --param-sark=0 /dev/$small"
check "the driver unloads" unload_storage
done_testing
