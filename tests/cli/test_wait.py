"""drover-wait: the plain wait for the last holder of one lock."""

import signal
import subprocess
import time

import pytest

from support.flocks import (  # noqa: F401
    IN_SANITIZER_BUILD, PYTHON, command_name, complains, end, finish, hold, holds, still_blocked, wait,
    watches_folder,
)
from support.processes import (
    alive, context_switches, eventually, holders, in_flock, kernel_tells_exit_status, stat,
)


def test_returns_0_after_the_last_holder(hold, wait, lock):
    """locks 1"""
    holder = hold(lock)
    waiter = wait(lock)
    end(holder)
    assert finish(waiter) == (0, "", "")


@pytest.mark.parametrize(
    "command, number, ended",
    [(("sleep", "1000"), signal.SIGKILL, "was killed by SIGKILL"),
     (("sh", "-c", "trap 'exit 3' TERM; echo up; read -r line"), signal.SIGTERM, "exited with status 3")],
)  # fmt: skip
def test_end_of_the_first_holder_is_told_when_asked_for(start, wait, lock, command, number, ended):
    """locks 55"""
    if not kernel_tells_exit_status():
        pytest.skip("only Linux 6.15 and later tell how a process ended")
    holder = start("drover-hold", lock, *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    eventually(lambda: holder.pid in holders(lock), "the holder")
    if number == signal.SIGTERM:
        assert holder.stdout.readline() == "up\n"
    waiter = wait("-v", lock)
    holder.send_signal(number)
    holder.wait()
    assert finish(waiter) == (0, "", f"drover-wait: master {holder.pid} {ended}\n")


def test_is_not_woken_by_holders_that_come_and_go(hold, wait, run, lock):
    """locks 1"""
    holder = hold(lock)
    waiter = wait(lock)
    before = context_switches(waiter.pid)
    for _ in range(20):
        assert run("drover-hold", lock, "true").returncode == 0
    assert context_switches(waiter.pid) == before
    end(holder)
    assert finish(waiter)[0] == 0


def test_notices_quickly(hold, wait, lock):
    """locks 1: the limit is far above what a loaded machine needs"""
    holder = hold(lock)
    waiter = wait(lock)
    begin = time.monotonic()
    end(holder)
    assert finish(waiter)[0] == 0
    assert time.monotonic() - begin < 20


def test_missing_lock_is_66(run, lock):
    done = run("drover-wait", lock)
    assert done.returncode == 66
    assert complains(done.stderr, "drover-wait", str(lock), "no such lock file", "--start")
    assert not lock.exists(), "a waiter makes no lock file"


def test_lock_that_nobody_holds_is_66(run, lock):
    lock.touch(0o600)
    done = run("drover-wait", lock)
    assert done.returncode == 66
    assert complains(done.stderr, "drover-wait", str(lock), "nobody holds it")


def test_missing_folder_is_66(run, folder):
    done = run("drover-wait", folder / "none" / "a.lock")
    assert done.returncode == 66
    assert complains(done.stderr, "drover-wait", "none/a.lock")


def test_relative_name(hold, wait, lock):
    holder = hold(lock)
    waiter = wait(lock.name)
    end(holder)
    assert finish(waiter)[0] == 0


def test_waits_for_exclusive_holder(hold, wait, lock):
    holder = hold(lock, "-x")
    waiter = wait(lock)
    end(holder)
    assert finish(waiter)[0] == 0


def test_two_overlapping_generations(hold, wait, lock):
    """locks 14"""
    old = hold(lock)
    waiter = wait(lock)
    new = hold(lock)
    end(old)
    assert still_blocked(waiter)
    end(new)
    assert finish(waiter)[0] == 0


def test_restart_without_a_gap_is_no_end(hold, wait, lock):
    """locks 16: a restart by plain drover-hold is missed, the final end is not"""
    holder = hold(lock)
    waiters = [wait(lock) for _ in range(5)]
    for _ in range(20):
        successor = hold(lock)
        end(holder)
        assert all(map(still_blocked, waiters))
        holder = successor
    end(holder)
    for waiter in waiters:
        assert finish(waiter) == (0, "", "")


def test_successor_that_queues_hangs_nobody_for_ever(hold, wait, start, lock):
    """locks 16: whom of them all the kernel serves first is its own affair"""
    holder = hold(lock, "-x")
    waiters = []
    for _ in range(20):
        waiters += [wait(lock) for _ in range(2)]
        successor = start("drover-hold", "-x", lock, "sleep", "1000")
        eventually(lambda: in_flock(successor.pid), "the successor to queue")  # noqa: B023
        end(holder)
        eventually(lambda: holds(successor.pid, lock), "its turn")  # noqa: B023
        eventually(lambda: command_name(successor.pid) == "sleep", "its command")  # noqa: B023
        holder = successor
    end(holder)
    for waiter in waiters:
        assert finish(waiter) == (0, "", "")


def test_killed_waiter_leaves_the_holder_alone(hold, wait, lock):
    """locks 20"""
    holder = hold(lock)
    waiter = wait(lock)
    end(waiter)
    assert waiter.returncode == -signal.SIGKILL
    assert alive(holder.pid) and holders(lock) == {holder.pid}
    end(holder)


SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1]


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("options", [(), ("-w", "1000"), ("--any",)])
def test_signal_ends_it_by_its_disposition(hold, wait, lock, options, number):
    """S17"""
    holder = hold(lock)
    waiter = wait(*options, lock)
    waiter.send_signal(number)
    assert waiter.wait(20) == -number
    assert alive(holder.pid) and holders(lock) == {holder.pid}
    end(holder)


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_ends_it_before_the_first_holder(start, lock, number):
    """S17"""
    waiter = start("drover-wait", "--start", "1000", lock)
    eventually(lambda: watches_folder(waiter.pid), "the waiter to watch the folder")
    waiter.send_signal(number)
    assert waiter.wait(20) == -number
    assert not lock.exists()


