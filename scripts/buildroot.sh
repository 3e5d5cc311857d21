#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# buildroot.sh stable|testing: makes build/root/NAME, a Debian tree with a kernel's headers and source, the compilers
# that built that kernel and, in stable, QEMU and what goes into test guests.
#
# Nothing is pinned: the kernel is the one that the archive's metapackages name today, and the mirror is the one that
# this machine's apt uses. Made once; made again when this file changes.
set -euo pipefail
name=${1:-}

# What compiles modules for the kernel in question; the kernel's own compiler comes with its headers.
compile="ca-certificates make gcc libc6-dev binutils bc python3-minimal python3 kmod cpio xz-utils
    rustc rust-src rustfmt rust-clippy bindgen libclang-dev libelf-dev"
case $name in
stable)
    suites="trixie trixie-backports"
    # cargo, clang, valgrind: host-side crates, fuzzing and instruction counts; the last line boots and fills guests.
    packages="$compile cargo clang valgrind
        linux-headers-amd64/trixie-backports linux-source/trixie-backports
        qemu-system-x86 seabios busybox-static kexec-tools util-linux" ;;
testing)
    suites="testing"
    packages="$compile linux-headers-amd64 linux-source" ;;
*) echo "usage: buildroot.sh stable|testing" >&2; exit 2 ;;
esac

root=$(realpath "$(dirname "$0")/..")/build/root
stamp=$(echo "$suites $packages" | sha256sum)
if [ "$(cat "$root/$name.stamp" 2>/dev/null)" = "$stamp" ]; then exit 0; fi

fail() { echo "buildroot: $*" >&2; exit 1; }
[ "$(id -u)" = 0 ] || fail "this needs root, for chroot and mount"
command -v apt-get >/dev/null || fail "this needs Debian 12 or newer, or a system derived from it (no apt-get here)"

# The machine's own mirror of the Debian archive; security and third-party archives carry other labels.
mirror() { apt-get indextargets --format '$(LABEL)|$(REPO_URI)' 'Created-By: Packages' | sed -n 's/^Debian|//p' | sed -n 1p; }
if [ -z "$(mirror)" ] || ! command -v mmdebstrap >/dev/null; then
    echo "buildroot: apt-get update"
    apt-get -qq update
fi
[ -n "$(mirror)" ] || fail "apt has no Debian archive configured (apt-get indextargets shows none with the label Debian)"
if ! command -v mmdebstrap >/dev/null; then
    echo "buildroot: apt-get install mmdebstrap debian-archive-keyring"
    DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y mmdebstrap debian-archive-keyring >/dev/null
fi

echo "buildroot: making build/root/$name from $suites (a few minutes, about 2.5 GB)"
mkdir -p "$root"
rm -rf --one-file-system "$root/$name.new"
sources=()
for suite in $suites; do sources+=("deb $(mirror) $suite main"); done
# A mirror that lags behind serves an expired but signed index of testing; nothing here faces a network.
mmdebstrap --mode=root --variant=apt --include="$(echo $packages | tr ' ' ',')" \
    --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
    --aptopt='Acquire::Check-Valid-Until "false"' \
    "${suites%% *}" "$root/$name.new" "${sources[@]}"
rm -rf --one-file-system "${root:?}/$name"
mv "$root/$name.new" "$root/$name"
echo "$stamp" > "$root/$name.stamp"
