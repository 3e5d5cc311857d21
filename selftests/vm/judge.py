# SPDX-License-Identifier: GPL-2.0
"""Decides from a guest's console whether its tests passed.

The console is the only witness. Anything that a sound kernel doesn't print fails the test that was running, and so
does silence: a test passes only by saying so and by the guest living on to its end.
"""

import re
import time

# What no kernel may print. Lines of the tests themselves are not searched.
SPLATS = re.compile(
    r"\bBUG: |kernel BUG at|\bWARNING: |\bOops\b|Kernel panic|general protection fault|double fault|"
    r"(?:rcu|RCU).*(?:stall|detected)|soft lockup|hard LOCKUP|watchdog: BUG|blocked for more than|"
    r"\b(?:UBSAN|KASAN|KCSAN|KFENCE|KMSAN): |refcount_t: |list_(?:add|del) corruption|Bad page|bad_page|"
    r"scheduling while atomic|sleeping function called|possible circular locking|unchecked MSR access|"
    r"can't unload module|Out of memory"
)
# The only panic that a test may ask for, by writing to /proc/sysrq-trigger.
ASKED_PANIC = "Kernel panic - not syncing: sysrq triggered crash"
# An interrupt before the handler of another has its GS, which IF forbids, ends in this recursion.
STRUCK = "BUG: ENTRY_TRAMPOLINE stack guard page was hit"
KERNEL_LINE = re.compile(r"^\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?(.*)$")
POINT = re.compile(r"^(not )?ok\b(?: (\d+))?(?: -)? ?(.*?)(?: # (SKIP|TODO)\b ?(.*))?$")
PLAN = re.compile(r"^1\.\.(\d+)(?: # SKIP ?(.*))?$")
DUMP = re.compile(r"^# dump ([\w-]+)\| (.*)$")


class Result:
    """What is known about one test."""

    def __init__(self, test):
        self.test = test
        self.name = test.name
        self.problems = []
        self.points = 0
        self.skipped = []
        self.plan = None
        self.dumps = {}
        self.output = []
        self.started = None
        self.seconds = 0.0
        self.ended = False
        self.panicked = False
        self._wanted = {key: test.header[key] for key in ("console", "host") if key in test.header}

    @property
    def verdict(self):
        """passed, failed or skipped."""
        if self.problems:
            return "failed"
        if self.plan == 0 or (self.points and len(self.skipped) == self.points):
            return "skipped"
        return "passed"

    @property
    def notes(self):
        """What the script said beside its points."""
        return [line for line in self.output if line.startswith("#")]

    @property
    def may_end(self):
        """Whether the guest may end now: it has panicked as asked, or it is to end and the host has said how it did. Where a
        crash kernel follows, that one ends in order."""
        if "kdump" in self.test.words("expect"):
            return False
        return self.panicked or ("end" in self.test.words("expect") and "host" not in self._wanted)

    def fail(self, problem):
        """Records a reason to fail, once."""
        if problem not in self.problems:
            self.problems.append(problem)

    def tap(self, line):
        """Takes one line of the test's own output."""
        self.output.append(line)
        plan = PLAN.match(line)
        point = POINT.match(line)
        dump = DUMP.match(line)
        if plan:
            if self.plan is not None:
                self.fail("it has two plans")
            self.plan = int(plan.group(1))
            if plan.group(2):
                self.skipped.append(plan.group(2))
        elif point:
            self.points += 1
            negative, number, text, directive, reason = point.groups()
            if number and int(number) != self.points:
                self.fail(f"point {number} came as number {self.points}")
            if directive == "SKIP":
                self.skipped.append(reason)
            if negative and directive is None:
                self.fail(f"not ok {self.points} - {text}")
        elif dump:
            self.dumps.setdefault(dump.group(1), []).append(dump.group(2))

    def kernel(self, line):
        """Takes one line of the kernel."""
        if ASKED_PANIC in line and "panic" in self.test.words("expect"):
            self.panicked = True
        elif SPLATS.search(line):
            self.fail(f"the kernel said: {line}")
        self._want("console", line)

    def host(self, line):
        """Takes one line of the host adapter."""
        self._want("host", line)

    def _want(self, key, line):
        # What a panic must cause counts only after it.
        if "panic" in self.test.words("expect") and not self.panicked:
            return
        if key in self._wanted and re.search(self._wanted[key], line):
            del self._wanted[key]

    def all_came(self):
        """From here on nothing counts any more that kernel and host were to say."""
        for key, pattern in self._wanted.items():
            self.fail(f"this never came from the {key}: {pattern}")
        self._wanted.clear()

    def end(self, why=None):
        """The test is over; `why` says what ended it if it was not the script's own end."""
        self.ended = True
        self.seconds = time.monotonic() - self.started if self.started else 0.0
        if why and not self.may_end:
            self.fail(why)
        if self.plan is None:
            self.fail("it printed no plan")
        elif self.points != self.plan:
            self.fail(f"{self.plan} points were planned, {self.points} came")
        if "panic" in self.test.words("expect") and not self.panicked:
            self.fail("it was to panic and did not")
        self.all_came()


