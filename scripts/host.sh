#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# host.sh: builds hvhost as build/hvhost/hvhost, linked statically, so that it runs on any x86_64 Linux.
set -euo pipefail
cd "$(dirname "$0")/.."
# With a target named, the flags reach only what is built for it and not the programs that run while building.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/build/cargo} RUSTFLAGS=-Ctarget-feature=+crt-static
built=$(scripts/cargo.sh build --quiet --release --package hvhost --target x86_64-unknown-linux-gnu --message-format json-render-diagnostics |
    sed -n 's/.*"executable":"\([^"]*\/hvhost\)".*/\1/p')
mkdir -p build/hvhost
# Unchanged, it keeps its time, and so does what is made from it.
cmp -s "$built" build/hvhost/hvhost || install "$built" build/hvhost/hvhost
