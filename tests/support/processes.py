"""Processes of a test: started, watched and ended by pid; nothing survives the test."""

import ctypes
import os
import signal
import subprocess
import time

LIMIT = 20  # seconds: far more than anything takes, also on a busy machine
CLOCK_NANOSLEEP = "230"  # x86_64
PAUSE = "34"
PF_EXITING = 4  # of the flags in /proc/PID/stat
_libc = ctypes.CDLL(None, use_errno=True)


def become_subreaper():
    """Orphans of a test become children of this process: they can be found and reaped."""
    if _libc.prctl(36, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_CHILD_SUBREAPER")


def eventually(condition, what="the condition", limit=LIMIT):
    """Waits until `condition()` is true and returns its value; fails with `what` at the limit."""
    end = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"gave up after {limit} s waiting for {what}"
        time.sleep(0.005)


def stat(pid):
    """The fields of /proc/PID/stat after the command, starting with the state; None when gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rsplit(b")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def alive(pid):
    """Whether the process runs: a zombie does not."""
    fields = stat(pid)
    return fields is not None and fields[0] not in (b"Z", b"X")


def ending(pid):
    """Whether it is gone, or on its way: it runs no instruction of its own any more. The sanitizers'
    helper dies like that when its process is killed, by a signal that nobody can wait for."""
    fields = stat(pid)
    if fields is None or int(fields[6]) & PF_EXITING:
        return True
    try:
        with open(f"/proc/{pid}/status") as file:
            pending = [int(line.split()[1], 16) for line in file if line[3:].startswith("Pnd:")]
    except OSError:
        return True
    return any(signals & 1 << signal.SIGKILL - 1 for signals in pending)


def parent(pid):
    fields = stat(pid)
    return int(fields[1]) if fields else None


def start_time(pid):
    fields = stat(pid)
    return int(fields[19]) if fields else None


def children(pid):
    """Direct children of all of its threads."""
    found = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                found += [int(word) for word in file.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def descendants(pid):
    found = []
    for child in children(pid):
        found.append(child)
        found += descendants(child)
    return found


def blocked_in_call(pid, number):
    """Whether its main thread sleeps in that system call."""
    try:
        with open(f"/proc/{pid}/syscall") as file:
            return file.read().split()[0] == number
    except (OSError, IndexError):
        return False


def threads_in_flock(pid):
    """How many threads of the process are blocked in flock(2)."""
    try:
        return sum(_sleeps_in_flock(pid, thread) for thread in os.listdir(f"/proc/{pid}/task"))
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _sleeps_in_flock(pid, thread):
    """A thread that is only passing through, with LOCK_NB or preempted, shows the call too."""
    try:
        with open(f"/proc/{pid}/task/{thread}/syscall") as file:
            words = file.read().split()
        if words[0] != "73" or int(words[2], 16) & ~3:  # flock on x86_64; LOCK_SH, LOCK_EX
            return False
        with open(f"/proc/{pid}/task/{thread}/stat", "rb") as file:
            return file.read().rsplit(b")", 1)[1].split()[0] == b"S"
    except (OSError, IndexError):
        return False


def in_flock(pid):
    """Whether some thread of the process is blocked in flock(2)."""
    return threads_in_flock(pid) > 0


def context_switches(pid):
    """Voluntary and involuntary switches of all threads: unchanged means not woken."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/status") as file:
            total += sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)
    return total


def asleep(pid):
    """Whether every thread of it sleeps: one that waits for a processor runs on when it gets one."""
    states = set()
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/stat") as file:
            states.add(file.read().rpartition(")")[2].split()[0])
    return states == {"S"}


def next_timer(pid):
    """In how many seconds a timerfd of the process goes off first; a century when none is set."""
    moments = [10**9]
    for fd in os.listdir(f"/proc/{pid}/fdinfo"):
        with open(f"/proc/{pid}/fdinfo/{fd}") as file:
            moments += [int(line.split("(")[1].split(",")[0]) for line in file if line.startswith("it_value")]
    return min(moment for moment in moments if moment != 0)


