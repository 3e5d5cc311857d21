# SPDX-License-Identifier: GPL-2.0
"""Compares how long the same stock guest takes from the start of its host to its init, on two hosts in one L1."""

import re
import shutil
import statistics
import time

import tests

PAIRS = 5


class Stopwatch:
    """Reads one guest's console: seconds from the host's start to the guest's init, and to its kernel's clock there."""

    def __init__(self):
        self._started = None
        self.seconds = None
        self.uptime = None

    def line(self, raw):
        """Takes one line of the console."""
        up = re.match(r"\[ *(\d+\.\d+)\].* rig: up ", raw)
        if raw.startswith("host: starting"):
            self._started = time.monotonic()
        elif up and self._started:
            self.seconds = time.monotonic() - self._started
            self.uptime = float(up.group(1))


def compare(run, other, follow):
    """Boots pairs of guests, one on each host in turn, and prints the medians and their ratio."""
    hosts = (run.options.host, other)
    names = [host.rsplit("/", 1)[1] for host in hosts]
    guest = tests.Test("boot", {}).guest("stock")
    guests = [(f"boot-{names[number % 2]}-{number // 2 + 1}", guest, []) for number in range(2 * PAIRS)]
    process, consoles = run.start(guests, run.prepare(guests, [], hosts))
    watches = [Stopwatch() for _ in guests]
    try:
        follow(process, consoles, watches, tests.BOOT_LIMIT)
    except BaseException:
        process.kill()
        raise
    process.wait()
    shutil.rmtree(run.folder)
    medians = []
    for number, name in enumerate(names):
        booted = [watch for watch in watches[number::2] if watch.seconds]
        times = [watch.seconds for watch in booted]
        if not times:
            print(f"boot-time: no guest booted on {name}")
            return 1
        medians.append(statistics.median(times))
        kernel = statistics.median(watch.uptime for watch in booted)
        print(f"boot-time: {name}: median {medians[-1]:.2f} s of {len(times)}, of which {kernel:.2f} s by the guest's clock: "
              + " ".join(f"{seconds:.2f}" for seconds in times))
    print(f"boot-time: {names[0]} takes {medians[0] / medians[1]:.2f} of the time of {names[1]}")
    return 0
