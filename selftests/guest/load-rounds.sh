# SPDX-License-Identifier: GPL-2.0
# Loads and unloads the whole stack again and again: nothing leaks.
# guest: default
# cmdline: slab_debug=U
# timeout: 360 1200
. ./tap.sh
. ./stack.sh
. ./leaks.sh

load_and_unload() { load_stack && within 5 bound && unload_stack; }

plan 5
no_leak "$(rounds 20 100)" load_and_unload
done_testing
