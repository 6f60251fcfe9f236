"""Idle means idle: whoever waits sleeps until something happens."""

import pytest

from support.flocks import end, hold, start_waiter, watches_folder, woken  # noqa: F401
from support.processes import eventually, in_flock, threads_in_flock


@pytest.fixture
def busy(hold, folder):
    """A lock that is held to the end of the test, and its pidfile."""
    lock = folder / "app.pid.lock"
    holder = hold(lock)
    (folder / "app.pid").write_text(f"{holder.pid}\n")
    yield lock
    end(holder)


def test_waiters_sleep(start, folder, busy):
    pidfile = folder / "app.pid"
    alone = folder / "alone"
    alone.mkdir()
    waiters = [
        start_waiter(start, busy),
        start_waiter(start, "-w", "1000", busy),
        start_waiter(start, "--start", "1000", busy),
        start_waiter(start, "--grace", "1000", busy),
        start_waiter(start, "--any", *[busy] * 20),
        start_waiter(start, "--relay", pidfile),
        start_waiter(start, "--relay", pidfile, "-w", "1000", "--winch"),
    ]
    for options in ([alone / "a.lock"], ["-w", "1000", alone / "b.lock"], ["--relay", alone / "app.pid"]):
        waiters.append(start("drover-wait", "--start", "1000", *options))
    for waiter in waiters[-3:]:
        eventually(lambda: watches_folder(waiter.pid), "it to watch the folder")  # noqa: B023
    eventually(lambda: threads_in_flock(waiters[4].pid) == 20, "every thread to block")
    assert woken(waiters) == []
    assert all(waiter.poll() is None for waiter in waiters)
    end(*waiters)


def test_waiters_sleep_in_the_time_of_grace(start, hold, lock):
    holder = hold(lock)
    waiters = [
        start_waiter(start, "--grace", "1000", lock),
        start_waiter(start, "--grace", "1000", "-w", "1000", lock),
        start_waiter(start, "--grace", "1000", "--relay", lock.with_suffix("")),
    ]
    end(holder)
    for waiter in waiters:
        eventually(lambda: watches_folder(waiter.pid) and not in_flock(waiter.pid), "the grace")  # noqa: B023
    assert woken(waiters) == []
    end(*waiters)


def test_holders_that_queue_and_guards_sleep(start, folder, busy):
    command = ("sleep", "1000")
    queue = [
        start("drover-hold", "-x", busy, *command),
        start("drover-hold", "-x", "-w", "1000", busy, *command),
        start("drover-hold", "--new", busy, *command),
    ]
    for one in queue:
        eventually(lambda: in_flock(one.pid), "it to queue")  # noqa: B023
    guard = start("drover-hold", "--guard", folder / "guarded.lock", "sh", "-c", "echo up; exec sleep 1000")
    assert guard.stdout.readline() == "up\n"
    assert woken([*queue, guard]) == []
    end(*queue)
    guard.terminate()
    assert guard.wait() == 128 + 15
