# SPDX-License-Identifier: GPL-2.0
"""vectors.py DISK ROUNDS SEED: direct reads and writes by vectors whose parts begin and end anywhere in pages.

What was written by one vector is read by another, and compared. The first round that differs ends it.
"""

import mmap
import os
import random
import sys

SECTOR = 512
PAGE = 4096
PAGES = 64
# Of the disk, in bytes.
AREA = 1 << 20


def parts(memory, sectors, chance):
    """Pieces of `memory` with so many sectors in all, none of which touch: each begins in a page of its own."""
    views = []
    pages = list(range(0, PAGES, 2))
    chance.shuffle(pages)
    while sectors:
        first = chance.randrange(PAGE // SECTOR)
        # At most to the end of the next page, which is nobody else's.
        most = 2 * PAGE // SECTOR - first
        # What is left has room in the pages that are left, each of which takes so many at least.
        least = max(1, sectors - (len(pages) - 1) * (PAGE // SECTOR + 1))
        length = min(sectors, chance.randint(least, most))
        start = pages.pop() * PAGE + first * SECTOR
        views.append(memory[start : start + length * SECTOR])
        sectors -= length
    return views


def main():
    """Prints how many parts were moved."""
    disk, rounds, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    chance = random.Random(seed)
    opened = os.open(disk, os.O_RDWR | os.O_DIRECT)
    memory = memoryview(mmap.mmap(-1, PAGES * PAGE))
    moved = 0
    for number in range(rounds):
        sectors = chance.randint(2, 64)
        at = chance.randrange(AREA // SECTOR - sectors) * SECTOR
        written = parts(memory, sectors, chance)
        for view in written:
            view[:] = chance.randbytes(len(view))
        content = b"".join(written)
        if os.pwritev(opened, written, at) != len(content):
            return f"round {number}: the write of {[len(view) for view in written]} bytes was short"
        read = parts(memory, sectors, chance)
        memory[:] = bytes(len(memory))
        if os.preadv(opened, read, at) != len(content):
            return f"round {number}: the read of {[len(view) for view in read]} bytes was short"
        if b"".join(read) != content:
            return f"round {number}: {[len(view) for view in written]} at {at} came back as something else"
        for view in read:
            view[:] = bytes(len(view))
        if memory.tobytes().strip(b"\0"):
            return f"round {number}: bytes beside the parts changed"
        moved += len(written) + len(read)
    print(f"# {moved} parts in {rounds} rounds, seed {seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
