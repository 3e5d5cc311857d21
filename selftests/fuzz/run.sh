#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Runs libFuzzer on each parser: FUZZ_SECONDS seconds (60) on TARGET, or on all of them.
#
# With a nightly toolchain the address sanitizer is on; else the toolchain at hand runs without one, since
# the coverage instrumentation alone is stable. What is found new stays in build/fuzz/corpus, and an input
# that breaks a target in build/fuzz/artifacts: put it under corpus/TARGET with the fix.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
seconds=${FUZZ_SECONDS:-60}
build=$here/../../build/fuzz
targets=${TARGET:-$(ls "$here/corpus")}
host=$(rustc -vV | sed -n 's/^host: //p')

coverage="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks"
if rustc +nightly --version >/dev/null 2>&1; then
    export RUSTUP_TOOLCHAIN=nightly
    coverage="$coverage -Zsanitizer=address"
else
    export RUSTC_BOOTSTRAP=1
fi
echo "fuzz: building with $(rustc --version)"
RUSTFLAGS=$coverage cargo build --quiet --release --manifest-path "$here/Cargo.toml" --features libfuzzer \
    --bin fuzz --target "$host" --target-dir "$build/$host"

failed=
for target in $targets; do
    [ -d "$here/corpus/$target" ] || { echo "fuzz: there is no target $target" >&2; exit 2; }
    mkdir -p "$build/corpus/$target" "$build/artifacts/$target"
    echo "fuzz: $target for $seconds s"
    log=$build/$target.log
    if FUZZ_TARGET=$target "$build/$host/$host/release/fuzz" -max_total_time="$seconds" -timeout=5 -max_len=1024 \
        -print_final_stats=1 -artifact_prefix="$build/artifacts/$target/" \
        "$build/corpus/$target" "$here/corpus/$target" >"$log" 2>&1
    then
        sed -n 's/.*DONE *\(cov: [0-9]*\).*/fuzz: '"$target"' passed, \1/p; s/^stat::number_of_executed_units: */fuzz: runs: /p' "$log"
    else
        failed="$failed $target"
        tail -n 40 "$log"
    fi
done
[ -z "$failed" ] || { echo "fuzz: FAILED:$failed" >&2; exit 1; }
