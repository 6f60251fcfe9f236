"""drover-wait --start and --grace: before the first holder, and between two."""

import os
import shutil
import signal
import subprocess
import time

import pytest

from conftest import needs
from support.flocks import (  # noqa: F401
    complains, end, finish, hold, start_holder, still_blocked, watches_folder, wait, woken,
)
from support.processes import eventually, in_flock


@pytest.fixture
def await_first(start):
    """A drover-wait --start that has begun to watch the folder."""

    def begin(lock, *options, limit="1000"):
        waiter = start("drover-wait", "--start", limit, *options, lock)
        eventually(lambda: watches_folder(waiter.pid), "the waiter to watch the folder")
        return waiter

    return begin


@pytest.mark.parametrize("exists", [False, True])
def test_start_waits_for_the_first_holder(await_first, hold, lock, exists):
    """locks 22"""
    if exists:
        lock.touch(0o600)
    waiter = await_first(lock)
    assert not in_flock(waiter.pid)
    holder = hold(lock)
    eventually(lambda: in_flock(waiter.pid), "the waiter to have seen the holder")
    end(holder)
    assert finish(waiter)[0] == 0


def test_start_with_a_holder_already_there(hold, wait, lock):
    holder = hold(lock)
    waiter = wait("--start", "1000", lock)
    end(holder)
    assert finish(waiter)[0] == 0


@pytest.mark.parametrize("exists", [False, True])
def test_nobody_comes_in_time_is_66(run, lock, exists):
    if exists:
        lock.touch(0o600)
    begin = time.monotonic()
    done = run("drover-wait", "--start", "100ms", lock)
    assert done.returncode == 66
    assert time.monotonic() - begin >= 0.1
    assert complains(done.stderr, "drover-wait", str(lock), "nobody came")


@pytest.mark.parametrize("exists", [False, True])
def test_short_life_is_seen(await_first, run, lock, exists):
    """locks 22: arrival and end within a moment are an end"""
    if exists:
        lock.touch(0o600)
    for _ in range(5):
        waiter = await_first(lock)
        assert run("drover-hold", lock, "true").returncode == 0
        assert finish(waiter)[0] == 0


def test_missing_folder_is_said(run, folder):
    """locks 23"""
    done = run("drover-wait", "--start", "1000", folder / "none" / "a.lock")
    assert done.returncode == 66
    assert complains(done.stderr, "drover-wait", "none")


def test_folder_removed_while_waiting(await_first, folder):
    inner = folder / "inner"
    inner.mkdir()
    waiter = await_first(inner / "a.lock")
    inner.rmdir()
    code, _, err = finish(waiter)
    assert code == 66
    assert complains(err, "drover-wait", "inner/a.lock", "folder was removed")


@pytest.mark.parametrize("exists", [False, True])
def test_foreign_holder_is_seen(await_first, start, lock, exists):
    """locks 24: flock(1) touches nothing, its open is the event"""
    needs("flock")
    if exists:
        lock.touch(0o600)
    waiter = await_first(lock)
    foreign = start("flock", "-s", "-F", lock, "sleep", "1000")
    eventually(lambda: in_flock(waiter.pid), "the waiter to have seen flock(1)")
    end(foreign)
    assert finish(waiter)[0] == 0


def test_holder_that_is_moved_into_place(await_first, hold, folder, lock):
    waiter = await_first(lock)
    holder = hold(folder / "draft.lock")
    os.rename(folder / "draft.lock", lock)
    eventually(lambda: in_flock(waiter.pid), "the waiter to have seen the file")
    end(holder)
    assert finish(waiter)[0] == 0


def test_other_files_in_the_folder_are_nobody(await_first, hold, folder, lock):
    waiter = await_first(lock)
    holder = hold(folder / "other.lock")
    (folder / "app.pid.lock.new").touch()
    (folder / "app.pid").touch()
    assert waiter.poll() is None and not in_flock(waiter.pid)
    end(holder)
    waiter.terminate()
    assert waiter.wait() == -signal.SIGTERM


def test_grace_gives_a_successor_time(hold, wait, lock):
    holder = hold(lock)
    waiter = wait("--grace", "1000", lock)
    end(holder)
    eventually(lambda: watches_folder(waiter.pid), "the time of grace")
    successor = hold(lock)
    eventually(lambda: in_flock(waiter.pid), "the waiter to go on with the successor")
    waiter.terminate()
    end(successor)
    err = waiter.communicate()[1]
    assert "has a successor" in err


