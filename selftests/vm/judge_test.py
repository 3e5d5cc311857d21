# SPDX-License-Identifier: GPL-2.0
"""Feeds the judge canned consoles: it must fail every kind of fault, and pass and skip what is sound."""

import unittest

import judge
import tests

SOUND = """\
SeaBIOS (version 1.16.3)
[    6.970788] rig: up 7.3.4
[    7.072576] rig: start one
[    7.128512] tap: TAP version 13
[    7.129022] tap: 1..2
[    7.165039] tap: ok 1 - first
[    7.165040] tap: # a note with the word WARNING: in it
[    7.211135] tap: ok 2 - second
[    7.300000] rig: end one 0
[    7.310000] rig: down
host: the guest ended
"""
PANIC = """\
[    6.970788] rig: up 7.3.4
[    7.072576] rig: start one
[    7.129022] tap: 1..1
[    7.165039] tap: ok 1 - first
[    7.200000] sysrq: Trigger a crash
[    7.200001] Kernel panic - not syncing: sysrq triggered crash
host: 12@1.5:vmbus_recv_message type 16 size 8
"""


def judged(console, **header):
    """The verdict, the problems and the boot problems of a guest with one test."""
    header = {key.replace("_", "-"): value for key, value in header.items()}
    one = judge.Judge("guest", [tests.Test("one", {"guest": "default", **header})])
    for line in console.splitlines():
        one.line(line)
    one.end()
    result = one.results["one"]
    return result.verdict, result.problems, one.boot_problems


