# SPDX-License-Identifier: GPL-2.0
"""sysfs_dump.py STATE: what VMBus shows in sysfs, and lsvmbus, as text that two drivers' trees can be compared by.

One `# dump NAME| path mode content` line per file, sorted. STATE says what is bound, since that shows in the tree.
One process, because starting programs is what takes long in an emulated guest.
"""

import contextlib
import io
import os
import runpy
import stat
import sys

BUS = "/sys/bus/vmbus"
# Hosts may draw instance ids anew at each boot, and drivers have names of their own: both are shown by the class.
NAMES = {}
# Counters, positions and clocks differ from run to run: every number in them is shown as N.
COUNTERS = {"read_avail", "write_avail", "in_read_bytes_avail", "in_write_bytes_avail", "out_read_bytes_avail",
            "out_write_bytes_avail", "in_read_index", "in_write_index", "out_read_index", "out_write_index",
            "interrupts", "events", "intr_in_full", "intr_out_empty", "out_full_first", "out_full_total",
            "runtime_active_time", "runtime_suspended_time"}


def content(path, status):
    """A file's content as a Python string literal; an error by its name."""
    name = os.path.basename(path)
    if name == "ring":
        return f"{status.st_size} bytes"
    try:
        with open(path, "rb") as opened:
            text = opened.read().decode("ascii", "backslashreplace")
    except OSError as error:
        return error.strerror
    if name in COUNTERS:
        text = "".join("N" if char.isdigit() else char for char in text)
        while "NN" in text:
            text = text.replace("NN", "N")
    return repr(text)


def say(name, line):
    """Prints one line of the dump `name`."""
    for own, replacement in NAMES.items():
        line = line.replace(own, replacement)
    print(f"# dump {name}| {line}")


def dump(name, folder):
    """Prints every file below `folder`; links by the name that they point to."""
    say(name, f". {stat.S_IMODE(os.stat(folder).st_mode):o} folder")
    paths = []
    for top, folders, files in os.walk(folder):
        paths += [os.path.join(top, entry) for entry in folders + files]
    for path in sorted(paths):
        status = os.lstat(path)
        inside = os.path.relpath(path, folder)
        if stat.S_ISLNK(status.st_mode):
            shown = f"link {os.path.basename(os.readlink(path))}"
        elif stat.S_ISDIR(status.st_mode):
            shown = f"{stat.S_IMODE(status.st_mode):o} folder"
        else:
            shown = f"{stat.S_IMODE(status.st_mode):o} {content(path, status)}"
        say(name, f"{inside} {shown}")


def lsvmbus(name, *options):
    """Prints what the unmodified lsvmbus prints with `options`."""
    sys.argv = ["lsvmbus", *options]
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        runpy.run_path("/usr/bin/lsvmbus", run_name="__main__")
    for line in out.getvalue().splitlines():
        say(name + "".join(options), line)


def main():
    """Dumps the bus, every device, and lsvmbus in its three forms."""
    state = sys.argv[1]
    devices = os.listdir(f"{BUS}/devices")
    for device in devices:
        with open(f"{BUS}/devices/{device}/class_id", encoding="ascii") as opened:
            device_class = opened.read()[1:9]
        NAMES[device] = f"INSTANCE-OF-{device_class}"
        driver = f"{BUS}/devices/{device}/driver"
        if os.path.islink(driver):
            NAMES[os.path.basename(os.readlink(driver))] = f"DRIVER-OF-{device_class}"
    dump(f"{state}-bus", BUS)
    for device in sorted(devices, key=NAMES.get):
        place = os.path.realpath(f"{BUS}/devices/{device}")
        say(f"{state}-place", place)
        dump(f"{state}-device", place)
    for options in ((), ("-v",), ("-vv",)):
        lsvmbus(f"{state}-lsvmbus", *options)


main()
