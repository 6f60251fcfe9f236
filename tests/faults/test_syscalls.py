"""Every system call of drover-hold and drover-wait fails once, at each of its places: strace(1)
answers in the kernel's stead. Whatever happens, the program ends, says one line or succeeds, and the
lock file is unharmed."""

import os
import re
import signal
import subprocess

import pytest

from conftest import needs
from support.flocks import IN_SANITIZER_BUILD, end, start_holder
from support.processes import descendants, eventually, in_flock

# Not tried: close(2), as strace answers for it without closing; brk(2) and mprotect(2), which only
# libc calls before main(); the first two calls of epoll_ctl(2), whose failure Asio does not look at;
# ioctl(2) of Asio's, FIONBIO, before the one for a process's exit status.
FIRST = {"epoll_ctl": 3, "ioctl": 3}

# What may come out. Success: the failure is one that can be survived.
OWN_FAILURE = {
    "hold": {0, 1, 125, 126, 127},
    "wait": {0, 1, 66, 69, 71, 73, 77, 78},
}
COMMON = [
    ("openat", "EMFILE"), ("openat", "EIO"), ("openat", "EACCES"), ("openat", "EINTR"),
    ("newfstatat", "EIO"), ("flock", "EINTR"), ("flock", "ENOLCK"), ("flock", "EIO"),
    ("flock", "EBADF"), ("fcntl", "EMFILE"), ("fcntl", "EINVAL"), ("prlimit64", "EPERM"),
    ("read", "EINTR"), ("read", "EIO"), ("mmap", "ENOMEM"), ("getcwd", "ENOENT"), ("getcwd", "ERANGE"),
]  # fmt: skip
# The command below a guard loads its libraries under the same fault: its own affair.
IN_GUARD = [fault for fault in COMMON if fault[0] != "mmap"]
HOLD = [
    ("utimensat", "EPERM"), ("utimensat", "EROFS"), ("fstatfs", "EIO"), ("execve", "ENOMEM"),
    ("execve", "E2BIG"), ("execve", "EACCES"),
]  # fmt: skip
TIMED = [
    ("timer_create", "EAGAIN"), ("timer_settime", "EINVAL"),
]  # fmt: skip
NEW = [
    ("pread64", "EIO"), ("write", "ENOSPC"), ("write", "EINTR"), ("rename", "EACCES"),
    ("unlink", "EROFS"), ("fchown", "EPERM"), ("fchmod", "EPERM"),
]  # fmt: skip
GUARD = [
    ("pipe2", "EMFILE"), ("clone", "EAGAIN"), ("prctl", "EINVAL"), ("wait4", "EINTR"),
    ("rt_sigtimedwait", "EINTR"), ("rt_sigtimedwait", "EAGAIN"),
]  # fmt: skip
WAIT = [("getdents64", "EIO"), ("getdents64", "ENOENT"), ("statx", "EACCES"), ("statx", "EIO"),
        ("pidfd_open", "EMFILE"), ("pidfd_open", "ENOSYS"), ("poll", "EINTR"), ("poll", "ENOMEM"),
        ("readlink", "EACCES"), ("readlinkat", "EACCES")]  # fmt: skip
LOOP = [
    ("pipe2", "EMFILE"), ("clone3", "EAGAIN"), ("clone3", "ENOSYS"), ("eventfd2", "EMFILE"),
    ("epoll_create1", "EMFILE"), ("epoll_ctl", "ENOSPC"), ("epoll_wait", "EINTR"),
    ("timerfd_create", "EMFILE"), ("timerfd_settime", "EINVAL"), ("write", "EINTR"),
    ("madvise", "EINVAL"),
]  # fmt: skip
START = [("inotify_init1", "EMFILE"), ("inotify_add_watch", "ENOSPC"), ("inotify_add_watch", "EACCES")]
RELAY = [
    ("signalfd4", "EMFILE"), ("signalfd4", "ENOSYS"), ("pidfd_send_signal", "EPERM"),
    ("pidfd_send_signal", "ESRCH"), ("ioctl", "ENOTTY"), ("ioctl", "EINVAL"),
]  # fmt: skip

# In each case: the words, the calls, and how many places of each are tried at most.
CASES = {
    "hold": (["drover-hold", "LOCK", "true"], COMMON + HOLD),
    "hold-relative": (["drover-hold", "app.pid.lock", "true"], [("getcwd", "ENOENT")]),
    "hold-timed": (["drover-hold", "-x", "-w", "20ms", "BUSY", "true"], COMMON + TIMED),
    "hold-at-once": (["drover-hold", "-x", "-n", "BUSY", "true"], COMMON + TIMED),
    "hold-new": (["drover-hold", "--new", "LOCK", "true"], COMMON + NEW),
    "hold-guard": (["drover-hold", "--guard", "LOCK", "true"], IN_GUARD + GUARD),
    "wait": (["drover-wait", "BUSY"], COMMON + WAIT),
    "wait-timed": (["drover-wait", "-w", "300ms", "BUSY"], COMMON + LOOP),
    "wait-loop": (["drover-wait", "-w", "1000", "BUSY", "BUSY"], COMMON + WAIT + LOOP),
    "wait-start": (["drover-wait", "--start", "20ms", "LOCK"], COMMON + START + LOOP),
    "wait-grace": (["drover-wait", "--grace", "20ms", "BUSY"], COMMON + START + LOOP),
    "wait-relay": (["drover-wait", "--relay", "app.pid", "BUSY"], COMMON + WAIT + LOOP + RELAY),
}
PLACES = 3 if IN_SANITIZER_BUILD else 6
# A sanitizer's own run-time does not survive these.
ITS_OWN = {"mmap", "madvise", "rt_sigaction", "prlimit64", "clone", "clone3"}
STRACE = {"ASAN_OPTIONS": "detect_leaks=0"}


