#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# test-pure.sh: the tests that need no guest. Each line says how long it took. SOAK=1: more random cases.
set -euo pipefail
cd "$(dirname "$0")/.."
# Every run has the same random cases; a soak has others each time, and a case that fails is printed.
if [ -n "${SOAK:-}" ]; then
    export PROPTEST_CASES=${PROPTEST_CASES:-2000}
else
    export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-1}
fi
timed() {
    local title=$1 start=$SECONDS
    shift
    "$@"
    echo "test-pure: $title: $((SECONDS - start)) s"
}
timed "unit, property and fuzz corpus tests" scripts/cargo.sh test --quiet --workspace
RUSTFLAGS=--cfg=loom CARGO_TARGET_DIR=$PWD/build/cargo-loom timed "loom" scripts/cargo.sh test --quiet --release -p vmbus_ring --test loom
