# SPDX-License-Identifier: GPL-2.0
"""Boots guests, runs the guest scripts in them, and says which passed. Started by `run`, in the stable build root."""

import argparse
import fcntl
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import unittest

import bench
import boot_time
import images
import judge
import tests

KVM_CHECK_EXTENSION = 0xAE03
KVM_CAP_HYPERV_SYNIC2 = 148
# A guest that the emulator has killed is booted so often; README.md says how that comes.
BOOTS = 3
# Consoles on one virtio serial bus. With 21, L1 once waited for ever where it wrote to the eleventh: presumably QEMU had more
# to announce at a time than L1 had buffers for, and dropped that the port was open.
PORTS = 8
# The emulated processor. It copies and clears a byte at a time where it has fast string instructions, eight where not: a guest
# with 80 MB of initramfs boots in two thirds of the time.
CPU = "max,erms=off,fsrm=off,fzrm=off,fsrs=off"
# MiB that L1 needs beside its guests and the archive that it boots from, which it holds twice while it unpacks: its own,
# and what the guests' disks hold.
L1_MEMORY = 800


def pattern(text):
    """A regular expression, as it is."""
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"'{text}' is no regular expression: {error}") from error
    return text


def arguments():
    """The command line; README.md describes it."""
    parser = argparse.ArgumentParser(prog="run", description=__doc__)
    parser.add_argument("--kernel", default="stable", choices=("stable", "testing"))
    parser.add_argument("--host", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--drivers", default="viridian", choices=("viridian", "stock"))
    parser.add_argument("--tests", default="", type=pattern, metavar="PATTERN",
                        help="run the tests in whose names this regular expression is found")
    parser.add_argument("--shell", action="store_true", help="no tests: an interactive shell in the guest")
    parser.add_argument("--demo", action="store_true", help="the script demo.sh, with its output in clear")
    parser.add_argument("--soak", action="store_true", help="larger numbers of rounds")
    parser.add_argument("--self-test", action="store_true", help="no guests: show that the judge fails what it should")
    parser.add_argument("--boot-time", metavar="HOST", help="no tests: compare the time to boot with that of another host")
    parser.add_argument("--bench", metavar="PLUGIN", help="no tests: compare our drivers with the stock ones")
    parser.add_argument("--keep", action="store_true", help="keep build/vm/run, to boot the same guests by hand")
    return parser.parse_args()


def have_hyperv_kvm():
    """Whether this machine's own KVM offers the Hyper-V interfaces; the device node alone proves nothing."""
    try:
        with open("/dev/kvm", "rb") as kvm:
            return fcntl.ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_HYPERV_SYNIC2) > 0
    except OSError:
        return False