class Verdicts(unittest.TestCase):
    """Each case is the sound console with one thing wrong."""

    def passes(self, console, **header):
        """The console is judged sound."""
        self.assertEqual(judged(console, **header), ("passed", [], []))

    def fails(self, console, because, **header):
        """The test fails for a reason that contains `because`."""
        verdict, problems, _ = judged(console, **header)
        self.assertEqual(verdict, "failed")
        self.assertIn(because, "\n".join(problems))

    def test_sound(self):
        self.passes(SOUND)

    def test_splats(self):
        for splat in (
            "BUG: kernel NULL pointer dereference, address: 0000000000000000",
            "kernel BUG at mm/slub.c:1!",
            "WARNING: CPU: 0 PID: 1 at drivers/x.c:1 f+0x0/0x1",
            "WARNING: drivers/x.c:1 at f+0x0/0x1, CPU#0: insmod/1",
            "Oops: 0002 [#1] SMP",
            "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
            "rcu: INFO: rcu_preempt self-detected stall on CPU",
            "watchdog: BUG: soft lockup - CPU#0 stuck for 26s!",
            "INFO: task rmmod:99 blocked for more than 30 seconds.",
            "Oops: general protection fault, probably for non-canonical address",
            "UBSAN: array-index-out-of-bounds in x.c:1:1",
            "refcount_t: underflow; use-after-free.",
            "list_del corruption. prev->next should be",
            "unchecked MSR access error: WRMSR to 0x40000080",
            "Kernel panic - not syncing: Fatal exception",
            "rmmod: can't unload module 'hv_core': Resource temporarily unavailable",
        ):
            with self.subTest(splat):
                self.fails(SOUND.replace("[    7.211135]", f"[    7.2] {splat}\n[    7.211135]"), splat)

    def test_splat_during_boot(self):
        _, _, boot = judged(SOUND.replace("[    6.970788]", "[    1.0] BUG: at boot\n[    6.970788]"))
        self.assertEqual(boot, ["the kernel said: BUG: at boot"])

    def test_splat_after_the_tests(self):
        _, _, boot = judged(SOUND.replace("[    7.310000]", "[    7.305] WARNING: late\n[    7.310000]"))
        self.assertEqual(boot, ["the kernel said: WARNING: late"])

    def test_not_ok(self):
        self.fails(SOUND.replace("ok 2", "not ok 2"), "not ok 2 - second")

    def test_plan(self):
        self.fails(SOUND.replace("1..2", "# 1..2"), "no plan")
        self.fails(SOUND.replace("1..2", "1..3"), "3 points were planned, 2 came")
        self.fails(SOUND.replace("ok 2", "ok 3"), "came as number 2")

    def test_status(self):
        self.fails(SOUND.replace("end one 0", "end one 2"), "status 2")

    def test_fault_reports(self):
        stuck = "[    7.25] rig: fault module hv_core cannot be removed\n[    7.300000]"
        self.fails(SOUND.replace("[    7.300000]", stuck), "cannot be removed")

    def test_silence(self):
        self.fails("", "didn't boot")
        self.fails("SeaBIOS (version 1.16.3)\n", "didn't boot")
        self.fails(SOUND[: SOUND.index("[    7.211135]")], "the guest ended during it")
        self.fails(SOUND[: SOUND.index("[    7.072576]")], "the guest ended before it")

    def test_vanished(self):
        def undone(console, **header):
            one = judge.Judge("guest", [tests.Test("one", header), tests.Test("two", {"guest": "default"})])
            for line in console.splitlines():
                one.line(line)
            return [test.name for test in one.vanished()]

        middle = SOUND[: SOUND.index("[    7.211135]")]
        self.assertEqual(undone(middle), ["one", "two"])
        self.assertEqual(undone(""), ["one", "two"])
        self.assertEqual(undone(SOUND[: SOUND.index("[    7.310000]")]), ["two"])
        self.assertEqual(undone(middle + "[    7.2] BUG: no\n"), [])
        self.assertEqual(undone(middle + "host: stopped after the time limit of 60 s\n"), [])
        self.assertEqual(undone("[    1.0] Oops: no\n"), [])
        self.assertEqual(undone(middle + "host: run ended with status 1\n"), [])
        self.assertEqual(undone(middle + "host: the guest's processor shut down\n"), ["one", "two"])
        crashed = PANIC + "[    0.900000] rig: up x\n"
        self.assertEqual(undone(crashed, expect="panic kdump"), ["one", "two"])
        self.assertEqual(undone(crashed, expect="panic"), [])
        self.assertEqual(undone(crashed + "[    1.0] BUG: no\n", expect="panic kdump"), [])
        struck = "[    7.2] BUG: ENTRY_TRAMPOLINE stack guard page was hit at fffffe3a539c1ff8\n[    7.3] Kernel panic - not syncing: Fatal\n"
        self.assertEqual(undone(middle + struck), ["one", "two"])
        self.assertEqual(undone(struck), ["one", "two"])

    def test_vanished_after_a_test(self):
        one = judge.Judge("guest", [tests.Test("one", {"guest": "default"}), tests.Test("two", {"guest": "default"})])
        for line in SOUND[: SOUND.index("[    7.310000]")].splitlines():
            one.line(line)
        one.drop(one.vanished())
        one.end()
        self.assertEqual((one.boot_problems, list(one.results)), ([], ["one"]))

    def test_reboot(self):
        twice = SOUND.replace("[    7.300000]", "[    0.9] rig: up 7.3.4\n[    7.300000]")
        self.assertEqual(judged(twice)[2], ["it booted 2 times"])
        self.passes(twice, expect="kexec")
        said = "host: type 16\n"
        self.passes(twice.replace("[    0.9]", said + "[    0.9]"), expect="kexec", host="type 16")
        late = twice.replace("[    7.300000]", said + "[    7.300000]")
        self.fails(late, "never came from the host", expect="kexec", host="type 16")

    def test_sharing_a_guest(self):
        def groups(**needs):
            group = tests.group([tests.Test(name, {"needs": words}) for name, words in needs.items()], "viridian")
            return [[test.name for test in members] for _, _, members in group]

        self.assertEqual(groups(a="", b="python", c=""), [["a", "b", "c"]])
        self.assertEqual(groups(a="", b="python trace", c="python"), [["a", "b", "c"]])
        self.assertEqual(groups(a="", b="kexec python", c="trace"), [["a", "c"], ["b"]])

    def test_no_orderly_end(self):
        _, _, boot = judged(SOUND.replace("[    7.310000] rig: down\n", ""))
        self.assertIn("didn't go down in order", boot[0])

    def test_skip_and_todo(self):
        skipped = SOUND.replace("1..2", "1..0 # SKIP no such device").replace("tap: ok", "tap: # ok")
        self.assertEqual(judged(skipped)[0], "skipped")
        self.passes(SOUND.replace("ok 2 - second", "ok 2 - second # SKIP not here"))
        self.passes(SOUND.replace("ok 2 - second", "not ok 2 - second # TODO known"))

    def test_panic(self):
        self.passes(PANIC, expect="panic")
        self.passes(PANIC, expect="panic", host="type 16")
        self.fails(PANIC, "sysrq triggered crash")
        self.fails(PANIC, "never came from the host", expect="panic", host="type 17")
        early = PANIC.replace("[    7.200000]", "host: vmbus_recv_message type 18\n[    7.200000]")
        self.fails(early, "never came from the host", expect="panic", host="type 18")
        self.fails(PANIC + "[    7.3] WARNING: in the panic path\n", "WARNING", expect="panic")
        self.fails(PANIC.replace("sysrq triggered crash", "Fatal exception"), "Fatal exception", expect="panic")
        self.fails(SOUND, "was to panic", expect="panic")
        self.fails(PANIC, "the guest ended during it", expect="panic kdump")

    def test_expected_end(self):
        ended = SOUND[: SOUND.index("[    7.300000]")] + "host: power-off\nhost: the guest ended\n"
        self.passes(ended, expect="end", host="power-off")
        self.fails(ended, "the guest ended during it", host="power-off")
        self.fails(ended, "never came from the host", expect="end", host="reset")
        self.fails(ended.replace("1..2", "1..3"), "3 points were planned", expect="end", host="power-off")

    def test_compare(self):
        def with_dump(*lines, **header):
            result = judge.Result(tests.Test("one", header))
            for line in lines:
                result.tap(f"# dump bus| {line}")
            return result

        stock = with_dump("state 444 '3'", "id 444 '1'")
        self.assertEqual(len(self._compared(with_dump("state 444 '3'", "id 444 '1'"), stock)), 0)
        self.assertEqual(len(self._compared(with_dump("state 644 '3'", "id 444 '1'"), stock)), 2)
        self.assertEqual(len(self._compared(with_dump("id 444 '1'"), stock)), 1)
        self.assertEqual(len(self._compared(with_dump("id 444 '1'", differs="^state"), stock)), 0)
        self.assertEqual(len(self._compared(with_dump(), with_dump())), 1)

    @staticmethod
    def _compared(ours, stock):
        judge.compare(ours, stock)
        return ours.problems


if __name__ == "__main__":
    unittest.main()
