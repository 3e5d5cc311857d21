# SPDX-License-Identifier: GPL-2.0
"""Compares our drivers with the stock ones on the same disk of the same host: `make bench`.

Guests of one L1 take turns, ours and stock, with the host's sub-channels and without. Each runs selftests/guest/bench.sh.
QEMU counts by a plugin (selftests/bench/profile) what their kernels execute; the host counts signals and interrupts.
"""

import json
import os
import re
import shutil
import statistics
import struct
import subprocess
from bisect import bisect_right
from collections import defaultdict

import images
import tests

BENCH = os.path.join(images.PROJECT, "selftests", "bench")
# Where the profile's marks are, and how many.
MARKS = 0x4D41524B0000
PAGE = 4096
# What the host offers: a sub-channel for the second CPU, or none.
CHANNELS = {"default": 1, "one channel": 0}
COUNTERS = ("signals", "interrupts")
MODULES = {"viridian": ("hv_core", "vmbus_drv", "storvsc"), "stock": ("hv_storvsc",)}
# Reported apart, and of the whole kernel, since who called them cannot be told.
APART = {
    "copies": r"_*mem(cpy|set|move)(_orig|_erms)?|clear_page.*|rep_movs_alternative",
    "allocations": r"_*k(m|z)?alloc.*|kv?free.*|kmem_cache_(alloc|free).*|___?slab.*|_*slab_.*|mempool_(alloc|free).*",
    "locks": r"_raw_.*(lock|unlock).*|native_queued_spin_lock_slowpath|_*rcu_read_(un)?lock.*|mutex_(un)?lock.*",
}


def mark_program(number):
    """A program that executes code in page `number` of the marks, and ends: exit(0)."""
    code = bytes.fromhex("b83c00000031ff0f05")
    base = MARKS + number * PAGE
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    # A segment's place in the file and in memory are the same within a page: the entry is behind the headers.
    header += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, base + 120, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, 120 + len(code), 120 + len(code), PAGE)
    return header + segment + code


class Symbols:
    """Names of addresses."""

    def __init__(self, named):
        self._named = sorted(named)
        self._addresses = [address for address, _, _ in self._named]

    def find(self, address):
        """The owner (a module, or "" for the kernel) and the name of what is there."""
        place = bisect_right(self._addresses, address)
        return self._named[place - 1][1:] if place else ("", "?")


def kernel_symbols(path):
    """Those of the kernel without its modules, from a copy of /proc/kallsyms."""
    with open(path, encoding="ascii") as opened:
        for line in opened:
            address, kind, name, *module = line.split()
            if kind in "tTwW" and not module:
                yield int(address, 16), "", name


def module_symbols(path, name, sections):
    """Those of a module that was loaded with `sections`, addresses by section's name; a nameless end behind each section."""
    listing = subprocess.run(["readelf", "-SsW", path], capture_output=True, text=True, check=True).stdout
    places = {}
    for index, section, size in re.findall(r"^ *\[ *(\d+)\] (\S+) +\S+ +[0-9a-f]+ [0-9a-f]+ ([0-9a-f]+)", listing, re.M):
        if section in sections:
            places[index] = sections[section]
            yield sections[section], name, ""
            yield sections[section] + int(size, 16), "", "?"
    for value, index, symbol in re.findall(r"^ *\d+: ([0-9a-f]+) +\d+ FUNC +\S+ +\S+ +(\d+) (\S+)", listing, re.M):
        if index in places:
            yield places[index] + int(value, 16), name, symbol


def guest_marks():
    """The part of a guest with one program for each mark."""

    def fill(archive):
        for number in range(len(range(MARKS, MARKS + 64 * PAGE, PAGE))):
            archive.data(f"/bench/mark-{number}", mark_program(number), 0o755)

    return images.part("marks", [__file__], fill)


