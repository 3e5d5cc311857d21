#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# kernel.sh stable|testing: unpacks the stock kernel of a build root into build/kernel/NAME (vmlinuz, modules/, lsvmbus,
# release) and makes its Rust metadata in build/kdir/RELEASE. Exit code 3: this kernel can't be built for, said why.
set -euo pipefail
name=${1:-}
case $name in stable|testing) ;; *) echo "usage: kernel.sh stable|testing" >&2; exit 2 ;; esac
scripts=$(realpath "$(dirname "$0")")
cd "$scripts/.."

fail() { echo "kernel: $*" >&2; exit 1; }
root=build/root/$name
out=build/kernel/$name
[ -d "$root" ] || fail "build/root/$name is missing; run scripts/buildroot.sh $name"
in_root() { "$scripts/in-root" "$root" "$@"; }

# The metapackage in the root names the kernel; its headers are installed there, so the release is what they are for.
headers=$(sed -n '/^Package: linux-headers-amd64$/,/^$/p' "$root/var/lib/dpkg/status")
release=$(echo "$headers" | sed -nE '/^Depends:/s/.*linux-headers-([0-9][^ ,]*) \(.*/\1/p')
version=$(echo "$headers" | sed -n 's/^Version: //p')
[ -n "$release" ] || fail "linux-headers-amd64 in build/root/$name names no kernel release"

stamp="$release $version $(sha256sum < "$0")"
if [ "$(cat "$out/stamp" 2>/dev/null)" != "$stamp" ]; then
    echo "kernel: unpacking the stock kernel $release (about 120 MB)"
    rm -rf "$out"
    mkdir -p "$out/deb"
    in_root apt-get -qq update
    # Signed images are packages apart from the unsigned ones, under versions of their own: take what goes with the release.
    (cd "$out/deb" && "$scripts/in-root" "../../../../$root" apt-get -qq -o APT::Sandbox::User=root download \
        "linux-binary-$release" "linux-modules-$release=$version") ||
        fail "the archive no longer has linux-binary-$release; remove build/root/$name.stamp and run scripts/buildroot.sh $name"
    for deb in "$out"/deb/*.deb; do in_root dpkg-deb --extract "$deb" "$out/tree"; done
    vmlinuz=$(find "$out/tree" -name "vmlinuz*" -type f)
    [ -f "$vmlinuz" ] || fail "linux-binary-$release holds no vmlinuz"
    mv "$vmlinuz" "$out/vmlinuz"
    mv "$out/tree/usr/lib/modules/$release" "$out/modules"
    rm -rf "$out/tree" "$out/deb"
    cp "$root/usr/lib/modules/$release/modules."* "$out/modules/" 2>/dev/null || true
    # lsvmbus is in no binary package; the source package of this kernel has it.
    source=linux-source-$(echo "$release" | sed -E 's/^([0-9]+\.[0-9]+).*/\1/')
    in_root tar -C "$out" --strip-components=3 -xf "/usr/src/$source.tar.xz" "$source/tools/hv/lsvmbus"
    echo "$release" > "$out/release"
    echo "$stamp" > "$out/stamp"
fi
in_root scripts/kdir.sh "$release" "build/kdir/$release"
