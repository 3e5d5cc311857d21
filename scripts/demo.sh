#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# demo.sh: prepares everything from nothing, boots a Hyper-V guest, loads the modules and shows what they found.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/prepare.sh stable
exec selftests/vm/run --kernel stable --demo
