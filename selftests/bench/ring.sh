#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Counts the instructions that the ring code takes for one packet, with callgrind, and prints them as a
# Markdown table. Exact: two runs of the same binaries on the same machine give the same numbers.
#
# Each case runs twice with different numbers of packets; the difference is free of start-up cost.
# "copy" is what the C library's memcpy takes, which differs between processors; "ring" is all the rest.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../../build/cargo}/bench
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

command -v valgrind >/dev/null || { echo "ring.sh: install valgrind to count instructions" >&2; exit 1; }
cargo build --quiet --release --manifest-path "$here/Cargo.toml" --target-dir "$target"

# Prints the instructions outside and inside memcpy of a run with these arguments.
count() {
    valgrind --quiet --tool=callgrind --callgrind-out-file="$out/profile" "$target/release/ring_bench" "$@"
    callgrind_annotate --threshold=100 --show-percs=no "$out/profile" | tr -d , | awk '
        /PROGRAM TOTALS/ { total = $1 }
        /mem(cpy|move)/ && /^ *[0-9]+ / { copy += $1 }
        END { print total - copy, copy }'
}

few=1024
many=3072
echo "| direction | payload (bytes) | batch | ring (instructions per packet) | copy (instructions per packet) |"
echo "|---|--:|--:|--:|--:|"
for direction in send receive; do
    for payload in 64 4096; do
        for batch in 1 32; do
            start=$(count $direction $payload $batch $few)
            end=$(count $direction $payload $batch $many)
            echo "$start $end" | awk -v packets=$((many - few)) \
                -v row="| $direction | $payload | $batch |" '
                { printf "%s %.1f | %.1f |\n", row, ($3 - $1) / packets, ($4 - $2) / packets }'
        done
    done
done
