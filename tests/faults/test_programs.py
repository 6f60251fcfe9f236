"""System calls of drover-exec, drover-ctl and drover-herd fail, one call at a time (strace(1)). Whatever
happens, the program ends, and does what it is for or says in one line why it did not."""

import collections
import contextlib
import os
import re
import signal
import subprocess

import pytest

from conftest import needs
from support.flocks import IN_SANITIZER_BUILD, command_name
from support.processes import alive, children, eventually, holders
from support.servers import READY
from support.system_calls import FAULTS, FIRST, NOT_TRIED, wrong_form

pytestmark = pytest.mark.skipif(IN_SANITIZER_BUILD, reason="the sanitizer's own calls would fail, too")

ALL_FAULTS = {
    **FAULTS,
    "access": ("EACCES",),
    "bind": ("EADDRINUSE", "EACCES"),
    "chdir": ("EACCES",),
    "clone": ("EAGAIN",),
    "connect": ("EACCES", "ECONNREFUSED"),
    "ftruncate": ("EINVAL",),
    "getcwd": ("ENOENT",),
    "geteuid": (),
    "listen": ("EADDRINUSE",),
    "memfd_create": ("EMFILE",),
    "recvfrom": ("EINTR", "ECONNRESET"),
    "sendto": ("EINTR", "EPIPE"),
    "setsockopt": ("ENOPROTOOPT",),
    "socket": ("EMFILE", "EACCES"),
    "umask": (),
    "unlinkat": ("EROFS",),
}


def calls_of(trace):
    """How often each call is made, up to the command."""
    counts = collections.Counter()
    for line in trace.read_text().splitlines():
        if found := re.match(r"(\w+)\(", line):
            counts[found[1]] += 1
        if counts["execve"] == 2 and line.endswith(" = 0"):
            break
    unknown = counts.keys() - ALL_FAULTS.keys() - NOT_TRIED
    assert not unknown, f"no fault is known for {sorted(unknown)}"
    return counts


def faults(counts):
    """Each (call, error, which of these calls): the first ones and the last."""
    for call in sorted(counts.keys() & ALL_FAULTS.keys() - NOT_TRIED):
        first = {**FIRST, "execve": 2}.get(call, 1)
        for error in ALL_FAULTS[call]:
            for place in sorted({first, first + 1, first + 2, counts[call]}):
                if first <= place <= counts[call]:
                    yield call, error, place


def injected(folder, call, error, place):
    fault = f"inject={call}:error={error}:when={place}"
    return ("strace", "-qq", "-o", folder / "trace", "-e", f"trace={call}", "-e", fault)


def each_fails_once(folder, words, run, problems):
    """`run` gives what `problems` judges, when the words are run behind these of strace(1)."""
    needs("strace")
    result = run(("strace", "-qq", "-o", folder / "trace"), words)
    assert not list(problems(result)), result
    wrong = []
    for fault in faults(calls_of(folder / "trace")):
        result = run(injected(folder, *fault), words)
        wrong += [f"{fault}: {problem}" for problem in problems(result)]
    assert not wrong, "\n".join(wrong)


def test_exec(run, folder):
    wrapper = folder / "bin" / "show"
    wrapper.parent.mkdir()
    (folder / "show.sh").write_text("#!/bin/sh\necho value $WANTED\n")
    (folder / "show.sh").chmod(0o755)
    wrapper.write_text('#!/usr/bin/drover-exec\ncommand = ["./show.sh"]\n[env]\nWANTED = "this"\n')

    def problems(done):
        if any(line.startswith("/bin/sh: ") or line.startswith("./show.sh: ")
               for line in done.stderr.splitlines()):
            return  # the command meets the fault as well
        yield from wrong_form("drover-exec", done.stderr)
        if done.returncode == 0 and done.stdout != "value this\n":
            yield f"ran something else: {done.stdout!r}"
        elif done.returncode != 0 and (done.returncode not in (125, 126, 127) or "cannot " not in done.stderr):
            yield f"ended with {done.returncode}: {done.stderr!r}"

    each_fails_once(folder, ("drover-exec", wrapper), lambda strace, words: run(*strace, *words, timeout=60),
                    problems)  # fmt: skip


def plain_herd(start, folder, *strace):
    words = ("drover-herd", "--lock", folder / "app.lock", "--control", folder / "app.sock")
    words += ("--dialect", "plain", "--stop-timeout", "2s", "--boot-timeout", "5s", "sleep", "1000")
    with open(folder / "said", "w") as said:
        return start(*strace, *words, stderr=said, stdout=said)


def test_ctl(run, start, folder):
    herd = plain_herd(start, folder)
    said = folder / "said"
    eventually(lambda: "serves" in said.read_text(), "the server", READY)
    (server,) = holders(folder / "app.lock")

    def problems(done):
        yield from wrong_form("drover-ctl", done.stderr)
        if done.returncode == 0 and str(server) not in done.stdout:
            yield f"showed something else: {done.stdout!r}"
        elif done.returncode != 0 and (done.returncode > 78 or "cannot " not in done.stderr):
            yield f"ended with {done.returncode}: {done.stderr!r}"

    words = ("drover-ctl", "-s", folder / "app.sock", "status")
    each_fails_once(folder, words, lambda strace, words: run(*strace, *words, timeout=60), problems)
    assert alive(server) and herd.poll() is None
    herd.terminate()
    assert herd.wait(READY) == 0


class HerdRun:
    """A herd over a server that lives until it is stopped."""

    def __init__(self, start, folder):
        self.start, self.folder = start, folder
        self.lock = folder / "app.lock"

    def __call__(self, strace, words):
        process = plain_herd(self.start, self.folder, *strace)
        said = self.folder / "said"

        def goes_on():
            return process.poll() is not None or "serves" in said.read_text()

        with contextlib.suppress(AssertionError):  # it could not write that
            eventually(goes_on, "a start or an end", limit=20)
        for herd in children(process.pid):
            if command_name(herd) == "drover-herd":
                os.kill(herd, signal.SIGTERM)
        try:
            code = process.wait(60)
        except subprocess.TimeoutExpired:
            code = "a hang"
        left = holders(self.lock)
        for pid in [*left, *children(process.pid)]:
            os.kill(pid, signal.SIGKILL)
        process.wait()
        return code, said.read_text(), left


@pytest.mark.timeout(600)
def test_herd(start, folder):
    """It may end without its server, which goes on, and which another one would take over."""

    def problems(result):
        code, said, left = result
        yield from wrong_form("drover-herd", said)
        if code == 0 and left:
            yield f"left {left} behind: {said!r}"
        elif code != 0 and (code == "a hang" or code > 78 or not re.search("cannot |did not start", said)):
            yield f"ended with {code}: {said!r}"

    each_fails_once(folder, (), HerdRun(start, folder), problems)
