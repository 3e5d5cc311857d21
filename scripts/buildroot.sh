#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# buildroot.sh stable|testing: makes build/root/NAME, a Debian tree with a kernel's headers and source, the compilers
# that built that kernel and, in stable, QEMU and what goes into test guests.
#
# Nothing is pinned: the kernel is the one that the archive's metapackages name today, and the mirror is the one that
# this machine's apt uses. Made once; packages that are listed later are added to it.
set -euo pipefail
name=${1:-}

# What compiles modules for the kernel in question; the kernel's own compiler comes with its headers.
compile="ca-certificates make gcc libc6-dev binutils bc python3-minimal python3 kmod cpio xz-utils
    rustc rust-src rustfmt rust-clippy bindgen libclang-dev libelf-dev"
case $name in
stable)
    suites="trixie trixie-backports"
    # cargo, clang, valgrind: host-side crates, fuzzing and instruction counts; the last lines boot and fill guests.
    packages="$compile cargo clang valgrind
        linux-headers-amd64/trixie-backports linux-source/trixie-backports
        busybox-static kexec-tools makedumpfile util-linux
        hyperv-daemons/trixie-backports linuxptp e2fsprogs xfsprogs fio sg3-utils genisoimage jq"
    # trixie's own QEMU 10.0 changes a CPU's pending interrupts without a lock where it emulates SVM, and so can lose
    # some. 11.1 does not. Its parts are named one by one, since what a package depends on is taken from trixie.
    emulator="qemu-system-x86/trixie-backports qemu-system-common/trixie-backports
        qemu-system-data/trixie-backports seabios/trixie-backports" ;;
testing)
    suites="testing"
    packages="$compile linux-headers-amd64 linux-source"
    emulator="" ;;
*) echo "usage: buildroot.sh stable|testing" >&2; exit 2 ;;
esac

root=$(realpath "$(dirname "$0")/..")/build/root
stamp=$(echo "$suites $packages $emulator" | sha256sum)
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

# A mirror that lags behind serves an expired but signed index of testing; nothing here faces a network.
apt_conf='APT::Install-Recommends "false"; Acquire::Languages "none"; Acquire::Check-Valid-Until "false";'

# Packages that were listed since are added; but for the emulator, what is there stays as it is, so that the kernel and
# its modules go together.
add_packages() {
    echo "$apt_conf" > "$root/$name/etc/apt/apt.conf.d/99mmdebstrap"
    cd "$root/../.."
    # Services of the packages are not to be started; policy-rc.d is asked.
    printf '#!/bin/sh\nexit 101\n' > "$root/$name/usr/sbin/policy-rc.d"
    chmod +x "$root/$name/usr/sbin/policy-rc.d"
    scripts/in-root "$root/$name" apt-get -qq update &&
        scripts/in-root "$root/$name" env DEBIAN_FRONTEND=noninteractive \
            apt-get -qq -y --no-upgrade install $packages >/dev/null || return
    [ -z "$emulator" ] || scripts/in-root "$root/$name" env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -y install $emulator >/dev/null
}
made_from=$(echo $(sed -n 's/^deb [^ ]* \([^ ]*\) .*/\1/p' "$root/$name/etc/apt/sources.list" 2>/dev/null))
if [ -e "$root/$name.stamp" ] && [ "$made_from" = "$suites" ]; then
    echo "buildroot: adding packages to build/root/$name"
    if (add_packages); then
        echo "$stamp" > "$root/$name.stamp"
        exit 0
    fi
    echo "buildroot: that failed, so it is made anew"
fi

echo "buildroot: making build/root/$name from $suites (a few minutes, about 2.5 GB)"
mkdir -p "$root"
rm -rf --one-file-system "$root/$name.new"
sources=()
for suite in $suites; do sources+=("deb $(mirror) $suite main"); done
mmdebstrap --mode=root --variant=apt --include="$(echo $packages $emulator | tr ' ' ',')" --aptopt="$apt_conf" \
    "${suites%% *}" "$root/$name.new" "${sources[@]}"
rm -rf --one-file-system "${root:?}/$name"
mv "$root/$name.new" "$root/$name"
echo "$stamp" > "$root/$name.stamp"
