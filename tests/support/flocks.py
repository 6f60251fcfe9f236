"""Holders and waiters of a lock, and what can be seen of them from outside."""

import functools
import os
import pathlib
import signal
import subprocess
import time

import pytest

from conftest import needs
from support.processes import alive, asleep, context_switches, eventually, in_flock, next_timer

SUPPORT = pathlib.Path(__file__).parent
PYTHON = ("/usr/bin/python3", "-I", "-S", "-B")
IN_SANITIZER_BUILD = pathlib.Path(os.environ.get("DROVER_BUILD", "release")).name == "asan"


def holds(pid, path):
    """Whether this process has a descriptor of the file with a flock on it."""
    return bool(lock_fds(pid, path))


def _locked(pid, fd, wanted):
    try:
        st = os.stat(f"/proc/{pid}/fd/{fd}")
        if (st.st_dev, st.st_ino) != (wanted.st_dev, wanted.st_ino):
            return False
        with open(f"/proc/{pid}/fdinfo/{fd}") as file:
            return "FLOCK" in file.read()
    except OSError:
        return False


def lock_fds(pid, path):
    """The numbers of the process's locked descriptors of the file; none when either is gone."""
    try:
        wanted = os.stat(path)
        return sorted(int(fd) for fd in os.listdir(f"/proc/{pid}/fd") if _locked(pid, fd, wanted))
    except OSError:
        return []


def as_nobody(*words):
    """The command of a user who owns nothing."""
    needs("setpriv")
    return ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", *words)


def command_name(pid):
    """What the process calls itself, '' when it is gone."""
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().rstrip("\n")
    except OSError:
        return ""


def watches_folder(pid):
    """Whether the process has an inotify watch: it waits for somebody to come."""
    try:
        for fd in os.listdir(f"/proc/{pid}/fdinfo"):
            with open(f"/proc/{pid}/fdinfo/{fd}") as file:
                if "inotify wd:" in file.read():
                    return True
    except OSError:
        pass
    return False


def start_holder(start, lock, *options, command=("sleep", "1000"), **popen):
    """A drover-hold that has the lock and has become its command."""
    holder = start("drover-hold", *options, lock, *command, **popen)

    def is_command():
        return holds(holder.pid, lock) and command_name(holder.pid) != "drover-hold"

    eventually(is_command, "the holder")
    return holder


# Holds every file named on its command line; a line of text is the name of one to let go.
KEEPER = (
    "import fcntl, os, sys\n"
    "fds = {path: os.open(path, os.O_RDONLY) for path in sys.argv[1:]}\n"
    "for fd in fds.values(): fcntl.flock(fd, fcntl.LOCK_SH)\n"
    "print('ready', flush=True)\n"
    "for line in sys.stdin: os.close(fds[line.strip()]); print('closed', flush=True)\n"
)


class Keeper:
    """One process that holds many locks and lets go of them one by one."""

    def __init__(self, start, paths):
        for path in paths:
            path.touch(0o600)
        self.process = start(*PYTHON, "-c", KEEPER, *paths, stdin=subprocess.PIPE)
        assert self.process.stdout.readline() == "ready\n"

    def let_go(self, path):
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "closed\n"


def start_waiter(start, *arguments, **popen):
    """A drover-wait that blocks in flock(2)."""
    waiter = start("drover-wait", *arguments, **popen)
    eventually(lambda: in_flock(waiter.pid) or waiter.poll() is not None, "the waiter to block")
    assert waiter.poll() is None, f"ended with {waiter.returncode}: {waiter.stderr.read()}"
    return waiter


def finish(process):
    """Exit status, standard output and standard error of a process that ends by itself."""
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def end(*processes):
    for process in processes:
        process.send_signal(signal.SIGKILL)
    for process in processes:
        process.wait()


def woken(processes, seconds=3):
    """Those of the processes that ran in this time, once each of them had come to rest, or that have a
    timer: limits in these tests are of 1000 s."""

    def all_rest():
        before = [context_switches(process.pid) for process in processes]
        time.sleep(0.05)
        resting = all(asleep(process.pid) for process in processes)
        return resting and [context_switches(process.pid) for process in processes] == before

    eventually(all_rest, "all of them to rest")
    timers = [process.args for process in processes if next_timer(process.pid) < 900]
    before = [context_switches(process.pid) for process in processes]
    time.sleep(seconds)
    return timers + [
        process.args for process, count in zip(processes, before) if context_switches(process.pid) != count
    ]


def still_blocked(waiter):
    """True when it waits (again: every release wakes it to look), false when it has ended."""
    eventually(lambda: in_flock(waiter.pid) or not alive(waiter.pid), "the waiter to wait or end")
    return alive(waiter.pid)


def follows(waiter, path):
    """True when it waits for the file that the path names now; false when it has ended. A holder's lock
    may outlive it for a moment, while somebody looks at its descriptors."""
    inode = os.stat(path).st_ino

    def waits():
        with open("/proc/locks") as locks:
            blocked = [line.split()[5:7] for line in locks if " -> " in line]
        return any(int(pid) == waiter.pid and file.endswith(f":{inode}") for pid, file in blocked)

    eventually(lambda: waits() or not alive(waiter.pid), "the waiter to follow or end")
    return alive(waiter.pid)


@pytest.fixture
def hold(start):
    """hold(LOCK, OPTION...): see start_holder."""
    return functools.partial(start_holder, start)


@pytest.fixture
def wait(start):
    """wait(ARGUMENT...): see start_waiter."""
    return functools.partial(start_waiter, start)


def complains(text, program, *words):
    """The form of a failure: "PROGRAM: cannot ...", perhaps a hint, and nothing else."""
    lines = text.splitlines()
    assert lines and len(lines) <= 2, text
    assert lines[0].startswith(f"{program}: cannot "), text
    assert all(line.startswith(f"{program}: hint: ") for line in lines[1:]), text
    for word in words:
        assert word in text, f"no {word!r} in {text!r}"
    return True