class Console:
    """Reads one guest's console: what bench.sh says."""

    def __init__(self):
        self.sections = defaultdict(dict)
        self.loads = {}
        self.notes = []
        self.ended = False

    def line(self, raw):
        """Takes one line."""
        _, found, text = raw.rstrip("\n").partition("tap: bench ")
        self.ended |= "rig: end bench 0" in raw
        words = text.split()
        if not found:
            return
        if words[0] == "section":
            self.sections[words[1]][words[2]] = int(words[3], 16)
        elif words[0] == "load":
            operations, milliseconds = map(int, words[2:4])
            before, after = ({name: sum(channel[name] for channel in json.loads(word)) for name in COUNTERS} for word in words[4:6])
            self.loads[words[1]] = {
                "operations": operations,
                "speed": operations / milliseconds,
                **{name: (after[name] - before[name]) / operations for name in COUNTERS},
            }
        else:
            self.notes.append(text)


def profile(path):
    """The sections of the profile: for each guest's mark, in order, a list of (address, instructions executed)."""
    sections = defaultdict(list)
    with open(path, encoding="ascii") as opened:
        for line in opened:
            first, *rest = line.split()
            if first == "mark":
                section = []
                sections[int(rest[0])].append(section)
            else:
                section.append((int(first, 16), int(rest[0], 16) * int(rest[1])))
    return sections


class Guest:
    """One guest's part of the comparison."""

    def __init__(self, run, drivers, turn):
        self.drivers = drivers
        self.turn = turn
        self.console = Console()
        stock = dict(run.kernel.with_dependencies(("hv_storvsc",)))
        self._modules = {os.path.basename(path)[:-3]: path for path in run.kernel.ours}
        self._modules["hv_storvsc"] = f"{run.logs}/hv_storvsc.ko"
        with open(self._modules["hv_storvsc"], "wb") as out:
            out.write(stock["hv_storvsc"])

    def count(self, kernel, sections):
        """Says of each load how many instructions each function took for one operation: {load: {(module, name): count}}."""
        named = list(kernel)
        ranges = [(min(kernel)[0], max(kernel)[0])]
        for module, addresses in self.console.sections.items():
            symbols = list(module_symbols(self._modules[module], module, addresses))
            named += symbols
            edges = [address for address, _, name in symbols if name in ("", "?")]
            ranges += zip(edges[::2], edges[1::2])
        ranges.sort()
        for (_, end), (start, _) in zip(ranges, ranges[1:]):
            if start < end:
                raise ValueError(f"address ranges overlap at {start:x}")
        symbols = Symbols(named)
        # Before each load there is a mark, and behind it.
        for (name, load), section in zip(self.console.loads.items(), sections[1::2]):
            functions = load["functions"] = defaultdict(float)
            for address, count in section:
                functions[symbols.find(address)] += count / load["operations"]


def own(drivers, stock_names):
    """Whether a function counts as the drivers' own: a predicate."""
    modules = MODULES[drivers]
    if drivers == "stock":
        return lambda module, name: module in modules or (not module and name.split(".")[0] in stock_names)
    # The kernel's Rust functions, and the C functions that exist for them, have no other users here.
    return lambda module, name: module in modules or (not module and re.match(r"_R|rust_helper_", name))


def summary(load, is_own):
    """Figures of one load by name; instructions are those of one operation."""
    functions = load.get("functions", {})
    figures = {name: load[name] for name in ("speed", "signals", "interrupts")}
    figures["own"] = sum(count for key, count in functions.items() if is_own(*key))
    figures["kernel"] = sum(functions.values())
    for name, pattern in APART.items():
        figures[name] = sum(count for (module, function), count in functions.items()
                            if not module and re.fullmatch(pattern, function.split(".")[0]))
    return figures