def take_turn():
    """Waits until no other run is on: the time limits are for a machine that does one at a time."""
    lock = open(os.path.join(images.BUILD, "vm", "lock"), "w", encoding="ascii")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("run: waiting for another run to end", flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


class Run:
    """One run: the guests, their folders under build/vm/run, their consoles under build/logs."""

    def __init__(self, options):
        self.options = options
        self.kernel = images.Kernel(options.kernel)
        self.direct = have_hyperv_kvm()
        self.folder = os.path.join(images.BUILD, "vm", f"shell-{os.getpid()}" if options.shell else "run")
        host_name = os.path.basename(options.host)
        self.logs = os.path.join(images.BUILD, "logs", f"{options.kernel}-{host_name}-{options.drivers}")
        os.makedirs(self.logs, exist_ok=True)
        # More for the machine around the guests: words of its kernel's command line, and of QEMU's.
        self.l1_words = ""
        self.cpu = CPU
        self.machine = []
        # Guests of this boot that have a root disk.
        self.root_disks = 0

    def prepare(self, guests, words, hosts=()):
        """Writes the guests' folders; `words` are added to each command line. Returns the archives for L1.

        `hosts`: the adapters, taken by the guests in turn, if not the one of the command line.
        """
        hosts = hosts or (self.options.host,)
        shutil.rmtree(self.folder, ignore_errors=True)
        root = self.folder if self.direct else ""
        base = images.guest_base(self.kernel)
        archive = images.Archive()
        os.makedirs(f"{self.folder}/boot", exist_ok=True)

        def place(path, source):
            os.makedirs(os.path.dirname(self.folder + path), exist_ok=True)
            if self.direct:
                shutil.copy(source, self.folder + path)
            else:
                archive.file(path, source)

        place("/boot/vmlinuz", self.kernel.vmlinuz)
        self.root_disks = 0
        for number, (name, guest, members) in enumerate(guests):
            parts = [base]
            if "python" in guest.needs:
                parts.append(images.guest_python(self.kernel))
            if "marks" in guest.needs:
                parts.append(bench.guest_marks())
            parts += [images.guest_need(self.kernel, need) for need in guest.needs if need in images.NEEDS]
            if "kexec" in guest.needs:
                parts.append(images.guest_kexec(self.kernel, parts))
            disks = guest.disks
            if tests.ROOT_DISK in disks:
                # Its initramfs is its own.
                parts = [f"{self.kernel.root_disk}/initrd"]
                disks = [self._root_disk(number) if disk == tests.ROOT_DISK else disk for disk in disks]
            initrd = "/boot/" + "-".join(["initrd", *(["root"] if parts[0] != base else guest.needs)])
            if not os.path.exists(self.folder + initrd):
                images.join(self.folder + initrd, parts)
                if not self.direct:
                    archive.file(initrd, self.folder + initrd)
            more = [*words]
            if members:
                more.append("TESTS=" + ",".join(test.name for test in members))
            limit = tests.BOOT_LIMIT + sum(test.limit(self.options.soak) for test in members)
            host = hosts[number % len(hosts)]
            environment = {
                "HOST": host if self.direct else f"/hosts/{os.path.basename(host)}",
                "KERNEL": f"{root}/boot/vmlinuz",
                "INITRD": root + initrd,
                "CMDLINE": guest.kernel_command_line(more),
                "CPUS": guest.cpus,
                "MEMORY": guest.memory,
                "DISK_SIZES": " ".join(disks),
                "NICS": guest.nics,
                "OPTIONS": guest.options,
                "HYPERV": int(guest.boot != "plain"),
                "TRACE": int("trace" in guest.needs or bool(os.environ.get("VIRIDIAN_TRACE"))),
                "INTERACTIVE": int(self.options.shell),
                "LIMIT": limit,
            }
            lines = "".join(f"{key}={shlex.quote(str(value))}\n" for key, value in environment.items())
            os.makedirs(f"{self.folder}/jobs/{number}", exist_ok=True)
            with open(f"{self.folder}/jobs/{number}/env", "w", encoding="utf-8") as out:
                out.write(lines)
            archive.data(f"/jobs/{number}/env", lines.encode())
        if self.direct:
            return []
        archive.save(f"{self.folder}/jobs.cpio")
        return [images.l1_base(self.kernel), *map(images.host_part, hosts), f"{self.folder}/jobs.cpio"]

    def _root_disk(self, number):
        """The path of guest `number`'s root disk: a copy of its own, or in L1 a drive that forgets what is written."""
        if self.direct:
            path = f"{self.folder}/root{number}"
            shutil.copy(f"{self.kernel.root_disk}/disk", path)
            return path
        self.root_disks += 1
        return f"/dev/vd{chr(ord('a') + self.root_disks - 1)}"

    def start(self, guests, parts):
        """Starts the guests, in L1 or directly. Returns the process and the paths of the consoles."""
        consoles = [os.path.join(self.logs, f"{name}.log") for name, _, _ in guests]
        for path in consoles:
            with open(path, "wb"):
                pass
        if self.direct:
            command = ["bash", "-c", 'run=$1; shift; n=0; for log in "$@"; do '
                       '"$run" "$PWD/jobs/$n" > "$log"; n=$((n + 1)); done', "direct",
                       f"{images.HERE}/run-guest", *consoles]
            if self.options.shell:
                command = [f"{images.HERE}/run-guest", f"{self.folder}/jobs/0"]
        else:
            command = self._l1_command(guests, parts, consoles)
        stdin = None if self.options.shell else subprocess.DEVNULL
        return subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command], stdin=stdin, cwd=self.folder), consoles

    def _l1_command(self, guests, parts, consoles):
        initrd = f"{self.folder}/l1.cpio"
        images.join(initrd, parts)
        memory = L1_MEMORY + 2 * os.path.getsize(initrd) // 2**20
        memory += max(guest.memory for _, guest, _ in guests)
        command = [
            "qemu-system-x86_64", "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", self.cpu, "-smp", "3",
            "-m", str(memory), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-kernel", self.kernel.vmlinuz, "-initrd", initrd,
            "-append", f"console=ttyS0 quiet panic=-1 mitigations=off {self.l1_words}",
            "-serial", f"file:{self.logs}/l1.log", "-d", "cpu_reset,guest_errors", "-D", f"{self.logs}/l0.log",
        ]
        for number in range(self.root_disks):
            drive = f"file={self.kernel.root_disk}/disk,format=raw,snapshot=on,if=none,id=root{number}"
            command += ["-drive", drive, "-device", f"virtio-blk-pci,drive=root{number}"]
        for number, path in enumerate(consoles):
            bus, place = divmod(number, PORTS)
            if place == 0:
                command += ["-device", f"virtio-serial-pci,id=consoles{bus}"]
            backend = "stdio,signal=off" if self.options.shell else f"file,path={path}"
            command += ["-chardev", f"{backend},id=guest{number}"]
            command += ["-device", f"virtserialport,bus=consoles{bus}.0,chardev=guest{number},name=guest{number},nr={place + 1}"]
        return command + self.machine


