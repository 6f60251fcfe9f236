"""Companions start, end, are started again, and are given up."""

import os
import signal
import time

import pytest

from companions.conftest import SLEEP, sh
from support.processes import alive, eventually, parent, stat

SLOW_RESTART = 'restart_delay = "1000s"'


def retry_in(entry):
    return entry["next_retry_at"] - time.time()


def test_running_after_startsecs(manager):
    """companions 1: starts, RUNNING after startsecs, and the pid is the real one."""
    one = manager(f'[companion.a]\n{SLEEP}\nstartsecs = "700ms"\n')
    starting = one.until("a", "STARTING")
    assert starting["ready"] is False and starting["uptime"] is None
    entry = one.until("a", "RUNNING")
    assert one.children() == [entry["pid"]] == [starting["pid"]]
    assert open(f"/proc/{entry['pid']}/cmdline").read() == "sleep\0001000\0"
    assert entry["ready"] is True and entry["pgid"] == entry["pid"]
    assert entry["description"].startswith(f"running, pid {entry['pid']}, uptime 0:00:0")
    assert entry["since"] - starting["since"] >= 0.699
    assert one.moves("a") == ["STOPPED", "WAITING", "STARTING", "RUNNING"]


def test_end_before_startsecs(manager, notes):
    """companions 2: BACKOFF, the due time is shown, it is started again."""
    one = manager(f'[companion.a]\n{sh("echo up >>notes; exit 3")}\nrestart_delay = "2s"\nrestart_jitter = 0\n')
    entry = one.until("a", "BACKOFF")
    assert 0 < retry_in(entry) <= 2.1
    assert entry["restart_delay"] == pytest.approx(2)
    assert (entry["pid"], entry["last_exit_code"], entry["attempt"]) == (None, 3, 1)
    assert entry["description"].startswith("backoff, exited with status 3, retrying in ")
    notes(2)
    entry = one.until("a", "BACKOFF", attempt=2)
    assert (entry["restart_count"], entry["exit_count"]) == (1, 2)
    assert entry["restart_delay"] == pytest.approx(3.2)
    assert "RUNNING" not in one.moves("a")


def test_end_after_running(manager):
    """companions 3: BACKOFF with the first delay; the pid and the group are gone from the entry."""
    one = manager(f"[companion.a]\n{SLEEP}\nstartsecs = 0\n{SLOW_RESTART}\nrestart_jitter = 0\n")
    pid = one.until("a", "RUNNING")["pid"]
    os.kill(pid, signal.SIGKILL)
    entry = one.until("a", "BACKOFF")
    assert entry["restart_delay"] == pytest.approx(1000)
    assert (entry["last_exit_code"], entry["last_exit_signal"]) == (None, signal.SIGKILL)
    assert "exited with signal 9" in entry["description"]
    assert (entry["pid"], entry["pgid"], entry["ready"]) == (None, None, False)


def test_jitter_stays_in_its_bound(manager):
    """companions 4: the real one, of twenty processes."""
    one = manager(
        f"[companion.a]\ncommand = 'false'\nnumprocs = 20\n{SLOW_RESTART}\nrestart_jitter = 0.2\n"
    )
    eventually(lambda: all(each["state"] == "BACKOFF" for each in one.statuses()), "all to have failed")
    delays = [each["restart_delay"] for each in one.statuses()]
    assert all(800 <= delay <= 1200 for delay in delays)
    assert len(set(delays)) > 1


def test_health_resets_the_delay(manager, folder):
    """companions 5: reset_after healthy seconds bring the delay back to the base."""
    one = manager(
        f"[companion.a]\n{sh('[ -e well ] || exit 1; exec sleep 1000')}\nstartsecs = 0.1\n"
        'restart_delay = "100ms"\nrestart_factor = 10\nrestart_max_delay = "1000s"\nrestart_jitter = 0\n'
        'reset_after = "500ms"\n'
    )
    assert one.until("a", "BACKOFF", attempt=2)["restart_delay"] == pytest.approx(1)
    (folder / "well").touch()
    one.until("a", "RUNNING", attempt=2)
    pid = one.until("a", "RUNNING", attempt=0)["pid"]
    os.kill(pid, signal.SIGKILL)
    one.until("a", "BACKOFF", attempt=1)
    one.until("a", "RUNNING", attempt=1)


def test_max_restarts(manager, folder, notes):
    """companions 7: FATAL, and a start revives it."""
    one = manager(
        f"[companion.a]\n{sh('echo up >>notes; [ -e well ] || exit 1; exec sleep 1000')}\n"
        'startsecs = 0.1\nrestart_delay = "20ms"\nmax_restarts = 3\n'
    )
    entry = one.until("a", "FATAL")
    assert entry["pid"] is None and entry["next_retry_at"] is None
    assert "exited with status 1" in entry["description"] or "status 1" in entry["reason"]
    assert len(notes()) == 4
    assert one.do("start", "a")["ok"] is False
    assert one.until("a", "FATAL")["restart_count"] == 7
    (folder / "well").touch()
    assert one.do("start", "a")["ok"] is True
    assert one.until("a", "RUNNING")["attempt"] == 0


