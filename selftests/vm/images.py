# SPDX-License-Identifier: GPL-2.0
"""Makes what is booted: the initramfs parts of the guest (L2) and of the machine around it (L1).

A part is one archive, made when its inputs change and kept in build/vm/parts. An initramfs is parts in a row, so a
change of one guest script costs a few milliseconds. Runs in the stable build root, whose programs it packs.
"""

import glob
import hashlib
import json
import lzma
import modulefinder
import os
import re
import subprocess
import tempfile

from cpio import Archive

HERE = os.path.dirname(os.path.abspath(__file__))
PROJECT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.join(PROJECT, "build")
PARTS = os.path.join(BUILD, "vm", "parts")
GUEST = os.path.join(PROJECT, "selftests", "guest")

# Stock modules in every guest: what binds to VMBus devices, to show how it fares beside ours.
GUEST_MODULES = ("hv_balloon", "hv_utils")
# What the words of a test's `needs` add to its guest: stock modules, and programs of the build root.
NEEDS = {
    "host": ((), ("/usr/bin/flock", "/usr/bin/jq")),
    "storage": (
        ("hv_storvsc", "sd_mod", "sr_mod", "ext4", "xfs", "isofs"),
        ("/usr/sbin/mkfs.ext4", "/usr/sbin/resize2fs", "/usr/sbin/e2fsck", "/usr/sbin/fstrim", "/usr/sbin/mkfs.xfs",
         "/usr/sbin/xfs_repair", "/usr/bin/fio", "/usr/bin/genisoimage", "/usr/bin/sg_inq", "/usr/bin/sg_luns",
         "/usr/bin/sg_persist", "/usr/bin/sg_raw", "/usr/bin/sg_readcap", "/usr/bin/sg_reset", "/usr/bin/sg_sync",
         "/usr/bin/sg_turs", "/usr/bin/sg_unmap", "/usr/bin/sg_vpd", "/usr/bin/sg_write_same"),
    ),
    # What saves a dump to a disk: small, since a crash kernel has it in memory.
    "dump": (("hv_storvsc", "sd_mod", "ext4"), ("/usr/sbin/mkfs.ext4", "/usr/sbin/e2fsck", "/usr/bin/makedumpfile")),
    "daemons": (
        ("hv_utils", "uio", "uio_hv_generic", "ext4", "brd", "dummy"),
        ("/usr/sbin/hv_fcopy_uio_daemon", "/usr/sbin/hv_kvp_daemon", "/usr/sbin/hv_vss_daemon", "/usr/sbin/mkfs.ext4",
         "/usr/sbin/fsfreeze", "/usr/sbin/phc_ctl"),
    ),
}
# What turns L1 into a host, kvm-intel where L1 is not emulated by QEMU as AMD; and what its guests' root disks are on.
L1_MODULES = ("kvm", "kvm-amd", "kvm-intel", "virtio_blk")


class Kernel:
    """The stock kernel that scripts/kernel.sh unpacked, and our modules for it."""

    def __init__(self, name):
        self.folder = os.path.join(BUILD, "kernel", name)
        self.vmlinuz = os.path.join(self.folder, "vmlinuz")
        # What scripts/rootdisk.sh makes: `disk` and `initrd`.
        self.root_disk = os.path.join(BUILD, "rootdisk", name)
        with open(os.path.join(self.folder, "release"), encoding="ascii") as opened:
            self.release = opened.read().strip()
        self.ours = sorted(glob.glob(os.path.join(BUILD, "modules", self.release, "*.ko")))
        self._stock = {}
        for path in glob.glob(os.path.join(self.folder, "modules", "kernel", "**", "*.ko*"), recursive=True):
            self._stock[_module_name(path)] = path

    def with_dependencies(self, names):
        """The stock modules `names` and what they need, as (name, plain content), in the order of insertion."""
        found = {}

        def visit(name):
            name = name.replace("-", "_")
            if name in found or name not in self._stock:
                return
            content = _plain(self._stock[name])
            needs = re.search(rb"\0depends=([^\0]*)\0", content)
            for needed in needs.group(1).decode().split(",") if needs else ():
                visit(needed)
            found[name] = content

        for name in names:
            visit(name)
        return list(found.items())


def _module_name(path):
    return os.path.basename(path).split(".ko")[0].replace("-", "_")


def _plain(path):
    """A module's content, decompressed here because busybox and an emulated CPU are slow at it."""
    with open(path, "rb") as opened:
        content = opened.read()
    return lzma.decompress(content) if path.endswith(".xz") else content


def _stripped(path):
    """A module's content without debug information, which is most of it."""
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run(["strip", "--strip-debug", "-o", out.name, path], check=True)
        with open(out.name, "rb") as opened:
            return opened.read()


def part(name, inputs, fill):
    """The path of an archive that `fill(archive)` makes; `inputs` are the files and strings that it depends on."""
    own = [__file__, os.path.join(HERE, "cpio.py")]
    key = hashlib.sha256(json.dumps([_identity(item) for item in own + list(inputs)]).encode()).hexdigest()[:16]
    path = os.path.join(PARTS, f"{name}-{key}.cpio")
    if os.path.exists(path):
        return path
    os.makedirs(PARTS, exist_ok=True)
    for old in glob.glob(os.path.join(glob.escape(PARTS), f"{name}-????????????????.cpio")):
        os.unlink(old)
    archive = Archive()
    fill(archive)
    archive.save(path)
    return path


def _identity(item):
    """What changes when `item` does: a file by time and size, a folder by all files in it, a string by itself."""
    if os.path.isdir(item):
        return [item] + [_identity(entry.path) for entry in sorted(os.scandir(item), key=lambda e: e.name)]
    if os.path.isfile(item):
        status = os.stat(item)
        return [item, status.st_mtime_ns, status.st_size, status.st_mode]
    return item


