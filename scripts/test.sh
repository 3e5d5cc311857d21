#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# test.sh: every test, in the order in which a mistake is found soonest. SOAK=1 takes the larger numbers; KERNEL=testing
# with it runs everything on the other kernel. Closes with a line "N passed, N failed, N skipped".
set -uo pipefail
cd "$(dirname "$0")/.."
kernel=${KERNEL:-stable}
passed=0 failed=0 skipped=0
started=$SECONDS
mkdir -p build/logs
times=

# run TITLE COMMAND...: one step; a summary line of the guests' runner counts for more than one test.
run() {
    local title=$1 start=$SECONDS status=0 log
    shift
    echo "=== $title"
    log=build/logs/step.log
    "$@" 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    local summary
    summary=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$log" | tail -n 1)
    if [ -n "$summary" ]; then
        passed=$((passed + $(echo "$summary" | cut -d' ' -f1)))
        failed=$((failed + $(echo "$summary" | cut -d' ' -f3)))
        skipped=$((skipped + $(echo "$summary" | cut -s -d' ' -f5)))
        [ "$status" -eq 0 ] || [ "$(echo "$summary" | cut -d' ' -f3)" -gt 0 ] || failed=$((failed + 1))
    elif [ "$status" -eq 0 ]; then
        passed=$((passed + 1))
    elif [ "$status" -eq 3 ]; then
        skipped=$((skipped + 1))
        echo "!!! $title SKIPPED: the reason is above"
    else
        failed=$((failed + 1))
        echo "!!! $title FAILED"
    fi
    times+=$(printf '%6d s  %s' $((SECONDS - start)) "$title")$'\n'
    return "$status"
}

kernels=0
run "prepare the stable kernel" scripts/prepare.sh stable && kernels=$((kernels + 1))
run "check" scripts/check.sh
run "pure tests" scripts/test-pure.sh
run "judge of the guests' logs" scripts/in-root build/root/stable python3 -B selftests/vm/judge_test.py
soak=${SOAK:+--soak}
if [ $kernels -gt 0 ] && [ "$kernel" = stable ]; then
    run "guests, our drivers" selftests/vm/run --kernel stable $soak
    # The same scripts on the stock drivers, all of them when there is time.
    run "guests, stock drivers" selftests/vm/run --kernel stable --drivers stock ${soak:---tests cpu-rounds}
    # The same on our own host. That the stock drivers work there is what shows that it tells the truth. What differs from kdump
    # only in the CPU, or has no crash, is left out when time is short.
    some=(--tests '^(?!(demo|kexec|kdump-other)$)')
    run "guests on hvhost, stock drivers" selftests/vm/run --kernel stable --host hvhost --drivers stock ${soak:-"${some[@]}"}
    # Long scripts that ask nothing more of the host than QEMU's bus has: once is enough when time is short.
    some=(--tests '^(?!(demo|cpu-rounds|load-rounds|open-rounds|kexec|kdump|kdump-other)$)')
    run "guests on hvhost, our drivers" selftests/vm/run --kernel stable --host hvhost ${soak:-"${some[@]}"}
fi
if run "prepare the testing kernel" scripts/prepare.sh testing; then
    kernels=$((kernels + 1))
    if [ "$kernel" = testing ]; then
        run "guests, testing kernel, our drivers" selftests/vm/run --kernel testing $soak
        run "guests on hvhost, testing kernel, our drivers" selftests/vm/run --kernel testing --host hvhost $soak
    else
        run "guests, testing kernel, our drivers" selftests/vm/run --kernel testing --tests bring-up
    fi
fi
if [ $kernels -eq 0 ]; then
    echo "!!! no kernel at all could be built for"
    failed=$((failed + 1))
fi
printf '\nTimes:\n%s%6d s  in all\n\n' "$times" $((SECONDS - started))
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
