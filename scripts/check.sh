#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# check.sh: format, lints of the host-side crates and of the kernel modules, and the layers. Warnings are errors.
set -euo pipefail
cd "$(dirname "$0")/.."
step() { echo "check: $*"; }

step "layers"
scripts/layers.sh
step "format"
scripts/fmt.sh --check
step "clippy, host-side crates"
scripts/cargo.sh clippy --quiet --workspace --all-targets -- -D warnings
scripts/cargo.sh clippy --quiet --manifest-path selftests/bench/Cargo.toml -- -D warnings
step "clippy, kernel modules"
scripts/vendor.sh
scripts/kernel.sh stable
release=$(cat build/kernel/stable/release)
# Clippy wants to compile everything itself, in a folder of its own.
out=$PWD/build/clippy/$release
mkdir -p "$out"
log=$out/clippy.log
scripts/in-root build/root/stable make -s -C "$PWD/build/kdir/$release/obj" M="$PWD" MO="$out" CLIPPY=1 -j"$(nproc)" modules \
    > "$log" 2>&1 || { cat "$log"; exit 1; }
if grep -qE '^(warning|error)' "$log"; then
    cat "$log"
    exit 1
fi