@pytest.mark.parametrize(
    "restart, code, state",
    [
        ("always", 0, "BACKOFF"),
        ("always", 1, "BACKOFF"),
        ("on-failure", 0, "EXITED"),
        ("on-failure", 7, "EXITED"),
        ("on-failure", 1, "BACKOFF"),
        ("never", 0, "EXITED"),
        ("never", 1, "EXITED"),
    ],
)
def test_expected_exit(manager, restart, code, state):
    """companions 8: an expected exit code is EXITED, and no restart; the others restart."""
    one = manager(
        f'[companion.a]\n{sh(f"exit {code}")}\nrestart = "{restart}"\nexit_codes = [0, 7]\n{SLOW_RESTART}\n'
    )
    entry = one.until("a", state)
    assert (entry["last_exit_code"], entry["exit_count"], entry["pid"]) == (code, 1, None)
    if state == "EXITED":
        assert one.do("start", "a")["ok"] is True
        assert one.until("a", "EXITED", exit_count=2)["attempt"] == 0


def test_death_by_signal_is_never_expected(manager):
    one = manager(
        f"[companion.a]\n{sh('kill -9 $$')}\nrestart = 'on-failure'\nexit_codes = [0, 9, 137]\n{SLOW_RESTART}\n"
    )
    assert one.until("a", "BACKOFF")["last_exit_signal"] == signal.SIGKILL


@pytest.mark.parametrize(
    "singleton, command, code, words",
    [
        ("true", "nowhere-to-be-found", 127, "No such file or directory"),
        ("false", "./nowhere", 127, "No such file or directory"),
        ("true", "./plain", 126, "Permission denied"),
        ("false", "/", 126, "Permission denied"),
    ],
)
def test_what_cannot_be_executed(manager, folder, singleton, command, code, words):
    """companions 9: the reason names the error and 127 or 126 is the code; neither a zombie nor a copy of
    the manager is left."""
    (folder / "plain").write_text("#!/bin/sh\n")
    one = manager(f"[companion.a]\ncommand = '{command}'\nsingleton = {singleton}\n{SLOW_RESTART}\n")
    entry = one.until("a", "BACKOFF")
    assert (entry["last_exit_code"], entry["last_exit_signal"]) == (code, None)
    assert entry["reason"] == f"cannot run '{command}': {words}"
    assert entry["pid"] is None and one.children() == []
    one.await_words(rf"drover-companions: a: STARTING -> BACKOFF: cannot run '{command}': {words}\n")


def test_no_spinning(manager, notes):
    """companions 10: a target that exits 0 at once is never started in a tight loop."""
    one = manager(
        f"[companion.a]\n{sh('echo $$ >>notes')}\nrestart_delay = '100ms'\nrestart_max_delay = '60s'\n"
        "restart_factor = 2\nrestart_jitter = 0\n"
    )
    notes(5)
    events = [event for event, _ in zip(one.events(), range(12)) if event["to"] == "STARTING"]
    gaps = [after["time"] - before["time"] for before, after in zip(events, events[1:])]
    assert len(gaps) >= 3 and all(gap >= delay for gap, delay in zip(gaps, (0.1, 0.2, 0.4)))


def test_child_never_runs_the_managers_code(manager, folder):
    """companions 11: a fork of ours that fails says nothing, and takes neither socket nor lock away."""
    one = manager(
        "[companion.a]\ncommand = './nowhere'\nrestart_delay = '10ms'\nrestart_factor = 1\n"
        f"[companion.b]\n{SLEEP}\nstartsecs = 0\n"
    )
    inode = one.socket.stat().st_ino
    one.until("b", "RUNNING")
    eventually(lambda: one.status("a")["exit_count"] >= 20, "twenty failures")
    assert one.socket.stat().st_ino == inode
    assert one.ask({"cmd": "hello"})["pid"] == one.pid
    assert all(line.startswith("drover-companions: ") for line in one.said().splitlines())
    assert one.said().count("drover-companions: a: STARTING -> BACKOFF") <= one.status("a")["exit_count"]
    assert (folder / "run" / "b.lock").exists()


def test_killed_manager_takes_its_companions_along(manager):
    """They get their stop signal as it dies, and have a parent again: the tests'."""
    one = manager(f"[companion.a]\n{SLEEP}\nstartsecs = 0\n")
    pid = one.until("a", "RUNNING")["pid"]
    assert parent(pid) == one.pid
    one.send(signal.SIGKILL)
    one.result()
    eventually(lambda: not alive(pid), "the companion's end")


def test_no_zombies_of_the_adopted(manager, folder):
    """Orphans of companions are reaped, whoever they are."""
    one = manager(f"[companion.a]\n{sh('(setsid sleep 0.1 & echo $! >orphan); exec sleep 1000')}\nstartsecs = 0\n")
    pid = int(eventually(lambda: (folder / "orphan").exists() and (folder / "orphan").read_text(), "the orphan"))
    eventually(lambda: stat(pid) is None, "the orphan's end, and its burial")
    assert one.status("a")["state"] == "RUNNING"
