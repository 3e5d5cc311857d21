#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# modules.sh KDIR [MAKE-ARGUMENT...]: builds the modules for the kernel whose build folder is KDIR, into
# build/modules/RELEASE. Where KDIR has no Rust metadata, as in Debian's headers packages, kdir.sh makes it first.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "modules: $*" >&2; exit 1; }

kdir=$1
shift
[ -e "$kdir/Makefile" ] || fail "there are no kernel headers at $kdir; install linux-headers-$(uname -r), or say KDIR=folder"
tools="make:make gcc:gcc rustc:rustc bindgen:bindgen"
# Cargo only fetches what Kbuild compiles.
[ -e vendor/stamp ] || tools="$tools cargo:cargo"
for tool in $tools; do
    command -v "${tool%%:*}" >/dev/null || fail "${tool%%:*} is missing; install ${tool##*:}"
done
release=$(make -s -C "$kdir" kernelrelease)
if [ ! -e "$kdir/rust/libkernel.rmeta" ]; then
    status=0
    scripts/kdir.sh "$release" "build/kdir/$release" || status=$?
    [ $status -eq 0 ] || exit $status
    kdir=$PWD/build/kdir/$release/obj
fi
want=$(sed -n 's/^CONFIG_RUSTC_VERSION_TEXT="\(.*\)"$/\1/p' "$kdir/.config" "$kdir/include/config/auto.conf" 2>/dev/null | head -n 1)
have=$(rustc --version)
[ -n "$want" ] || fail "kernel $release was built without CONFIG_RUST, so it cannot have Rust modules"
[ "$want" = "$have" ] || fail "kernel $release was built by '$want' but the rustc here is '$have'; Rust's module ABI needs the very same"
scripts/vendor.sh
out=$PWD/build/modules/$release
mkdir -p "$out"
make -s -C "$kdir" M="$PWD" MO="$out" -j"$(nproc)" modules "$@"
