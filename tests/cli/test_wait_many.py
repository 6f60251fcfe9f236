"""drover-wait with many locks, and many drover-waits with one."""

import signal

import pytest

from conftest import needs
from support.flocks import (  # noqa: F401
    IN_SANITIZER_BUILD, Keeper, end, finish, hold, holds, wait,
)
from support.processes import children, eventually, in_flock, threads_in_flock

MANY = 100 if IN_SANITIZER_BUILD else 500
# Each looks through /proc once: the cost of a crowd of processes grows with its square.
CROWD = 50 if IN_SANITIZER_BUILD else 250


@pytest.fixture
def paths(folder):
    return [folder / f"{number}.lock" for number in range(MANY)]


def start_waiter_for_all(start, paths, *options):
    waiter = start("drover-wait", *options, *paths)
    eventually(lambda: threads_in_flock(waiter.pid) == len(paths), "every thread to block")
    return waiter


def test_all_of_many(start, paths):
    """locks 52: returns with the last, whichever it is"""
    keeper = Keeper(start, paths)
    waiter = start_waiter_for_all(start, paths)
    last = paths.pop(MANY // 3)
    for path in paths:
        keeper.let_go(path)
    eventually(lambda: threads_in_flock(waiter.pid) == 1, "one thread to be left")
    assert waiter.poll() is None
    keeper.let_go(last)
    assert finish(waiter) == (0, "", "")
    end(keeper.process)


def test_any_of_many(start, paths):
    """locks 52: returns with the first, and prints it"""
    keeper = Keeper(start, paths)
    waiter = start_waiter_for_all(start, paths, "--any")
    keeper.let_go(paths[MANY // 2])
    assert finish(waiter) == (0, f"{paths[MANY // 2]}\n", "")
    end(keeper.process)


def test_many_ends_on_a_signal_at_once(start, paths):
    """locks 52"""
    keeper = Keeper(start, paths)
    waiter = start_waiter_for_all(start, paths)
    waiter.terminate()
    assert waiter.wait() == -signal.SIGTERM
    end(keeper.process)


def test_many_at_the_limit(start, run, paths):
    keeper = Keeper(start, paths)
    assert run("drover-wait", "-w", "300ms", *paths).returncode == 1
    end(keeper.process)


def test_one_that_nobody_holds_is_66(start, run, paths):
    keeper = Keeper(start, paths[:3])
    done = run("drover-wait", *paths[:4])
    assert done.returncode == 66
    assert str(paths[3]) in done.stderr
    end(keeper.process)


def test_same_lock_twice(hold, wait, lock):
    holder = hold(lock)
    waiter = wait(lock, lock)
    end(holder)
    assert finish(waiter)[0] == 0


def test_any_with_one_lock_prints_it(hold, wait, lock):
    holder = hold(lock)
    waiter = wait("--any", lock)
    end(holder)
    assert finish(waiter) == (0, f"{lock}\n", "")


def test_thousand_waiters(hold, start, lock):
    """locks 17: all return, and a holder that comes meanwhile gets the lock"""
    holder = hold(lock)
    quiet = {"stdout": -3, "stderr": -3}
    waiters = [start("drover-wait", lock, **quiet) for _ in range(CROWD)]
    for waiter in waiters:
        eventually(lambda: in_flock(waiter.pid), "each waiter to block", 60)
    crowd_of_one = start_waiter_for_all(start, [lock] * (1000 - CROWD))
    end(holder)
    newcomer = start("drover-hold", "-w", "60", lock, "true", **quiet)
    assert newcomer.wait(timeout=60) == 0
    for waiter in waiters:
        assert waiter.wait(timeout=60) == 0
    assert finish(crowd_of_one)[0] == 0


def test_waiters_do_not_take_each_other_for_holders(start, lock):
    """A waiter's own look at the lock is an exclusive instant: to another one it is no holder."""
    lock.touch(0o600)
    for options in [(), ("--start", "150ms")]:
        for _ in range(5):
            waiters = [start("drover-wait", *options, lock) for _ in range(20)]
            assert {finish(waiter)[0] for waiter in waiters} == {66}


@pytest.mark.parametrize("options", [(), ("--start", "300ms"), ("-w", "5")])
def test_long_instant_of_another_waiter(start, run, lock, options):
    """The same, with an instant that is drawn out to 50 ms."""
    needs("strace")
    lock.touch(0o600)
    slow = start(
        "strace", "-qq", "-o", "/dev/null", "-e", "trace=flock",
        "-e", "inject=flock:delay_exit=50000:when=1", "drover-wait", "-q", lock,
        env={"ASAN_OPTIONS": "detect_leaks=0"},
    )  # fmt: skip

    def is_asking():
        return slow.poll() is not None or any(holds(pid, lock) for pid in children(slow.pid))

    eventually(is_asking, "its instant")
    assert run("drover-wait", *options, lock).returncode == 66
    slow.wait()


def test_more_locks_than_the_soft_limit_has_descriptors(start, paths):
    needs("prlimit")
    keeper = Keeper(start, paths)
    waiter = start("prlimit", "--nofile=64:4096", "drover-wait", *paths)
    blocked = lambda: threads_in_flock(waiter.pid) == len(paths)  # noqa: E731
    eventually(lambda: blocked() or waiter.poll() is not None, "every thread to block")
    assert waiter.poll() is None, waiter.stderr.read()
    end(keeper.process)
    assert finish(waiter)[0] == 0
