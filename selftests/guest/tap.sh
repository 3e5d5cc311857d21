# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# The Test Anything Protocol for guest scripts: one plan, then one point per fact. Sourced: . ./tap.sh

point=0
failed=0

# plan COUNT: the number of points of all stages, printed in the first.
plan() {
    echo "TAP version 13"
    echo "1..$1"
}

# resume COUNT: goes on after COUNT points, in a kernel that the script's first stage has started.
resume() { point=$1; }

# skip_all REASON: the whole test can't run here.
skip_all() {
    echo "TAP version 13"
    echo "1..0 # SKIP $1"
    exit 0
}

# ok TEXT, not_ok TEXT: one fact.
ok() {
    point=$((point + 1))
    echo "ok $point - $1"
}
not_ok() {
    point=$((point + 1))
    failed=1
    echo "not ok $point - $1"
}

# skip TEXT REASON: a fact that can't be looked at here.
skip() {
    point=$((point + 1))
    echo "ok $point - $1 # SKIP $2"
}

# todo TEXT REASON: a fact that is known to be false, for a reason that is not ours.
todo() {
    point=$((point + 1))
    echo "not ok $point - $1 # TODO $2"
}

# note TEXT: for whoever reads the log.
note() { echo "# $*"; }

# check TEXT COMMAND...: the command succeeds; if not, its output is shown.
check() {
    text=$1
    shift
    if shown=$("$@" 2>&1); then
        ok "$text"
    else
        not_ok "$text"
        note "failed: $*"
        [ -z "$shown" ] || echo "$shown" | sed 's/^/#   /'
    fi
}

# refuses TEXT COMMAND...: the command fails; what it said can be asked by `said`.
refuses() {
    text=$1
    shift
    if refusal=$("$@" 2>&1); then not_ok "$text"; else ok "$text"; fi
}

# said WORDS: the last refused command said so.
said() {
    echo "$refusal"
    echo "$refusal" | grep -qF "$1"
}

# is TEXT GOT WANTED: the two are equal.
is() {
    if [ "$2" = "$3" ]; then
        ok "$1"
    else
        not_ok "$1"
        note "     got: $2"
        note "  wanted: $3"
    fi
}

# done_testing: the script's last line; its status is that of all points.
done_testing() { exit "$failed"; }