def test_stopped_and_continued_waiter_goes_on(hold, wait, lock):
    """locks 20"""
    holder = hold(lock)
    waiter = wait(lock)
    for _ in range(50):
        waiter.send_signal(signal.SIGSTOP)
        eventually(lambda: stat(waiter.pid)[0] == b"T", "the stop")
        waiter.send_signal(signal.SIGCONT)
        eventually(lambda: in_flock(waiter.pid), "the waiter to block again")
    assert still_blocked(waiter)
    end(holder)
    assert finish(waiter)[0] == 0


@pytest.mark.parametrize("options", [(), ("-w", "1000")])
def test_storm_of_ignored_signals_ends_nothing(hold, wait, lock, options):
    """locks 20"""
    holder = hold(lock)
    waiter = wait(*options, lock)
    for _ in range(1000):
        for number in (signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGCONT):
            waiter.send_signal(number)
    eventually(lambda: still_blocked(waiter), "the waiter to be blocked after the storm")
    end(holder)
    assert finish(waiter)[0] == 0


def test_inside_the_held_tree_is_refused(run, lock):
    """locks 25: the waiter's own descriptor"""
    done = run("drover-hold", lock, "drover-wait", lock)
    assert done.returncode == 78
    assert complains(done.stderr, "drover-wait", str(lock), "wait for itself")


@pytest.mark.parametrize("options", [(), ("-w", "1000"), ("--start", "1000")])
def test_below_a_holder_is_refused(run, lock, options):
    """locks 25: only a parent's descriptor"""
    script = 'drover-wait "$@" 1025<&-; exit $?'
    done = run("drover-hold", "--fd", "1025", lock, "bash", "-c", script, "bash", *options, lock)
    assert done.returncode == 78
    assert complains(done.stderr, "drover-wait", str(lock), "which started this one, holds it")


def test_the_topmost_holder_is_named(run, lock):
    """The service's first process says more than the nearest shell."""
    script = 'echo $$; bash -c "drover-wait \'$1\'; exit \\$?"; exit $?'
    done = run("drover-hold", lock, "bash", "-c", script, "bash", lock)
    assert done.returncode == 78
    assert f"process {done.stdout.strip()}, which started this one" in done.stderr


def test_inside_another_tree_is_allowed(hold, start, folder, lock):
    holder = hold(lock)
    waiter = start("drover-hold", folder / "other.lock", "drover-wait", lock)
    eventually(lambda: in_flock(waiter.pid), "the waiter to block")
    end(holder)
    assert finish(waiter)[0] == 0


def test_restart_by_a_new_generation_is_told(hold, wait, start, lock):
    """locks 15, once: the successor queues first, so that it has replaced the file in time"""
    holder = hold(lock)
    successor = start("drover-hold", "--new", lock, "sleep", "1000")
    eventually(lambda: in_flock(successor.pid), "the successor to queue")
    waiter = wait(lock)
    end(holder)
    code, out, err = finish(waiter)
    assert (code, out) == (0, "")
    assert "has ended and was started anew" in err
    end(successor)


@pytest.mark.skipif(IN_SANITIZER_BUILD, reason="the sanitizer forbids cores")
def test_core_dump_comes_first(start, wait, folder, lock):
    """locks 13: a holder that dumps core holds until the core is written."""
    with open("/proc/sys/kernel/core_pattern") as file:
        pattern = file.read().strip()
    if "/" in pattern or pattern.startswith("|"):
        pytest.skip(f"this machine's cores go to '{pattern}', not to the working folder")
    script = (
        "import os, signal\n"
        "memory = os.urandom(1 << 20) * 200\n"
        "print(len(memory), flush=True)\n"
        "signal.pause()\n"
    )
    unlimited = ("sh", "-c", 'ulimit -c unlimited && exec "$@"', "sh")
    holder = start(*unlimited, "drover-hold", lock, *PYTHON, "-c", script)
    size = int(holder.stdout.readline())
    waiter = wait(lock)
    holder.send_signal(signal.SIGABRT)
    assert finish(waiter) == (0, "", "")
    (core,) = folder.glob("core*")
    written = core.stat().st_size
    assert written >= size
    assert holder.wait() == -signal.SIGABRT
    assert core.stat().st_size == written


def test_content_of_the_lock_file_is_kept(hold, wait, lock):
    """locks 32"""
    lock.write_text("somebody's notes\n")
    holder = hold(lock)
    waiter = wait(lock)
    end(holder)
    assert finish(waiter)[0] == 0
    assert lock.read_text() == "somebody's notes\n"
