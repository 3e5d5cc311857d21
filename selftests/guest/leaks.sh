# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# Finds leaks over rounds of an operation. Sourced: . ./leaks.sh
# The guest is booted with slab_debug=U, which keeps the caller of every slab object: objects that module code
# allocated are counted exactly, the rest of memory within noise.

# owned: the slab objects that the code of modules allocated, loaded (names in brackets) or gone (bare addresses), and
# all modules in the guest are those under test: for each place in the code, how many, and the functions on the stack.
owned() {
    # Most caches have none, and awk is slow. A record is a line with count and caller, then its stack, then an empty
    # line. Freed vmap areas are kept by the kernel until there are many; areas() sees them better.
    grep -lF -e '[' -e 0xffffffffc /sys/kernel/debug/slab/*/alloc_traces | grep -v /vmap_area/ | xargs -r awk '
        FNR == 1 { split(FILENAME, part, "/"); cache = part[6] }
        /^ *[0-9]+ [^ ]/ { count = $1; stack = ""; mine = 0 }
        /\[/ || /0xffffffffc/ { mine = 1 }
        /^ +[^ ]+\+0x/ || /^ +0xffffffffc/ { sub(/\+0x.*/, "", $1); stack = stack " " $1 }
        /^$/ { if (mine) print count, cache stack; mine = 0 }'
}

# areas: vmalloc areas, without the stacks of threads, which come and go, and those that are free but not reused yet.
areas() { grep -vcE 'kernel_clone|unpurged' /proc/vmallocinfo; }

# of KEY FILE: a number of /proc/meminfo in KiB.
of() { awk -v key="$1:" '$1 == key { print $2 }' /proc/meminfo; }

# unexplained: KiB of pages that are neither free, nor at hand for a CPU, nor counted for one of the kernel's users of
# pages: what is left are pages that code took from the page allocator itself, as rings and page lists are. The middle
# one of eleven looks, as what comes and goes takes some, too; by one process, whose own start would be seen else.
unexplained() {
    awk 'function read_all(file, line, part) {
            while ((getline line < file) > 0) {
                split(line, part)
                if (part[1] == "nr_free_pages" || part[1] == "count:") known += part[2] * 4
                else if (part[1] == "MemTotal:") total = part[2]
                else if (part[1] in users) known += part[2]
            }
            close(file)
        }
        BEGIN {
            split("Buffers: Cached: AnonPages: Slab: PageTables: SecPageTables: Percpu: VmallocUsed:", names)
            for (i in names) users[names[i]]
            for (look = 0; look < 11; look++) {
                known = 0
                # CPUs count for themselves and tell now and then: this makes them tell.
                read_all("/proc/sys/vm/stat_refresh")
                read_all("/proc/zoneinfo")
                read_all("/proc/meminfo")
                print total - known
            }
        }' | sort -n | sed -n 6p
}

# memory: the five figures, after letting go what only waits to be freed.
memory() {
    # What is freed by RCU goes a little later.
    sleep 1
    echo 3 > /proc/sys/vm/drop_caches
    sleep 1
    owned > /run/owned
    echo "$(awk '{ total += $1 } END { print total + 0 }' /run/owned) $(areas) $(of Percpu) $(of SUnreclaim) $(unexplained)"
}

# grown: whether the five figures exceed those of before by as much as a leak would. One object or area per round is a
# leak; some less is what RCU has not freed yet.
grown() {
    limit=$(((count + 1) / 2))
    slab_limit=$((100 + count))
    pages_limit=$((150 + 2 * count))
    [ $(($1 - objects)) -ge $limit ] || [ $(($2 - vmalloc)) -ge $limit ] || [ $(($3 - percpu)) -ge $limit ] ||
        [ $(($4 - slab)) -ge $slab_limit ] || [ $(($5 - pages)) -ge $pages_limit ]
}

# no_leak ROUNDS COMMAND...: after a warm-up of 3 rounds, ROUNDS more leave memory as it was. Five points.
no_leak() {
    count=$1
    shift
    for _ in 1 2 3; do "$@" || return 1; done
    # shellcheck disable=SC2046 # Words are wanted.
    set -- $(memory) "$@"
    cp /run/owned /run/owned.before
    objects=$1 vmalloc=$2 percpu=$3 slab=$4 pages=$5
    shift 5
    round=0
    while [ $round -lt "$count" ]; do
        "$@" || note "round $round failed"
        round=$((round + 1))
    done
    note "before: $objects objects, $vmalloc areas, KiB: $percpu per CPU, $slab slab, $pages unexplained"
    # What is leaked stays; what only waits to be freed is gone at one of the next looks.
    for _ in 1 2 3; do
        # shellcheck disable=SC2046
        set -- $(memory)
        note "after:  $1 objects, $2 areas, KiB: $3 per CPU, $4 slab, $5 unexplained"
        grown "$@" || break
    done
    check "no slab object of ours is left" test $(($1 - objects)) -lt $limit
    [ $(($1 - objects)) -lt $limit ] || diff /run/owned.before /run/owned | cut -c1-800 | sed 's/^/#   /'
    check "no vmalloc area is left" test $(($2 - vmalloc)) -lt $limit
    check "no per-CPU memory is left" test $(($3 - percpu)) -lt $limit
    check "the slab has not grown" test $(($4 - slab)) -lt $slab_limit
    check "the pages are back" test $(($5 - pages)) -lt $pages_limit
}