class Judge:
    """Reads one guest's console line by line."""

    def __init__(self, name, tests, on_end=lambda result: None):
        self.name = name
        self.results = {test.name: Result(test) for test in tests}
        self.boot_problems = []
        self._on_end = on_end
        self._current = None
        self._boots = 0
        self._down = False
        self._stopped = False
        self._struck = False
        self._last_lines = []

    def line(self, raw):
        """Takes one line of the console."""
        raw = raw.rstrip("\r\n")
        if raw.startswith("host: "):
            for result in self._current_or_all():
                result.host(raw[len("host: "):])
            if raw.startswith("host: stopped") or raw.startswith("host: run ended"):
                self._stopped = True
                self._last_lines.append(raw)
            if raw == "host: the guest ended" and self._current and self._current.may_end:
                self._finish("the guest ended during it")
            return
        self._struck |= STRUCK in raw
        if raw.strip():
            self._last_lines = (self._last_lines + [raw])[-4:]
        stamped = KERNEL_LINE.match(raw)
        text = stamped.group(1) if stamped else raw
        if stamped and text.startswith("tap: "):
            if self._current:
                self._current.tap(text[len("tap: "):])
        elif stamped and text.startswith("rig: "):
            self._rig(text[len("rig: "):].split(" "))
        elif self._current:
            self._current.kernel(text)
        elif SPLATS.search(text):
            self._boot_problem(f"the kernel said: {text}")

    def _current_or_all(self):
        return [self._current] if self._current else list(self.results.values())

    def _rig(self, words):
        event, rest = words[0], words[1:]
        if event == "up":
            self._boots += 1
            if self._boots > 1 and self._current:
                # What the first kernel was to cause, the second one must not.
                self._current.all_came()
            allowed = 2 if self._current and {"kexec", "kdump"} & set(self._current.test.words("expect")) else 1
            if self._boots > allowed:
                self._boot_problem(f"it booted {self._boots} times")
        elif event == "start" and rest[0] in self.results:
            self._current = self.results[rest[0]]
            self._current.started = self._current.started or time.monotonic()
        elif event == "end" and self._current:
            if rest[1] != "0":
                self._current.fail(f"its script ended with status {rest[1]}")
            self._finish()
        elif event == "fault":
            if self._current:
                self._current.fail(" ".join(rest))
            else:
                self._boot_problem(" ".join(rest))
        elif event == "down":
            self._down = True

    def _boot_problem(self, problem):
        if problem not in self.boot_problems:
            self.boot_problems.append(problem)

    def _finish(self, why=None):
        result, self._current = self._current, None
        result.end(why)
        self._on_end(result)

    def vanished(self):
        """The tests that a guest left undone which ended as the emulator may have caused: without a word, so that there
        was no splat, no time limit and no end in order; or by what only a second interrupt in a handler's entry does.
        """
        sound = not self._down and not self._stopped and not self.boot_problems
        if self._current:
            # After the panic that was asked for, only a crash kernel has something left to do.
            over = self._current.panicked and "kdump" not in self._current.test.words("expect")
            sound = sound and not self._current.problems and not over
        sound = sound or self._struck
        return [result.test for result in self.results.values() if not result.ended] if sound else []

    def drop(self, tests):
        """Forgets `tests`, which another guest will run, since this one is gone before its time."""
        self._current = None
        self._down = True
        self.boot_problems.clear()
        for test in tests:
            del self.results[test.name]

    def end(self):
        """The guest is gone."""
        last = " / ".join(self._last_lines) or "nothing"
        if self._current:
            self._finish(f"the guest ended during it; last lines: {last}")
        elif not self._down and self.results and all(result.ended for result in self.results.values()) and self._boots:
            expected = any({"panic", "end"} & set(result.test.words("expect")) for result in self.results.values())
            if not expected:
                self._boot_problem(f"it didn't go down in order; last lines: {last}")
        for result in self.results.values():
            if not result.ended:
                why = "the guest ended before it" if self._boots else f"the guest didn't boot; last lines: {last}"
                result.end(why)
                self._on_end(result)


def compare(result, reference):
    """Fails `result` for each line in which its dumps differ from those of `reference`, a test of the stock drivers."""
    allowed = [re.compile(word) for word in result.test.words("differs")]
    for name in sorted(set(result.dumps) | set(reference.dumps)):
        ours, stock = result.dumps.get(name, []), reference.dumps.get(name, [])
        for sign, lines, others in (("only ours", ours, stock), ("only stock", stock, ours)):
            for line in lines:
                if line not in others and not any(pattern.search(line) for pattern in allowed):
                    result.fail(f"{name}: {sign}: {line}")
    if not reference.dumps:
        result.fail(f"{reference.name} dumped nothing to compare with")
