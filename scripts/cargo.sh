#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# cargo.sh ARGUMENT...: cargo for the host-side code: the one on PATH if it is new enough, else the build root's.
set -euo pipefail
project=$(realpath "$(dirname "$0")/..")
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$project/build/cargo}
need=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$project/Cargo.toml")
have=$(rustc --version 2>/dev/null | cut -d' ' -f2 || true)
if [ -n "$have" ] && command -v cargo >/dev/null &&
    [ "$(printf '%s\n%s\n' "$need" "$have" | sort -V | head -n 1)" = "$need" ]; then
    exec cargo "$@"
fi
"$project/scripts/buildroot.sh" stable
# A target folder of its own: the two compilers' artefacts do not mix.
pass="CARGO_TARGET_DIR=$CARGO_TARGET_DIR-root ${RUSTFLAGS:+RUSTFLAGS=${RUSTFLAGS// /$'\t'}}"
for name in PROPTEST_CASES PROPTEST_RNG_SEED; do pass+=" ${!name:+$name=${!name}}"; done
VIRIDIAN_PASS=$pass \
    exec "$project/scripts/in-root" "$project/build/root/stable" cargo "$@"
