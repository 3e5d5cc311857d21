#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# fmt.sh [--check]: rustfmt over everything: the host-side crates by cargo, the kernel side by the build root's rustfmt.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/cargo.sh fmt --all -- "$@"
scripts/cargo.sh fmt --manifest-path selftests/bench/Cargo.toml -- "$@"
mapfile -t files < <(git ls-files --cached --others --exclude-standard 'hv_core/*.rs' 'vmbus_drv/*.rs' 'storvsc/*.rs' 'hv_utils/*.rs' 'selftests/modules/*.rs' |
    grep -vE '/(hvdef|proto|ring)/')
scripts/buildroot.sh stable
scripts/in-root build/root/stable rustfmt "$@" --config-path .rustfmt.toml --edition 2021 "${files[@]}"