def kernel_tells_exit_status():
    """Of a process that is nobody's child (PIDFD_INFO_EXIT)."""
    release = open("/proc/sys/kernel/osrelease").read().split(".")
    return (int(release[0]), int(release[1])) >= (6, 15)


def has_pidfd_of(pid, other):
    """Whether the process `pid` keeps a pidfd of the other one: has it, and sleeps all the while. One that
    it opens for a look only is no answer."""
    try:
        before = context_switches(pid)
        has = asleep(pid) and _has_pidfd_of(pid, other)
        return has and asleep(pid) and context_switches(pid) == before
    except FileNotFoundError:  # a thread of it has ended meanwhile
        return False


def _has_pidfd_of(pid, other):
    for name in os.listdir(f"/proc/{pid}/fdinfo"):
        try:
            with open(f"/proc/{pid}/fdinfo/{name}") as file:
                if f"\nPid:\t{other}\n" in file.read():
                    return True
        except FileNotFoundError:  # closed meanwhile
            pass
    return False


def holders(path):
    """The pids that hold a flock on the file, by their fdinfo: independent of drover's own code."""
    found = set()
    try:
        wanted = os.stat(path)
    except FileNotFoundError:
        return found
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            for fd in os.listdir(f"/proc/{name}/fd"):
                try:
                    st = os.stat(f"/proc/{name}/fd/{fd}")
                    if (st.st_dev, st.st_ino) != (wanted.st_dev, wanted.st_ino):
                        continue
                    with open(f"/proc/{name}/fdinfo/{fd}") as file:
                        if "FLOCK" in file.read():
                            found.add(int(name))
                except OSError:
                    pass
        except OSError:
            pass
    return found


class Processes:
    """Starts processes for one test and proves at its end that none is left."""

    def __init__(self, folder, environment):
        self.folder = folder
        self.environment = environment
        self.before = set(descendants(os.getpid()))
        self.started = []

    def start(self, *command, env=None, **options):
        """A running command: Popen with pipes as text, in the test's folder."""
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("cwd", self.folder)
        options.setdefault("text", True)
        process = subprocess.Popen(
            [str(word) for word in command], env={**self.environment, **(env or {})}, **options
        )
        self.started.append(process)
        return process

    def run(self, *command, env=None, timeout=LIMIT, **options):
        """A finished command: CompletedProcess with its output as text."""
        options.setdefault("capture_output", True)
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("cwd", self.folder)
        options.setdefault("text", True)
        return subprocess.run(
            [str(word) for word in command],
            env={**self.environment, **(env or {})},
            timeout=timeout,
            **options,
        )

    def left(self):
        """Processes that this test started and that still run. Looks twice: one that becomes an
        orphan during the walk moves to a place where the walk has been already."""
        seen = {*descendants(os.getpid()), *descendants(os.getpid())}
        return [pid for pid in seen if pid not in self.before and alive(pid)]

    def end(self):
        """Ends and reaps whatever is left, and returns what it was."""
        lines = []
        for pid in self.left():
            if ending(pid):
                continue
            try:
                with open(f"/proc/{pid}/cmdline") as file:
                    lines.append(f"{pid} {file.read().replace(chr(0), ' ').strip()}")
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        end = time.monotonic() + LIMIT
        while self.left() and time.monotonic() < end:
            for pid in self.left():  # children that appeared between the look and the kill
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.reap()
            time.sleep(0.002)
        self.reap()
        return lines

    def reap(self):
        """Collects orphans that have ended; those that start() gave out are left to their Popen."""
        ours = {process.pid for process in self.started if process.poll() is None}
        for pid in children(os.getpid()):
            fields = stat(pid)
            if fields and fields[0] == b"Z" and pid not in ours | self.before:
                try:
                    os.waitpid(pid, os.WNOHANG)
                except ChildProcessError:
                    pass
