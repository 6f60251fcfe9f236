"""System calls of the three programs fail, one call at a time: strace(1) answers in the kernel's stead.
Whatever happens, the program ends, says one line or succeeds, never claims what is not so, and the lock
file is unharmed."""

import collections
import contextlib
import os
import re
import signal
import subprocess

import pytest

from conftest import needs
from support.flocks import IN_SANITIZER_BUILD, command_name, end, holds, start_holder
from support.processes import alive, descendants, eventually, in_flock
from support.system_calls import FAULTS, FIRST, NOT_TRIED, wrong_form

HELD = ("sleep", "1000")
CASES = {
    "hold": ("drover-hold", "LOCK", *HELD),
    "hold-relative": ("drover-hold", "app.pid.lock", *HELD),
    "hold-timed": ("drover-hold", "-x", "-w", "20ms", "BUSY", *HELD),
    "hold-at-once": ("drover-hold", "-x", "-n", "BUSY", *HELD),
    "hold-exclusive": ("drover-hold", "-x", "BUSY", *HELD),
    "hold-new": ("drover-hold", "--new", "LOCK", *HELD),
    "hold-guard": ("drover-hold", "--guard", "LOCK", *HELD),
    "wait": ("drover-wait", "BUSY"),
    "wait-timed": ("drover-wait", "-w", "300ms", "BUSY"),
    "wait-loop": ("drover-wait", "-w", "1000", "BUSY", "BUSY"),
    "wait-start": ("drover-wait", "--start", "20ms", "LOCK"),
    "wait-grace": ("drover-wait", "--grace", "20ms", "BUSY"),
    "wait-relay": ("drover-wait", "--relay", "app.pid", "BUSY"),
    "ls": ("drover-ls", "BUSY"),
    "ls-json": ("drover-ls", "--json", "--open", "--waiters", "BUSY"),
}
# Where 1 is an answer, and what is said with it.
NO = {
    "hold-timed": "cannot lock",
    "hold-at-once": "cannot lock",
    "wait-timed": "still held at the time limit",
}
PLACES = 3 if IN_SANITIZER_BUILD else 6
STRACE = {"ASAN_OPTIONS": "detect_leaks=0"}


def faults_of(case, counts):
    """Each (call, error, which of these calls)."""
    for call in sorted(counts.keys() & FAULTS.keys() - NOT_TRIED):
        for error in FAULTS[call]:
            # The eventfd(2) of a wait is never full, nobody listens to what hold says.
            if (call, error) == ("write", "ENOSPC") and case != "hold-new" and not case.startswith("ls"):
                continue
            for place in places_of(call, counts[call]):
                yield call, error, place


