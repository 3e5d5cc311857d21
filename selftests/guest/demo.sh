# SPDX-License-Identifier: GPL-2.0
# What `make demo` shows: the hypervisor, the bus and its devices, as our modules see them.
# guest: default
# needs: python
# kernels: stable testing
# timeout: 60
. ./tap.sh
. ./stack.sh

plan 2
check "the modules load" load_stack
within 10 bound
for file in hypervisor hypercall synic vmbus channels; do
    echo
    echo "$file"
    sed 's/^/  /' $debug/$file
done
echo
echo "devices (lsvmbus -vv)"
lsvmbus -vv | sed 's/^/  /'
check "the modules unload" unload_stack
done_testing