def test_grace_that_nobody_uses_ends_the_wait(hold, wait, lock):
    holder = hold(lock)
    waiter = wait("--grace", "200ms", lock)
    begin = time.monotonic()
    end(holder)
    assert finish(waiter)[0] == 0
    assert time.monotonic() - begin >= 0.2


def test_grace_starts_anew_after_each_holder(hold, wait, lock):
    """Three times nobody is there, longer than one time of grace in all."""
    holder = hold(lock)
    waiter = wait("--grace", "20", lock)
    for _ in range(3):
        end(holder)
        eventually(lambda: watches_folder(waiter.pid), "the time of grace")
        with pytest.raises(subprocess.TimeoutExpired):
            waiter.wait(7)
        holder = hold(lock)
        eventually(lambda: in_flock(waiter.pid), "the waiter to go on")
    waiter.terminate()
    assert waiter.wait() == -signal.SIGTERM
    end(holder)


def test_grace_follows_a_new_generation(hold, wait, start, lock):
    holder = hold(lock)
    successor = start("drover-hold", "--new", lock, "sleep", "1000")
    eventually(lambda: in_flock(successor.pid), "the successor to queue")
    waiter = wait("--grace", "1000", lock)
    end(holder)
    eventually(lambda: in_flock(waiter.pid) and not in_flock(successor.pid), "the new generation")
    assert still_blocked(waiter)
    waiter.terminate()
    waiter.wait()
    end(successor)


def test_limit_ends_the_grace(hold, wait, lock):
    """At -w nobody holds the lock: the answer is still the limit's, as the grace was not over."""
    holder = hold(lock)
    waiter = wait("-w", "20", "--grace", "1000", lock)
    end(holder)
    eventually(lambda: watches_folder(waiter.pid), "the time of grace")
    assert finish(waiter)[0] == 1


def test_start_and_many_locks(start, folder):
    paths = [folder / f"{number}.lock" for number in range(20)]
    waiter = start("drover-wait", "--start", "1000", *paths)
    eventually(lambda: watches_folder(waiter.pid), "the waiter to watch the folder")
    holders = [start_holder(start, path) for path in paths]
    end(*holders)
    assert finish(waiter)[0] == 0


def test_others_at_the_file_are_no_holder(await_first, run, folder):
    """touch(1), chown(1), install(1) and a look at it: "never held" is not "gone"."""
    inner = folder / "inner"
    inner.mkdir()
    lock = inner / "a.lock"
    waiter = await_first(lock)
    run("install", "-m", "640", "/dev/null", lock)
    for command in (("touch", lock), ("chown", "0:0", lock), ("chmod", "600", lock), ("cat", lock)):
        assert run(*command).returncode == 0
        assert run("drover-ls", "-q", lock).returncode == 1
    assert waiter.poll() is None
    shutil.rmtree(inner)  # ends it, after it has taken note of all of that
    code, _, err = finish(waiter)
    assert code == 66
    assert complains(err, "drover-wait", str(lock), "folder was removed")


def test_folder_that_goes_with_a_file_nobody_held(await_first, folder):
    """An open file keeps the folder it was in: its end is told once the waiter lets go of the file."""
    inner = folder / "inner"
    inner.mkdir()
    lock = inner / "a.lock"
    lock.touch(0o600)
    waiter = await_first(lock)
    assert not woken([waiter], 0.1)  # it has the file open, and no further look at it is due
    shutil.rmtree(inner)
    code, _, err = finish(waiter)
    assert code == 66
    assert complains(err, "drover-wait", str(lock), "folder was removed")


def test_folder_that_goes_with_the_service(start, folder):
    """systemd removes a RuntimeDirectory at the stop."""
    run_folder = folder / "run"
    run_folder.mkdir()
    holder = start_holder(start, run_folder / "app.lock")
    waiter = start("drover-wait", "--grace", "1000", run_folder / "app.lock")
    eventually(lambda: in_flock(waiter.pid), "the waiter")
    (run_folder / "app.lock").unlink()
    run_folder.rmdir()
    end(holder)
    code, _, err = finish(waiter)
    assert code == 0, err


def test_limit_before_the_first_holder_is_66(run, lock):
    """There is nobody of whom one could say that they still hold it."""
    done = run("drover-wait", "--start", "1000", "-w", "50ms", lock)
    assert done.returncode == 66
    assert complains(done.stderr, "drover-wait", str(lock), "nobody came")
    done = run("drover-wait", "--start", "1000", "-w", "50ms", "--relay", lock.with_suffix(""))
    assert done.returncode == 66