def follow(process, consoles, judges, limit):
    """Feeds the consoles to the judges while the process runs, and stops it after `limit` seconds of silence."""
    opened = [open(path, encoding="utf-8", errors="replace") for path in consoles]
    rests = [""] * len(opened)
    last = time.monotonic()
    running = True
    while running:
        running = process.poll() is None
        for number, console in enumerate(opened):
            text = console.read()
            if text:
                last = time.monotonic()
            *lines, rests[number] = (rests[number] + text).split("\n")
            for line in lines:
                judges[number].line(line)
        if running:
            if time.monotonic() > last + limit:
                print(f"run: no guest has said anything for {limit} s, so the machine around them is stopped")
                process.kill()
            time.sleep(0.1)
    for number, console in enumerate(opened):
        if rests[number]:
            judges[number].line(rests[number])
        console.close()


def report(result, log, demo=False):
    """Prints one line for a test, and the reasons if it failed."""
    if demo:
        print("\n".join(line for line in result.output if not judge.PLAN.match(line) and not judge.POINT.match(line)))
    word = {"passed": "ok", "failed": "FAIL", "skipped": "skip"}[result.verdict]
    note = ""
    if result.verdict == "skipped" or (result.skipped and result.verdict == "passed"):
        note = "  skipped: " + "; ".join(result.skipped)
    print(f"{word:4} {result.seconds:6.1f} s  {result.name}{note}", flush=True)
    for problem in result.problems[:10]:
        print(f"       {problem}")
    if result.problems:
        if len(result.problems) > 10:
            print(f"       and {len(result.problems) - 10} more")
        # The log may be gone with the machine.
        for line in result.notes[-20:]:
            print(f"       {line[:200]}")
        print(f"       console: {os.path.relpath(log, images.PROJECT)}", flush=True)


class Report:
    """The results so far. A test that is compared with another one is settled when both are there."""

    def __init__(self, demo):
        self._demo = demo
        self._ended = {}
        self._waiting = {}
        self.settled = []

    def ended(self, result, log):
        """Takes the result of a test."""
        self._ended[result.name] = result
        self._waiting[result.name] = (result, log)
        for name, (waiting, its_log) in list(self._waiting.items()):
            references = waiting.test.words("same-as")
            if all(other in self._ended for other in references):
                del self._waiting[name]
                for other in references:
                    judge.compare(waiting, self._ended[other])
                self.settled.append(waiting)
                report(waiting, its_log, self._demo)

    def count(self, verdict):
        """How many tests ended so."""
        return sum(result.verdict == verdict for result in self.settled)


