#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# rootdisk.sh stable|testing: makes build/rootdisk/NAME, a Debian for a guest with that test kernel: `disk`, an ext4 with
# systemd, hyperv-daemons and our modules installed as Documentation/root-disk.md says, and `initrd`, which its own
# update-initramfs made. The packages are fetched once; the rest is made again when modules or guest scripts change.
set -euo pipefail
name=${1:-}
case $name in stable|testing) ;; *) echo "usage: rootdisk.sh stable|testing" >&2; exit 2 ;; esac
cd "$(dirname "$0")/.."
base=build/rootdisk
out=$base/$name
packages="systemd-sysv udev kmod initramfs-tools zstd busybox e2fsprogs jq hyperv-daemons/trixie-backports"
mkdir -p "$base"

stamp=$(echo "$packages" | sha256sum)
if [ "$(cat "$base/debian.stamp" 2>/dev/null)" != "$stamp" ]; then
    echo "rootdisk: fetching a small Debian (half a minute, 110 MB)"
    command -v mmdebstrap >/dev/null || { echo "rootdisk: mmdebstrap is missing; install mmdebstrap" >&2; exit 1; }
    mmdebstrap --quiet --mode=root --variant=essential --format=tar --include="$(echo $packages | tr ' ' ',')" \
        --aptopt='APT::Install-Recommends "false"; Acquire::Languages "none"; Acquire::Check-Valid-Until "false";' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        trixie "$base/debian.tar" build/root/stable/etc/apt/sources.list
    echo "$stamp" > "$base/debian.stamp"
fi

release=$(cat "build/kernel/$name/release")
stamp=$(find scripts/rootdisk.sh scripts/install.sh "$base/debian.tar" "build/kernel/$name/stamp" "build/modules/$release"/*.ko packaging \
    selftests/guest -type f -printf '%p %T@ %s %m\n' | sort | sha256sum)
if [ "$(cat "$out/stamp" 2>/dev/null)" = "$stamp" ]; then exit 0; fi
echo "rootdisk: making a root disk for $release (half a minute, 600 MB)"
tree=$out/tree
rm -rf "$out"
mkdir -p "$tree"
tar -C "$tree" -xf "$base/debian.tar"
in_tree() {
    unshare --mount --propagation private sh -c 'mount -t proc proc "$0/proc" && exec chroot "$0" /usr/bin/env -i \
        PATH=/usr/sbin:/usr/bin "$@"' "$tree" "$@"
}

# The kernel, as its packages would install it. hvhost boots it by itself.
mkdir -p "$tree/usr/lib/modules"
cp -a "build/kernel/$name/modules" "$tree/usr/lib/modules/$release"
cp "build/kdir/$release/obj/.config" "$tree/boot/config-$release"

# What a person does, but for the boot loader.
for step in "build/kdir/$release/obj" --root-disk; do
    scripts/in-root "build/root/$name" env DESTDIR="$PWD/$tree" scripts/install.sh "$step" >/dev/null
done
echo 'LABEL=viridian / ext4 errors=remount-ro 0 1' > "$tree/etc/fstab"
# There is no such file system here that could be asked.
echo FSTYPE=ext4 > "$tree/etc/initramfs-tools/conf.d/rootdisk"
in_tree update-initramfs -c -k "$release" >/dev/null
mv "$tree/boot/initrd.img-$release" "$out/initrd"

# What a first boot would do, which takes long where CPUs are emulated; no one to log in; the scripts, whose shell is busybox.
tr -d - < /proc/sys/kernel/random/uuid > "$tree/etc/machine-id"
touch "$tree/etc/.updated" "$tree/var/.updated"
echo viridian > "$tree/etc/hostname"
cp -a selftests/guest "$tree/guest"
ln -s /usr/bin/busybox "$tree/usr/local/bin/sh"
cp selftests/guest/rig.service "$tree/etc/systemd/system/"
in_tree systemctl --quiet enable rig.service
in_tree systemctl --quiet mask getty-static.service getty@.service serial-getty@.service

scripts/in-root build/root/stable mke2fs -q -t ext4 -L viridian -d "$tree" "$out/disk" 512M
rm -rf "$tree"
echo "$stamp" > "$out/stamp"
