"""Singletons: one copy at a time, whoever starts it. More of the lock is in test_lock_file.py."""

import os
import signal
import statistics
import time
import types

import pytest

from companions.copies import SLEEPER, copy, gaps, intervals, pair  # noqa: F401
from support.flocks import Keeper, woken
from support.processes import alive, eventually, holders, in_flock

HANDOVERS = int(os.environ.get("DROVER_HANDOVERS", "20"))


@pytest.fixture
def keeper(start, folder):
    """keeper(): a process of somebody else that has the job's lock."""
    (folder / "run").mkdir(0o700)
    return lambda: Keeper(start, [folder / "run" / "job.lock"]).process


@pytest.mark.parametrize("hold", ["tree", "main", "both"])
def test_hand_overs_never_overlap(pair, copy, notes, hold):
    """companions 22: two managers, one singleton, to and fro. DROVER_HANDOVERS=100 is the measuring run."""
    active, idle = pair(copy(hold=hold))
    tree = {active.status("job")["pid"], *(int(pid) for pid in holders(active.folder / "run" / "job.lock"))}
    assert set(idle.status("job")["holders"]) == (tree if hold != "main" else {active.pid})
    for _ in range(HANDOVERS):
        assert active.do("stop", "job")["ok"]
        idle.until("job", "RUNNING")
        assert active.ask({"cmd": "start", "name": "job"})["ok"]
        active.until("job", "WAITING")
        active, idle = idle, active
    assert (idle.stop(), active.stop()) == (0, 0)
    found = gaps(notes())
    assert len(found) == HANDOVERS
    median = statistics.median(found)
    print(f"hold = {hold}: {len(found)} hand-overs, gap {median:.1f} ms at the median, {max(found):.1f} at most")
    assert HANDOVERS < 100 or median < 50


def test_waits_for_the_last_process(manager, folder):
    """companions 23: the old main process has ended, what it has started has not."""
    leaves = '[companion.job]\nrestart = "never"\ncommand = ["sh", "-c", "setsid sleep 1000 & echo $! >stray"]\n'
    old = manager(leaves, name="old")
    old.until("job", "EXITED", pid=None)
    stray = int((folder / "stray").read_text())
    new = manager(SLEEPER, name="new")
    new.until("job", "WAITING", lock_state="waiting", holders=[stray])
    os.kill(stray, signal.SIGKILL)
    new.until("job", "RUNNING", lock_state="held", holders=[])


def test_starts_at_once_and_sleeps_until_then(manager, copy, keeper, notes):
    """companions 24: neither the waiter nor its manager wakes up; 50 ms is the best of five."""
    waiting = manager(copy("autostart = false\n"))
    delays = []
    for number in range(5):
        holder = keeper()
        assert waiting.ask({"cmd": "start", "name": "job"})["ok"]
        pid = waiting.until("job", "WAITING", holders=[holder.pid])["pid"]
        eventually(lambda: in_flock(pid), "the waiter to block")
        if number == 0:
            waiter = types.SimpleNamespace(pid=pid, args="the waiter")
            assert woken([waiter, waiting.process], seconds=1) == []
        killed = time.monotonic_ns()
        holder.kill()
        starts = [line for line in notes(2 * number + 1) if line.startswith("start")]
        delays.append((int(starts[-1].split()[2]) - killed) / 1e6)
        holder.wait()
        waiting.until("job", "RUNNING", pid=pid)
        assert waiting.do("stop", "job")["ok"]
        notes(2 * number + 2)
    print(f"started after {sorted(delays)} ms")
    assert min(delays) < 50


def test_stop_while_waiting(pair, copy, notes):
    """companions 25: at once, without a word to the old copy."""
    old, new = pair(copy())
    waiter, pid = new.status("job")["pid"], old.status("job")["pid"]
    assert new.do("stop", "job")["ok"]
    new.until("job", "STOPPED", pid=None, kill_count=0)
    assert not alive(waiter)
    old.until("job", "RUNNING", pid=pid, exit_count=0)
    assert old.stop() == 0
    new.until("job", "STOPPED")
    assert len(intervals(notes())) == 1


def test_waiter_dies_with_its_manager(pair, copy, notes, folder):
    """companions 26: nothing starts later."""
    old, new = pair(copy())
    waiter = new.status("job")["pid"]
    new.process.kill()
    new.process.wait()
    eventually(lambda: not alive(waiter), "the waiter's end")
    assert old.status("job")["exit_count"] == 0
    assert old.stop() == 0
    assert len(intervals(notes())) == 1 and holders(folder / "run" / "job.lock") == set()


@pytest.mark.parametrize("hold", ["tree", "both"])
def test_successor_of_a_killed_manager(pair, copy, notes, hold):
    """companions 27: its companions are told to stop, and the new copy starts behind their last process."""
    old, new = pair(copy(hold=hold))
    old.process.kill()
    old.process.wait()
    new.until("job", "RUNNING")
    assert new.stop() == 0
    assert len(gaps(notes())) == 1


def test_lock_timeout(manager, keeper):
    """companions 28: BACKOFF with a reason that names the holder, and another try."""
    holder = keeper()
    waiting = manager(SLEEPER + 'lock_timeout = "100ms"\nrestart_delay = "1s"\n')
    entry = waiting.until("job", "BACKOFF", pid=None)
    assert "lock" in entry["reason"]
    waiting.until("job", "WAITING", attempt=1, kill_count=0)
    holder.kill()
    holder.wait()
    waiting.until("job", "RUNNING")
    assert str(holder.pid) in entry["reason"]


@pytest.mark.parametrize("hold, state", [("tree", "RUNNING"), ("both", "WAITING")])
def test_companion_that_closes_everything(manager, notes, hold, state):
    """companions 29: with "tree" the lock is lost, with "both" its manager has it, too."""
    closes = "import os, signal; os.closerange(3, 70000); open('notes', 'a').write('closed\\\\n'); signal.pause()"
    text = f'[companion.job]\ncommand = ["/usr/bin/python3", "-ISBc", "{closes}"]\nhold = "{hold}"\n'
    old = manager(text, name="old")
    notes(1)
    new = manager(text, name="new")
    entry = new.until("job", state)
    assert entry["holders"] == ([old.pid] if state == "WAITING" else [])
    old.until("job", "RUNNING", exit_count=0)


def test_three_managers_in_order(pair, manager, copy, notes):
    """companions 33: first come, first served."""
    first, second = pair(copy())
    third = manager(copy(), name="third")
    eventually(lambda: in_flock(third.until("job", "WAITING")["pid"]), "the third waiter to block")
    assert first.stop() == 0
    second.until("job", "RUNNING")
    third.until("job", "WAITING")
    assert second.stop() == 0
    third.until("job", "RUNNING")
    assert third.stop() == 0
    assert len(gaps(notes())) == 2


def test_no_singleton_runs_twice(manager):
    """companions 34: and status says that there is no lock."""
    text = SLEEPER + "singleton = false\n"
    managers = [manager(text, name=name) for name in ("old", "new")]
    entries = [each.until("job", "RUNNING", lock=None, lock_state="none", holders=[]) for each in managers]
    assert all(alive(entry["pid"]) for entry in entries)


def test_upgrade_that_is_rolled_back(pair, copy, notes):
    """companions 36: the new manager quits; its waiter goes, and the old copy has never stopped."""
    old, new = pair(copy())
    waiter, pid = new.status("job")["pid"], old.status("job")["pid"]
    assert new.stop() == 0
    assert not alive(waiter)
    old.until("job", "RUNNING", pid=pid, exit_count=0)
    assert old.stop() == 0
    assert len(intervals(notes())) == 1