def boot(run, guests, results, last):
    """Boots the guests and judges them. Returns those to boot again, with the tests left undone, and the failures of
    guests outside their tests. `last`: a guest that vanished has failed."""
    words = ["SOAK=1"] if run.options.soak else []
    if tests.ROUNDS:
        words.append(f"ROUNDS={tests.ROUNDS}")
    parts = run.prepare(guests, words)
    process, consoles = run.start(guests, parts)
    judges = [
        judge.Judge(name, members, lambda result, log=log: results.ended(result, log))
        for (name, _, members), log in zip(guests, consoles)
    ]
    longest = max(test.limit(run.options.soak) for _, _, members in guests for test in members)
    try:
        follow(process, consoles, judges, tests.BOOT_LIMIT + longest)
    except BaseException:
        process.kill()
        raise
    again = []
    failures = 0
    if not run.direct and not last:
        for machine in ("l0", "l1"):
            shutil.copy(f"{run.logs}/{machine}.log", f"{run.logs}/{machine}.first.log")
    for one, log, (name, guest, _) in zip(judges, consoles, guests):
        undone = [] if last or run.direct else one.vanished()
        if undone:
            one.drop(undone)
            again.append((name, guest, undone))
            os.replace(log, log.replace(".log", ".vanished.log"))
            print(f"run: {name} vanished, as guests do that get an interrupt twice (README.md)", flush=True)
        one.end()
        if one.boot_problems:
            failures += 1
            print(f"FAIL           {name}, outside its tests")
            print("".join(f"       {problem}\n" for problem in one.boot_problems), end="")
            print(f"       console: {os.path.relpath(log, images.PROJECT)}", flush=True)
    if process.wait() != 0 and not again:
        failures += 1
        print(f"FAIL           the machine around the guests ended with status {process.returncode}")
    return again, failures


def run_tests(run, chosen):
    """Boots what the tests need, judges, prints. Returns how many failed."""
    options = run.options
    guests = tests.group(chosen, options.drivers)
    results = Report(options.demo)
    started = time.monotonic()
    where = "directly on KVM" if run.direct else "nested in QEMU"
    print(f"run: {len(chosen)} tests in {len(guests)} guests, {where}, kernel {run.kernel.release}, "
          f"host {os.path.basename(options.host)}, drivers {options.drivers}", flush=True)
    failures = 0
    for left in reversed(range(BOOTS)):
        guests, more = boot(run, guests, results, last=left == 0)
        failures += more
        if not guests:
            break
        print(f"run: booting {len(guests)} guests once more", flush=True)
    failed = results.count("failed") + failures
    print(f"run: {time.monotonic() - started:.0f} s")
    print(f"{results.count('passed')} passed, {failed} failed, {results.count('skipped')} skipped")
    return failed


def shell(run):
    """Boots one guest with the terminal as its console."""
    guest = tests.Test("shell", {"needs": "kexec python"}).guest(run.options.drivers)
    guests = [("shell", guest, [])]
    process, _ = run.start(guests, run.prepare(guests, ["MODE=shell"]))
    process.wait()
    if sys.stdin.isatty():
        subprocess.run(["stty", "sane"], check=False)
    shutil.rmtree(run.folder)


def main():
    """Returns the exit status: 0 if no test failed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    options = arguments()
    if options.self_test:
        found = unittest.defaultTestLoader.discover(images.HERE, pattern="*_test.py")
        return 0 if unittest.TextTestRunner().run(found).wasSuccessful() else 1
    os.makedirs(os.path.join(images.BUILD, "vm"), exist_ok=True)
    if options.shell:
        shell(Run(options))
        return 0
    if options.bench:
        with take_turn():
            return bench.compare(Run(options), options.bench, follow)
    if options.boot_time:
        with take_turn():
            return boot_time.compare(Run(options), os.path.join(images.HERE, "hosts", options.boot_time), follow)
    every = tests.load(images.GUEST)
    wanted = "^demo$" if options.demo else options.tests
    chosen = tests.choose(every, wanted, options.kernel, options.drivers, os.path.basename(options.host), options.soak)
    if not options.demo and not options.tests:
        chosen = [test for test in chosen if test.name != "demo"]
    if not chosen:
        print(f"run: no test matches '{options.tests}' for drivers {options.drivers}, kernel {options.kernel}")
        return 1
    with take_turn():
        run = Run(options)
        failed = run_tests(run, chosen)
        if not options.keep:
            shutil.rmtree(run.folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
