#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# storvsc.sh: our disk driver and the stock one on hvhost, in turn; prints ratios as Markdown tables. TURNS=n pairs, 3 unless
# said. selftests/vm/bench.py says how; the functions of each load are left in build/logs/.
set -euo pipefail
cd "$(dirname "$0")/../.."
scripts/prepare.sh stable
plugin=$(CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/build/cargo}/bench scripts/cargo.sh build --quiet --release \
    --manifest-path selftests/bench/profile/Cargo.toml --message-format json-render-diagnostics |
    sed -n 's/.*"filenames":\["\([^"]*\.so\)"\].*/\1/p')
exec selftests/vm/run --host hvhost --bench "$plugin"