def tables(guests, stock_names, logs):
    """Prints the comparison, and leaves the functions of each load in the logs."""
    for channels in CHANNELS:
        print(f"\n{channels}: " + "; ".join(f"{drivers} {guest.console.notes[0]}" for drivers in MODULES
              for guest in guests[channels, drivers][:1] if guest.console.notes))
        print("| load | speed | signals | interrupts | instructions | copies | allocations | locks | whole kernel |")
        print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
        pairs = [pair for pair in zip(*(guests[channels, drivers] for drivers in MODULES)) if all(one.console.ended for one in pair)]
        for load in pairs[0][0].console.loads if pairs else ():
            figures = [[summary(one.console.loads[load], own(one.drivers, stock_names)) for one in pair] for pair in pairs]
            cells = []
            for name in ("speed", "signals", "interrupts", "own", *APART, "kernel"):
                ours, stock = (statistics.median(side[name] for side in sides) for sides in zip(*figures))
                ratio = statistics.median(one[name] / other[name] if other[name] else 0 for one, other in figures)
                cells.append(f"{ratio:.2f}" if name == "speed" else f"{ours:.2f} / {stock:.2f} = {ratio:.2f}"
                             if name in ("signals", "interrupts") else f"{ours:.0f} / {stock:.0f} = {ratio:.2f}")
            print(f"| {load} | " + " | ".join(cells) + " |")
        for guest in (one for pair in pairs[-1:] for one in pair):
            with open(f"{logs}/functions-{guest.drivers}-{channels.split()[0]}", "w", encoding="ascii") as out:
                is_own = own(guest.drivers, stock_names)
                for load, figures in guest.console.loads.items():
                    for (module, name), count in sorted(figures.get("functions", {}).items(), key=lambda item: -item[1]):
                        if count >= 0.1:
                            out.write(f"{load} {count:.1f} {'own' if is_own(module, name) else '-'} {module or 'kernel'} {name}\n")


def compare(run, plugin, follow):
    """Boots the guests, turn by turn, and prints what they came to."""
    out = f"{run.logs}/profile"
    port = f"{run.logs}/kallsyms"
    if not run.direct:
        run.l1_words = "nokaslr"
        # What is counted is to be what a real processor executes.
        run.cpu = "max"
        run.machine = ["-plugin", f"{plugin},out={out}", "-chardev", f"file,path={port},id=kallsyms",
                       "-device", "virtserialport,chardev=kallsyms,name=kallsyms,nr=30"]
    script = tests.Test("bench", tests.read_header(os.path.join(images.GUEST, "bench.sh")))
    guests = defaultdict(list)
    boots = []
    order = []
    for turn in range(int(os.environ.get("TURNS", 3))):
        for channels, more in CHANNELS.items():
            for drivers in MODULES:
                boot = tests.Guest(
                    boot="native" if drivers == "viridian" else "stock", cmdline=f"nokaslr MARK={len(boots)}",
                    needs=("host", "marks", "storage"), options=f"--no-ic --no-balloon --disk ram=256M --sub-channels {more}")
                boots.append((f"bench-{drivers}-{more}-{turn}", boot, [script]))
                order.append(Guest(run, drivers, turn))
                guests[channels, drivers].append(order[-1])
    process, logs = run.start(boots, run.prepare(boots, []))
    try:
        follow(process, logs, [one.console for one in order], tests.BOOT_LIMIT + script.limit(False))
    except BaseException:
        process.kill()
        raise
    process.wait()
    shutil.rmtree(run.folder)
    for (name, _, _), one in zip(boots, order):
        if not one.console.ended:
            print(f"bench: {name} did not end")
    if not run.direct:
        kernel = list(kernel_symbols(port))
        sections = profile(out)
        for number, one in enumerate(order):
            if one.console.ended:
                one.count(kernel, sections[number])
    with open(os.path.join(BENCH, "hv_vmbus.symbols"), encoding="ascii") as opened:
        stock_names = {line.strip() for line in opened if not line.startswith("#")}
    tables(guests, stock_names, run.logs)
    return 0 if all(one.console.ended for one in order) else 1
