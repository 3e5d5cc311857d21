#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# prepare.sh stable|testing: build root, stock kernel, Rust metadata and our modules for a test kernel. Each step says
# what it does and does nothing the second time. Exit code 3: this kernel can't be built for, and a line says why.
set -euo pipefail
cd "$(dirname "$0")/.."
name=$1
scripts/buildroot.sh stable
[ "$name" = stable ] || scripts/buildroot.sh "$name"
scripts/kernel.sh "$name"
scripts/vendor.sh
release=$(cat "build/kernel/$name/release")
echo "prepare: modules for $release"
scripts/in-root "build/root/$name" scripts/modules.sh "build/kdir/$release/obj"