def join(path, parts):
    """Writes the archives `parts` in a row to `path`."""
    with open(path, "wb") as out:
        for one in parts:
            with open(one, "rb") as opened:
                out.write(opened.read())


def add_program(archive, path):
    """Adds a program of the build root and the libraries that it links."""
    archive.file(path, os.path.realpath(path))
    listing = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
    for library in re.findall(r"(/\S+) \(0x", listing):
        archive.file(library, os.path.realpath(library))


def add_busybox(archive):
    """Adds busybox under all of its names."""
    archive.file("/bin/busybox", "/usr/bin/busybox")
    names = subprocess.run(["/usr/bin/busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
    for name in names:
        if name != "busybox":
            archive.link(f"/bin/{name}", "busybox")
    archive.link("/sbin", "bin")
    for empty in ("/proc", "/sys", "/dev", "/tmp", "/run"):
        archive.folder(empty)


def add_stock(archive, kernel, names):
    """Adds the stock modules `names`, each with a list of what to insert for it, in order: stack.sh reads that."""
    for name in names:
        modules = kernel.with_dependencies((name,))
        for module, content in modules:
            archive.data(f"/modules/stock/{module}.ko", content)
        archive.data(f"/modules/stock/{name}.order", "".join(f"{module}\n" for module, _ in modules).encode())


def guest_base(kernel):
    """The part that every guest boots with: busybox, our modules, a few stock ones, the scripts."""

    def fill(archive):
        add_busybox(archive)
        archive.tree("/guest", GUEST)
        archive.link("/init", "guest/init")
        archive.folder("/modules")
        for module in kernel.ours:
            archive.data(f"/modules/{os.path.basename(module)}", _stripped(module))
        add_stock(archive, kernel, GUEST_MODULES)

    return part(f"guest-{kernel.release}", [GUEST, kernel.vmlinuz, *kernel.ours], fill)


def guest_need(kernel, name):
    """The part that a word of `needs` adds; see NEEDS."""
    modules, programs = NEEDS[name]

    def fill(archive):
        add_stock(archive, kernel, modules)
        for program in programs:
            add_program(archive, program)

    return part(f"{name}-{kernel.release}", [kernel.vmlinuz, *programs], fill)


def guest_python(kernel):
    """The part with python3, the kernel source's lsvmbus, and the library modules that it and our scripts import."""
    lsvmbus = os.path.join(kernel.folder, "lsvmbus")
    python = os.path.realpath("/usr/bin/python3")
    scripts = glob.glob(os.path.join(GUEST, "*.py"))

    def fill(archive):
        add_program(archive, python)
        archive.link("/usr/bin/python3", os.path.basename(python))
        archive.file("/usr/bin/lsvmbus", lsvmbus)
        archive.link("/usr/bin/env", "../../bin/env")
        library = os.path.dirname(os.__file__)
        finder = modulefinder.ModuleFinder([library, os.path.join(library, "lib-dynload")])
        finder.run_script(lsvmbus)
        for script in scripts:
            finder.run_script(script)
        sources = {module.__file__ for module in finder.modules.values() if module.__file__}
        sources = {source for source in sources if source.startswith(library)}
        sources |= set(glob.glob(os.path.join(library, "encodings", "*.py")))
        # Imported by the interpreter itself, before any script.
        sources |= {os.path.join(library, name) for name in ("site.py", "encodings/__init__.py", "codecs.py")}
        for source in sorted(sources):
            archive.file(source, source)
            stem = os.path.splitext(os.path.basename(source))[0]
            for compiled in glob.glob(os.path.join(os.path.dirname(source), "__pycache__", f"{stem}.*.pyc")):
                archive.file(compiled, compiled)

    return part(f"python-{kernel.release}", [lsvmbus, python, *scripts], fill)


def guest_kexec(kernel, parts):
    """The part with kexec and what a second kernel is booted from: the stock kernel, and what else the guest has."""

    def fill(archive):
        add_program(archive, "/usr/sbin/kexec")
        archive.file("/kexec/vmlinuz", kernel.vmlinuz)
        with tempfile.NamedTemporaryFile() as initrd:
            join(initrd.name, parts)
            archive.file("/kexec/initrd", initrd.name)

    return part(f"kexec{len(parts)}-{kernel.release}", [kernel.vmlinuz, *parts], fill)


def host_part(host):
    """The part with a host adapter in /hosts, and the files of the build root that its `files` program names."""
    name = os.path.basename(host)
    lister = os.path.join(host, "files")

    def fill(archive):
        archive.tree(f"/hosts/{name}", host)
        if os.access(lister, os.X_OK):
            listing = subprocess.run([lister], capture_output=True, text=True, check=True).stdout
            for path in listing.split():
                add_program(archive, path)

    return part(f"host-{name}", [host, "/usr/bin/qemu-system-x86_64"], fill)


def l1_base(kernel):
    """The part that makes L1: busybox, KVM, the script that runs the guests."""
    scripts = os.path.join(HERE, "l1")
    runner = os.path.join(HERE, "run-guest")

    def fill(archive):
        add_busybox(archive)
        archive.file("/init", os.path.join(scripts, "init"))
        archive.file("/run-guest", runner)
        for number, (name, content) in enumerate(kernel.with_dependencies(L1_MODULES)):
            archive.data(f"/modules/{number:02}-{name}.ko", content)

    return part(f"l1-{kernel.release}", [scripts, runner, kernel.vmlinuz], fill)
