"""lib/hooks: drover.rb and drover.py by themselves."""

import os
import signal
import stat
import subprocess

import pytest

from conftest import needs
from support.processes import alive, eventually, holders, in_flock
from support.servers import HOOKS

RUBY = """
$stdout.sync = true
fd = Drover.hold(*ARGV)
puts "#{fd} #{Drover.hold(*ARGV)}"
$stdin.read
"""
PYTHON = """
import sys, drover
fd = drover.hold(*sys.argv[1:])
print(fd, drover.hold(*sys.argv[1:]), flush=True)
sys.stdin.read()
"""
RUBY_AGAIN = 'Drover.hold(ARGV[0]); exec("ruby", "-r", ARGV[1], "-e", ARGV[2], ARGV[0])'
PYTHON_AGAIN = """
import os, sys, drover
drover.hold(sys.argv[1])
os.execvp("python3", ["python3", "-c", sys.argv[3], sys.argv[1]])
"""


class Hook:
    """One language's hook in a process that lives until its standard input is closed."""

    def __init__(self, start, language):
        needs("ruby" if language == "ruby" else "python3")
        self.start = start
        self.ruby = language == "ruby"

    def command(self, script, *arguments):
        file = HOOKS / "drover.rb"
        words = ["ruby", "-r", file, "-e", script] if self.ruby else ["python3", "-c", script]
        return [*words, *arguments]

    def run(self, *arguments, prefix=(), env=None):
        return self.spawn(*prefix, *self.command(RUBY if self.ruby else PYTHON, *arguments), env=env)

    def run_twice(self, path):
        """Holds, executes itself, and holds again."""
        script, again = (RUBY, RUBY_AGAIN) if self.ruby else (PYTHON, PYTHON_AGAIN)
        return self.spawn(*self.command(again, path, HOOKS / "drover.rb", script))

    def spawn(self, *words, env=None):
        env = {"PYTHONPATH": str(HOOKS), "PYTHONDONTWRITEBYTECODE": "1", **(env or {})}
        return self.start(*words, stdin=subprocess.PIPE, env=env)


@pytest.fixture(params=["ruby", "python"])
def hook(request, start):
    return Hook(start, request.param)


def descriptors(process):
    """What the two calls returned; fails with the process's words when it has failed."""
    line = process.stdout.readline()
    assert line, process.stderr.read()
    return [int(word) for word in line.split()]


def of_file(process, path):
    """The descriptors of the file in that process."""
    folder = f"/proc/{process.pid}/fd"
    return [int(fd) for fd in os.listdir(folder) if os.readlink(f"{folder}/{fd}") == str(path)]


def end(process):
    process.stdin.close()
    assert process.wait() == 0, process.stderr.read()


def test_one_high_descriptor(hook, lock):
    process = hook.run(lock)
    first, second = descriptors(process)
    assert first == second >= 1025
    assert of_file(process, lock) == [first]
    assert holders(lock) == {process.pid}
    end(process)
    assert holders(lock) == set()


@pytest.mark.parametrize("umask", ["000", "077", "777"])
def test_mode_of_a_new_file(hook, lock, umask):
    process = hook.run(lock, prefix=["sh", "-c", f'umask {umask}; exec "$@"', "sh"])
    descriptors(process)
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600
    end(process)


def test_limit_is_put_back(hook, lock):
    needs("prlimit")
    process = hook.run(lock, prefix=["prlimit", "--nofile=300:3000"])
    assert descriptors(process)[0] >= 1025
    with open(f"/proc/{process.pid}/limits") as file:
        limits = next(line for line in file if line.startswith("Max open files")).split()
    assert limits[3:5] == ["300", "3000"]
    end(process)


def test_low_hard_limit(hook, lock):
    needs("prlimit")
    process = hook.run(lock, prefix=["prlimit", "--nofile=64:64"])
    assert descriptors(process)[0] < 64
    assert holders(lock) == {process.pid}
    end(process)


