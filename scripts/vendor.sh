#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# vendor.sh: fetches the third-party crates that Kbuild compiles into vendor/, which git ignores.
# Their versions are those of the workspace; cargo takes them from the registry that it is configured with.
set -euo pipefail
cd "$(dirname "$0")/.."
crates=(bitflags)
[ ! -e vendor/stamp ] || [ Cargo.toml -nt vendor/stamp ] || exit 0
echo "vendor: fetching ${crates[*]}"
rm -rf vendor build/vendor-manifest
mkdir -p build/vendor-manifest/src
: > build/vendor-manifest/src/lib.rs
{
    printf '[package]\nname = "vendor-manifest"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n[dependencies]\n'
    for crate in "${crates[@]}"; do grep "^$crate = " Cargo.toml; done
} > build/vendor-manifest/Cargo.toml
(cd build/vendor-manifest && ../../scripts/cargo.sh vendor --quiet vendor >/dev/null)
mv build/vendor-manifest/vendor vendor
rm -rf build/vendor-manifest
touch vendor/stamp