def places_of(call, total):
    """Which occurrences fail: the first ones, some later ones, the last."""
    first = FIRST.get(call, 1)
    some = {*range(first, first + PLACES), total // 2, total - 1, total}
    return sorted(place for place in some if first <= place <= total)


def own_failures(program, call, error):
    """The exit codes that say so, when the failure is one that cannot be survived."""
    if program == "drover-hold":
        return {126} if call == "execve" else {125}
    if call == "getdents64":
        return {71}  # an unreadable /proc is never a missing lock
    if call == "readlink":
        return {78}  # whose numbers /proc shows cannot be told
    codes = {"ENOENT": 66, "EINVAL": 66, "ENOSPC": 73, "EACCES": 77, "EPERM": 77}
    return {codes.get(error, 71)}


def end_if_alive(pid, number):
    """Of a process that somebody else waits for."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


class Scene:
    """The lock that somebody holds, and what must not change."""

    def __init__(self, start, folder, case):
        self.start, self.folder, self.case = start, folder, case
        self.busy = folder / "busy.lock"
        self.lock = folder / "app.pid.lock"
        names = {"LOCK": self.lock, "BUSY": self.busy}
        self.words = [names.get(word, word) for word in CASES[case]]
        self.program = self.words[0]
        self.path = self.busy if self.busy in self.words else self.lock

    def begin(self):
        self.holder = start_holder(self.start, self.busy, stderr=-3, stdout=-3)
        (self.folder / "app.pid").write_text(f"{self.holder.pid}\n")
        self.lock.touch(0o600)
        self.lock.write_text("generation 7\n")
        self.released = False
        self.ran = None  # whether the held command had the lock

    def run(self, *strace):
        """Runs it under strace(1). Lets the holder go when it waits for that, but for a limit of 20 ms,
        which would come before it or after it; ends the command that it holds the lock for, when that has
        begun."""
        strace = ("strace", "-f", "-qq", "-o", self.folder / "trace", *strace)
        process = self.start(*strace, *self.words, env=STRACE)
        try:
            eventually(lambda: self.goes_on(process), "an end", limit=60)
            out, err = process.communicate(timeout=20)
        except (AssertionError, subprocess.TimeoutExpired):
            for pid in descendants(process.pid):
                end_if_alive(pid, signal.SIGKILL)
            out, err = process.communicate(timeout=60)
            return "a hang", out, err[-300:]
        return process.returncode, out, err

    def goes_on(self, process):
        """One look, and what must be done then. True when it has ended."""
        if process.poll() is not None:
            return True
        for pid in descendants(process.pid):
            if not self.released and self.case != "hold-timed" and in_flock(pid):
                self.released = True
                self.release(pid)
            elif self.ran is None and command_name(pid) == HELD[0]:
                self.ran = holds(pid, self.path) or not alive(pid)
                if self.path == self.busy:
                    self.ran = self.ran and not alive(self.holder.pid)
                end_if_alive(pid, signal.SIGTERM)
        return False

    def release(self, waiter):
        """By a signal to the relay, and by a kill when a signal was made to fail and does not arrive."""
        if "--relay" in self.words:
            end_if_alive(waiter, signal.SIGTERM)
            try:
                self.holder.wait(timeout=1)
                return
            except subprocess.TimeoutExpired:
                pass
        end(self.holder)

    def clean_up(self):
        if self.holder.poll() is None:
            end(self.holder)

    def count_calls(self):
        """How often each call is made when nothing fails, up to the command."""
        self.begin()
        result = self.run()
        self.clean_up()
        assert not list(self.problems(result, None, None)), result
        counts = collections.Counter()
        commands = set()
        for line in (self.folder / "trace").read_text().splitlines():
            pid, call = line.split(maxsplit=1)
            if pid not in commands and (found := re.match(r"(\w+)\(", call)):
                counts[found[1]] += 1
            if re.match(rf'(execve\("[^"]*/{HELD[0]}"|<\.\.\. execve resumed).* = 0$', call):
                commands.add(pid)
        return counts

    def problems(self, result, call, error):
        """What is wrong with this outcome."""
        code, out, err = result
        lines = err.splitlines()
        if any(line.startswith(f"{HELD[0]}: ") for line in lines) and "--guard" in self.words:
            return  # the command meets the fault as well: its own affair
        if IN_SANITIZER_BUILD and ": error while loading shared libraries: " in err:
            return  # only this build is no static one
        yield from wrong_form(self.program, err)
        yield from self.wrong_answer(code, out, err, call, error)
        if self.busy.read_text() != "":
            yield f"{self.busy} is damaged"
        generation = 8 if "--new" in self.words and (self.ran or call == "execve") else 7
        if self.lock.read_text() != f"generation {generation}\n":
            yield f"{self.lock} is damaged: {self.lock.read_text()!r}"

    def wrong_answer(self, code, out, err, call, error):
        if self.ran is False:
            yield "the command ran without the lock"
        if code == 0 and self.program == "drover-wait":
            if not self.released:
                yield "said that nobody holds, and the holder lives"
        elif code == 0 and self.program == "drover-ls":
            if str(self.holder.pid) not in out:
                yield f"did not show the holder: {out!r}"
        elif code in (-signal.SIGTERM, 128 + signal.SIGTERM) and self.program == "drover-hold":
            if self.ran is None:
                yield "was ended by the command's signal, without a command"
        elif code == 1 and self.case in NO:
            if NO[self.case] not in err and call != "write":
                yield f"said no without a word: {err!r}"
        elif (self.case, code) == ("wait-start", 66) and "nobody" in err:
            pass
        elif code not in own_failures(self.program, call, error):
            yield f"ended with {code}: {err!r}"
        elif ": cannot " not in err:
            yield f"ended with {code} without a word: {err!r}"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", CASES)
def test_each_call_fails_once(start, folder, case):
    needs("strace")
    scene = Scene(start, folder, case)
    counts = scene.count_calls()
    assert counts["flock"] > 0 or case.startswith("ls"), counts
    assert counts.keys() <= FAULTS.keys() | NOT_TRIED
    wrong = []
    for call, error, place in faults_of(case, counts):
        scene.begin()
        fault = f"inject={call}:error={error}:when={place}"
        result = scene.run("-e", f"trace={call}", "-e", fault)
        wrong += [f"{fault}: {problem}" for problem in scene.problems(result, call, error)]
        scene.clean_up()
    assert not wrong, "\n".join(wrong)


def test_each_fault_is_made_somewhere(start, folder):
    """So that none is listed and never tried."""
    needs("strace")
    tried = set()
    for case in CASES:
        counts = Scene(start, folder, case).count_calls()
        tried |= {(call, error) for call, error, _ in faults_of(case, counts)}
    listed = {(call, error) for call in FAULTS.keys() - NOT_TRIED for error in FAULTS[call]}
    assert tried == listed
