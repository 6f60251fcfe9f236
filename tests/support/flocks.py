"""Holders and waiters of a lock, and what can be seen of them from outside."""

import functools
import os
import pathlib
import signal
import stat

import pytest

from support.processes import alive, eventually, in_flock

SUPPORT = pathlib.Path(__file__).parent
PYTHON = ("/usr/bin/python3", "-I", "-S", "-B")
IN_SANITIZER_BUILD = "ASAN_OPTIONS" in os.environ


def holds(pid, path):
    """Whether this process has a descriptor of the file with a flock on it."""
    try:
        wanted = os.stat(path)
        for fd in os.listdir(f"/proc/{pid}/fd"):
            if _locked(pid, fd, wanted):
                return True
    except OSError:
        pass
    return False


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
    """The numbers of the process's locked descriptors of the file."""
    wanted = os.stat(path)
    return sorted(int(fd) for fd in os.listdir(f"/proc/{pid}/fd") if _locked(pid, fd, wanted))


def sockets_of(pid):
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        if stat.S_ISSOCK(os.stat(f"/proc/{pid}/fd/{fd}").st_mode):
            found.append(int(fd))
    return found


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
    eventually(lambda: holds(holder.pid, lock) and _is_exec_done(holder.pid), "the holder")
    return holder


def _is_exec_done(pid):
    with open(f"/proc/{pid}/comm") as file:
        return not file.read().startswith("drover-hold")


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


def still_blocked(waiter):
    """True when it waits (again: every release wakes it to look), false when it has ended."""
    eventually(lambda: in_flock(waiter.pid) or not alive(waiter.pid), "the waiter to wait or end")
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