@pytest.mark.parametrize("options", [["--fd", "high"], ["--fd", "low"], ["--exclusive"]])
def test_lock_of_drover_hold_is_found(hook, lock, options):
    """By DROVER_LOCK alone, and not taken a second time, which for an exclusive lock would never end."""
    process = hook.run(prefix=["drover-hold", *options, lock])
    descriptors(process)
    assert len(of_file(process, lock)) == 1
    end(process)


@pytest.mark.parametrize("fd", ["0", "1025", "77", "-1", "x"])
def test_wrong_word_about_a_descriptor(hook, lock, fd):
    process = hook.run(env={"DROVER_LOCK": str(lock), "DROVER_LOCK_FD": fd})
    fd, _ = descriptors(process)
    assert of_file(process, lock) == [fd]
    assert holders(lock) == {process.pid}
    end(process)


def test_no_path(hook):
    process = hook.run()
    assert process.wait() == 1
    assert "DROVER_LOCK is not set" in process.stderr.read()


def test_held_across_exec_and_found_again(hook, lock):
    """As in unicorn's USR2: a fresh interpreter finds the lock that it was born with."""
    process = hook.run_twice(lock)
    first, _ = descriptors(process)
    assert of_file(process, lock) == [first]
    assert holders(lock) == {process.pid}
    end(process)


def test_waits_for_an_exclusive_holder(hook, start, lock):
    owner = start("drover-hold", "-x", lock, "sleep", "1000")
    eventually(lambda: lock.exists() and holders(lock), "the exclusive holder")
    process = hook.run(lock)
    eventually(lambda: in_flock(process.pid), "the hook to block")
    owner.kill()
    descriptors(process)
    assert holders(lock) == {process.pid}
    end(process)


def test_starts_over_when_the_file_was_replaced(hook, start, lock):
    owner = start("drover-hold", "-x", lock, "sleep", "1000")
    eventually(lambda: lock.exists() and holders(lock), "the exclusive holder")
    process = hook.run(lock)
    eventually(lambda: in_flock(process.pid), "the hook to block")
    replacement = lock.with_name("replacement")
    replacement.touch(0o600)
    replacement.rename(lock)
    owner.kill()
    descriptors(process)
    assert holders(lock) == {process.pid}
    end(process)


def test_content_is_kept(hook, lock):
    lock.write_text("generation 3\n")
    process = hook.run(lock)
    descriptors(process)
    end(process)
    assert lock.read_text() == "generation 3\n"


def test_arrival_is_shown(hook, start, lock):
    """A drover-wait --start sees a hook that comes and goes."""
    waiter = start("drover-wait", "--start", "60s", lock)
    process = hook.run(lock)
    descriptors(process)
    eventually(lambda: in_flock(waiter.pid), "drover-wait to see the holder")
    end(process)
    assert waiter.wait() == 0


@pytest.mark.parametrize("kind", ["link", "dangling link", "folder", "fifo", "no folder"])
def test_refused(hook, folder, kind):
    path = folder / "it"
    if kind == "link":
        (folder / "target").touch()
        path.symlink_to("target")
    elif kind == "dangling link":
        path.symlink_to("target")
    elif kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path = folder / "none" / "it"
    process = hook.run(path)
    assert process.wait(20) == 1
    assert str(path) in process.stderr.read()
    assert not (folder / "target").exists() or kind == "link"


def test_forked_children_hold(hook, lock):
    """The process that called is killed; its child holds on."""
    ruby = 'Drover.hold(ARGV[0]); fork { $stdin.read }; puts "1"; $stdout.flush; sleep'
    python = (
        "import os, signal, sys, drover\n"
        "drover.hold(sys.argv[1])\n"
        "if os.fork() == 0: sys.stdin.read(); os._exit(0)\n"
        "print(1, flush=True)\n"
        "signal.pause()"
    )
    process = hook.spawn(*hook.command(ruby if hook.ruby else python, lock))
    descriptors(process)
    (child,) = holders(lock) - {process.pid}
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert holders(lock) == {child}
    process.stdin.close()
    eventually(lambda: not alive(child), "the child to end")
    assert holders(lock) == set()
