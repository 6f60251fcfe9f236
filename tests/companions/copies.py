"""A companion that notes when it lives, and what follows from its notes."""

import pytest

from companions.conftest import Manager
from support.processes import eventually, in_flock

# Notes when it begins and ends, by the monotonic clock. Unless its argument is "main" it has a child, which
# outlives it by a moment and notes the end in its place.
COPY = """
import os, signal, sys, time
own, alone = os.getpid(), sys.argv[1] == "main"
def note(word):
    with open("notes", "a") as notes: notes.write(f"{word} {own} {time.monotonic_ns()}\\n")
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
note("start")
if not alone:
    reader, writer = os.pipe()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.close(writer)
        os.read(reader, 1)
        time.sleep(0.02)
        note("end")
        os._exit(0)
os.write(3, b"ready\\n")
signal.sigwait([signal.SIGTERM])
if alone: note("end")
os._exit(0)
"""
SLEEPER = '[companion.job]\ncommand = ["sleep", "1000"]\nstartsecs = "50ms"\n'


@pytest.fixture
def copy(folder):
    """copy(KEYS, HOLD): the configuration of a companion that notes its life."""
    (folder / "copy.py").write_text(COPY)

    def make(keys="", hold="tree"):
        command = f'command = ["/usr/bin/python3", "-ISB", "copy.py", "{hold}"]\nready = "fd:3"\n'
        return f'[companion.job]\n{command}hold = "{hold}"\n{keys}'

    return make


@pytest.fixture
def pair(manager):
    """pair(TOML): an old manager that runs the job, a new one that waits for it."""

    def make(text):
        old = manager(text, name="old")
        old.until("job", "RUNNING")
        new = manager(text, name="new")
        eventually(lambda: in_flock(new.until("job", "WAITING")["pid"]), "the waiter to block")
        return old, new

    return make


@pytest.fixture
def disguised(folder, monkeypatch):
    """disguised(SCRIPT): managers are started by that script, which executes "$@"."""

    def disguise(script):
        path = folder / "disguise"
        path.write_text(f'#!/bin/sh\nset -- drover-companions "$@"\n{script}')
        path.chmod(0o755)
        monkeypatch.setattr(Manager, "program", path)

    return disguise


def intervals(lines):
    """What copies have noted, as (start, end) in the order of the starts."""
    moments = {"start": {}, "end": {}}
    for line in lines:
        word, pid, moment = line.split()
        moments[word][pid] = int(moment)
    assert moments["start"].keys() == moments["end"].keys(), lines
    return sorted((moment, moments["end"][pid]) for pid, moment in moments["start"].items())


def gaps(lines):
    """Between each copy's end and the next one's start, in ms: none runs before the other has ended."""
    runs = intervals(lines)
    found = [(after - before) / 1e6 for (_, before), (after, _) in zip(runs, runs[1:])]
    assert all(gap > 0 for gap in found), runs
    return found