def places_of(call, total):
    """Which occurrences fail: the first ones, some later ones, the last."""
    first = FIRST.get(call, 1)
    some = {*range(first, first + PLACES), total // 2, total - 1, total}
    return sorted(place for place in some if first <= place <= total)


class Scene:
    """The lock that somebody holds, and what must not change."""

    def __init__(self, start, folder):
        self.start, self.folder = start, folder
        self.busy = folder / "busy.lock"
        self.lock = folder / "app.pid.lock"

    def begin(self):
        self.holder = start_holder(self.start, self.busy, stderr=-3, stdout=-3)
        (self.folder / "app.pid").write_text(f"{self.holder.pid}\n")
        self.lock.touch(0o600)

    def words(self, command):
        names = {"LOCK": self.lock, "BUSY": self.busy}
        return [names.get(word, word) for word in command]

    def run(self, command, *strace):
        """Runs it under strace; lets the holder go, by a signal or a kill, when the wait blocks."""
        program = self.start(
            "strace", "-f", "-qq", "-o", self.folder / "trace", *strace, *self.words(command), env=STRACE
        )
        eventually(lambda: program.poll() is not None or blocked_below(program.pid), "an end", 60)
        if program.poll() is None:
            self.release(program, "--relay" in command)
        try:
            out, err = program.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            for pid in descendants(program.pid):
                os.kill(pid, signal.SIGKILL)
            out, err = program.communicate(timeout=60)
            return "a hang", out, err[-300:]
        return program.returncode, out, err

    def release(self, program, by_relay):
        for pid in descendants(program.pid) if by_relay else []:
            os.kill(pid, signal.SIGTERM)
        if not by_relay or self.holder_stays():
            self.holder.kill()
        self.holder.wait()

    def holder_stays(self):
        """A signal that was made to fail does not arrive."""
        try:
            self.holder.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return True
        return False

    def clean_up(self):
        if self.holder.poll() is None:
            end(self.holder)

    def problems(self, command, result):
        """What is wrong with this outcome."""
        program = command[0].removeprefix("drover-")
        code, _, err = result
        lines = err.splitlines()
        if code not in OWN_FAILURE[program]:
            yield f"ended with {code}: {err!r}"
        if not all(line.startswith((f"drover-{program}: ", "true: ")) for line in lines):
            yield f"another form: {err!r}"
        if "please report" in err:
            yield f"called it a bug of its own: {err!r}"
        if code not in (0, 1) and not any(": cannot " in line for line in lines):
            yield f"ended with {code} without a word: {err!r}"
        for path in (self.busy, self.lock):
            text = path.read_text()
            if text and not ("--new" in command and re.fullmatch(r"generation \d+\n", text)):
                yield f"{path.name} is damaged: {text!r}"


def blocked_below(pid):
    return any(in_flock(child) and waits_exclusively(child) for child in descendants(pid))


def waits_exclusively(pid):
    """Blocked in the kernel, not merely stopped by strace at the call."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{thread}/wchan") as file:
                if "lock" in file.read():
                    return True
        except OSError:
            pass
    return False


def count_calls(scene, command):
    """How often each call is made when nothing fails."""
    scene.begin()
    scene.run(command)
    scene.clean_up()
    lines = (scene.folder / "trace").read_text()
    ours = re.split(r'^\d+ +execve\("[^"\n]*/true".* = 0$', lines, maxsplit=1, flags=re.M)[0]
    names = re.findall(r"^\d+ +(\w+)\(", ours, re.M)
    return {name: names.count(name) for name in names}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", CASES)
def test_each_call_fails_once(start, folder, case):
    needs("strace")
    command, faults = CASES[case]
    scene = Scene(start, folder)
    counts = count_calls(scene, command)
    assert counts["flock"] > 0, counts
    wrong = []
    for call, error in faults:
        if IN_SANITIZER_BUILD and call in ITS_OWN:
            continue
        for place in places_of(call, counts.get(call, 0)):
            scene.begin()
            fault = f"inject={call}:error={error}:when={place}"
            result = scene.run(command, "-e", f"trace={call}", "-e", fault)
            wrong += [f"{fault}: {problem}" for problem in scene.problems(command, result)]
            scene.clean_up()
    assert not wrong, "\n".join(wrong)
