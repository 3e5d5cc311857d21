# SPDX-License-Identifier: GPL-2.0
"""Guest scripts: what their header comments ask for, and which of them share a booted guest."""

import dataclasses
import glob
import os
import re

# What is added to every guest's command line, and how it boots; see README.md. Where each access to a PCI bus is an
# exit of nested virtualization, looking for one behind ACPI's back on all 255 numbers takes more than a second.
CMDLINE = "console=ttyS0 loglevel=5 panic=-1 printk.devkmsg=on mitigations=off pci=lastbus=0"
NATIVE = "initcall_blacklist=hv_acpi_init"
BOOTS = {"native": NATIVE, "stock": "", "nopv": f"{NATIVE} nopv", "plain": NATIVE}
# Seconds a guest may take to boot and to go down, on top of its tests' time limits.
BOOT_LIMIT = 60
# The word for a disk with a Debian on it, where a header lists sizes.
ROOT_DISK = "root"
# How often the scripts are to repeat what they repeat, if not as often as they like.
ROUNDS = int(os.environ.get("ROUNDS") or 0)
# Seconds that each such round adds to a test's time limit.
ROUND_LIMIT = 4

KEYS = {"guest", "boot", "cmdline", "cpus", "memory", "timeout", "drivers", "kernels", "hosts", "host-options", "needs",
        "disks", "nics", "expect", "console", "host", "same-as", "differs"}


class HeaderError(Exception):
    """A script's header asks for something that the rig doesn't know."""


@dataclasses.dataclass
class Test:
    """One guest script and its header, `# key: value` lines before the first line of code."""

    name: str
    header: dict

    def words(self, key, default=""):
        """The header's value for `key`, split at blanks."""
        return self.header.get(key, default).split()

    def limit(self, soak):
        """The time limit in seconds; a second number in the header is for soak runs. The guest's init agrees."""
        limits = self.words("timeout", "60")
        return int(limits[-1] if soak else limits[0]) + ROUND_LIMIT * ROUNDS

    def guest(self, drivers):
        """What must be equal for two tests to share a guest."""
        boot = self.header.get("boot", "native" if drivers == "viridian" else "stock")
        if boot not in BOOTS:
            raise HeaderError(f"{self.name}: no such boot: {boot}")
        return Guest(
            boot=boot,
            cmdline=self.header.get("cmdline", ""),
            cpus=int(self.header.get("cpus", "2")),
            memory=int(self.header.get("memory", "512")),
            needs=tuple(sorted(self.words("needs"))),
            disks=tuple(self.words("disks")),
            nics=int(self.header.get("nics", "0")),
            options=self.header.get("host-options", ""),
            fresh=self.name if self.header.get("guest", "default") == "fresh" else "",
        )


@dataclasses.dataclass(frozen=True)
class Guest:
    """How a guest is booted; sizes of memory in MiB."""

    boot: str = "native"
    cmdline: str = ""
    cpus: int = 2
    memory: int = 512
    needs: tuple = ()
    disks: tuple = ()
    nics: int = 0
    options: str = ""
    fresh: str = ""

    def serves(self, other):
        """Whether a test that wants `other` can run here: what more there is in a guest does no harm."""
        return set(self.needs) >= set(other.needs) and dataclasses.replace(other, needs=self.needs) == self

    def kernel_command_line(self, more):
        """The whole kernel command line; words that the kernel doesn't know reach the guest's init as environment."""
        return " ".join(word for word in (CMDLINE, BOOTS[self.boot], self.cmdline, *more) if word)


def load(folder):
    """All tests of `folder` by name; a shell file without a header is a library and no test."""
    found = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.sh"))):
        name = os.path.basename(path)[: -len(".sh")]
        header = read_header(path)
        if "guest" in header:
            unknown = set(header) - KEYS
            if unknown:
                raise HeaderError(f"{name}: the header has unknown keys: {', '.join(sorted(unknown))}")
            found[name] = Test(name, header)
    return found


def read_header(path):
    header = {}
    with open(path, encoding="utf-8") as opened:
        for line in opened:
            if not line.startswith("#"):
                break
            match = re.fullmatch(r"# ([a-z-]+): (.*)\n", line)
            if match:
                header[match.group(1)] = match.group(2).strip()
    return header


def choose(every, pattern, kernel, drivers, host, soak):
    """The tests that match the pattern and are meant for this run, and those that they are compared with.

    A kernel other than the first gets only the tests that name it, except in a soak run.
    """
    chosen = {}
    for test in every.values():
        fits = (
            re.search(pattern, test.name)
            and drivers in test.words("drivers", "viridian")
            and (soak or kernel in test.words("kernels", "stable"))
            and host in test.words("hosts", host)
        )
        if fits:
            chosen[test.name] = test
            for other in test.words("same-as"):
                chosen[other] = every[other]
    return [chosen[name] for name in sorted(chosen)]


def group(tests, drivers):
    """The guests to boot, as (name, guest, tests), fewest boots possible. Tests that share one run in order of name."""
    groups = {}
    # Whoever needs most first: the others find a guest then.
    for test in sorted(tests, key=lambda test: len(test.words("needs")), reverse=True):
        wanted = test.guest(drivers)
        serving = [guest for guest in groups if guest.serves(wanted)]
        groups.setdefault(min(serving, key=lambda guest: len(guest.needs), default=wanted), []).append(test)
    named = []
    names = set()
    for guest, members in sorted(groups.items(), key=lambda item: min(test.name for test in item[1])):
        members.sort(key=lambda test: test.name)
        name = guest.fresh or f"guest-{guest.boot}"
        while name in names:
            name += "+"
        names.add(name)
        named.append((name, guest, members))
    return named
