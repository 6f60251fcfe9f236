"""What companions wait for before they start, count as ready, and stop."""

import time

import pytest

from companions.conftest import SLEEP, sh
from support.processes import eventually

NOW = "startsecs = 0"


def written(name, extra=""):
    """A companion that says in `notes` when it comes and goes."""
    script = f'trap "echo -{name} >>notes; exit" TERM; echo +{name} >>notes; echo >&3; while :; do sleep 0.05; done'
    return f"[companion.{name}]\n{sh(script)}\nready = 'fd:3'\n{extra}\n"


# Readiness


def test_ready_by_descriptor(manager, folder):
    """RUNNING with its line, not after startsecs, and not before."""
    script = "until [ -e go ]; do sleep 0.05; done; echo done >&5; exec sleep 1000"
    one = manager(
        f"[companion.a]\n{sh(script)}\nready = 'fd:5'\n{NOW}\n[companion.b]\n{SLEEP}\nstartsecs = '500ms'\n"
    )
    one.until("b", "RUNNING")
    assert one.status("a")["state"] == "STARTING"
    (folder / "go").touch()
    assert one.until("a", "RUNNING")["ready"] is True


@pytest.mark.parametrize("number", [3, 4, 9, 1023])
def test_any_ready_descriptor(manager, number):
    """It is the one that was asked for, whatever the manager has at that number."""
    one = manager(
        f"[companion.a]\ncommand = ['bash', '-c', 'printf half >&{number}; echo line >&{number}; exec sleep 1000']\n"
        f"ready = 'fd:{number}'\nstdout = 'log'\nstderr = 'log'\n"
    )
    one.until("a", "RUNNING")


@pytest.mark.parametrize(
    "script", ["exec 5>&-; exec sleep 1000", "printf word >&5; exec sleep 1000", "exec sleep 1000"])
def test_not_ready_in_time(manager, script):
    """start_timeout: stopped, then BACKOFF, and why."""
    one = manager(
        f"[companion.a]\n{sh(script)}\nready = 'fd:5'\nstart_timeout = '300ms'\nrestart_delay = '1000s'\n{NOW}\n"
    )
    entry = one.until("a", "BACKOFF")
    assert entry["reason"] == "it was not ready in time"
    assert entry["attempt"] == 1 and entry["pid"] is None
    assert one.moves("a") == ["STOPPED", "WAITING", "STARTING", "STOPPING", "BACKOFF"]


def test_a_start_waits_for_readiness(manager, folder):
    """drover's form answers when it is ready, or says that it did not come to that."""
    one = manager(
        f"[companion.a]\n{sh('[ -e go ] || exit 4; echo >&5; exec sleep 1000')}\nready = 'fd:5'\n"
        f"restart_delay = '1000s'\nautostart = false\n"
    )
    reply = one.do("start", "a")
    assert (reply["ok"], reply["code"], reply["state"]) == (False, "failed", "BACKOFF")
    assert "status 4" in reply["message"] == reply["error"]
    (folder / "go").touch()
    assert one.do("start", "a")["ok"] is True
    assert one.status("a")["state"] == "RUNNING"


NOTIFIER = """
import os, socket, time
place = os.environ["NOTIFY_SOCKET"]
there = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
there.connect("\\0" + place[1:] if place[0] == "@" else place)
there.send(b"STATUS=warming up")
while not os.path.exists("go"): time.sleep(0.05)
there.send(b"READY=1")
time.sleep(1000)
"""


def test_ready_by_notify(manager, folder):
    """READY=1, as sd_notify(3) says it."""
    (folder / "notifier.py").write_text(NOTIFIER)
    one = manager(
        "[companion.a]\ncommand = ['/usr/bin/python3', '-I', '-S', 'notifier.py']\nready = 'notify'\n"
        f"[companion.b]\n{SLEEP}\nstartsecs = '500ms'\n"
    )
    one.until("b", "RUNNING")
    assert one.status("a")["state"] == "STARTING"
    (folder / "go").touch()
    one.until("a", "RUNNING", ready=True)


# What they need


def test_needs_give_the_order(manager, notes):
    """Each starts behind what it needs, and stops before it, wherever it stands in the file."""
    one = manager(
        written("web", "needs = ['queue', 'cache']")
        + written("queue", "needs = 'database'")
        + written("cache")
        + written("database")
    )
    came = notes(4)
    assert came.index("+database") < came.index("+queue") < came.index("+web")
    assert came.index("+cache") < came.index("+web")
    for name in ("web", "queue", "cache", "database"):
        one.until(name, "RUNNING")
    assert one.stop() == 0
    went = notes(8)[4:]
    assert went.index("-web") < went.index("-queue") < went.index("-database")
    assert went.index("-web") < went.index("-cache")


def test_needs_wait_for_readiness(manager, folder):
    one = manager(
        f"[companion.a]\n{sh('until [ -e go ]; do sleep 0.05; done; echo >&3; exec sleep 1000')}\nready = 'fd:3'\n"
        f"[companion.b]\n{SLEEP}\nneeds = 'a'\n{NOW}\n"
    )
    one.until("a", "STARTING")
    entry = one.until("b", "WAITING")
    assert entry["description"] == "waiting for what it needs" and entry["pid"] is None
    (why,) = one.ask({"cmd": "why", "name": "b"})["why"]
    assert why["reasons"] == ["it needs 'a', which is STARTING"]
    assert one.ask({"cmd": "start", "name": "b"})["message"] == "b already waiting"
    (folder / "go").touch()
    one.until("b", "RUNNING")


def test_stop_while_it_waits_for_its_needs(manager):
    one = manager(f"[companion.a]\n{SLEEP}\nautostart = false\n{NOW}\n[companion.b]\n{SLEEP}\nneeds = 'a'\n{NOW}\n")
    one.until("b", "WAITING")
    assert one.ask({"cmd": "stop", "name": "b"})["message"] == "b stopped"
    assert one.do("start", "a")["ok"]
    assert one.status("b")["state"] == "STOPPED"
    assert one.do("start", "b")["ok"]


def test_needs_of_all_of_a_group(manager, folder):
    """numprocs: every one of them is wanted; one that has ended as expected will do."""
    script = 'until [ -e "go$DROVER_COMPANION_NUMBER" ]; do sleep 0.05; done'
    one = manager(
        f"[companion.job]\n{sh(script)}\nnumprocs = 2\nrestart = 'on-failure'\nstartsecs = '1000s'\n"
        f"[companion.b]\n{SLEEP}\nneeds = 'job'\n{NOW}\n"
    )
    (folder / "go0").touch()
    one.until("job:0", "EXITED")
    assert one.status("b")["state"] == "WAITING"
    (why,) = one.ask({"cmd": "why", "name": "b"})["why"]
    assert why["reasons"] == ["it needs 'job:1', which is STARTING"]
    (folder / "go1").touch()
    one.until("b", "RUNNING")


@pytest.mark.parametrize(
    "needs, line, words",
    [
        ({"a": "a"}, 4, "'a' needs itself"),
        ({"a": "b", "b": "c", "c": "a"}, 4, "'a' needs itself"),
        ({"a": "", "b": "d"}, 7, "'d' is no companion"),
    ],
)
def test_circles_are_refused(manager, needs, line, words):
    """With the file and the line; nothing is started."""
    text = "".join(
        f"[companion.{name}]\n{SLEEP}\n" + (f"needs = '{needed}'\n" if needed else "\n")
        for name, needed in needs.items()
    )
    one = manager(text, ready=False)
    assert one.result() == 65
    assert one.said() == f"drover-companions: cannot use companions '{one.config}:{line}': needs: {words}\n"
    assert not one.socket.exists()


# Schedules, and what starts by itself


def test_job_by_command(manager, notes):
    """A cron job waits for its time, runs when it is asked to, and waits again, however it ends."""
    one = manager(f"[companion.job]\n{sh('echo up >>notes; exit 3')}\ncron = '0 0 29 2 *'\n")
    entry = one.until("job", "WAITING")
    assert entry["description"] == "waiting for its time" and entry["pid"] is None
    due = time.gmtime(entry["next_start_at"] + 14 * 3600), time.gmtime(entry["next_start_at"] - 14 * 3600)
    assert any((each.tm_mon, each.tm_mday) in {(2, 29), (2, 28), (3, 1)} for each in due)
    assert any("'0 0 29 2 *'" in reason for reason in one.ask({"cmd": "why", "name": "job"})["why"][0]["reasons"])
    for count in (1, 2):
        assert one.do("start", "job")["ok"]
        assert notes() == ["up"] * count
        entry = one.until("job", "WAITING", exit_count=count)
        assert entry["last_exit_code"] == 3
    assert one.do("stop", "job")["ok"]
    assert one.status("job")["state"] == "STOPPED"


def test_job_runs_once_at_a_time(manager, folder, notes):
    """Asked for again while it runs, it runs on alone."""
    one = manager(f"[companion.job]\n{sh('echo up >>notes; until [ -e go ]; do sleep 0.05; done')}\n"
                  f"cron = '@yearly'\n{NOW}\n")
    assert one.do("start", "job")["ok"]
    assert one.ask({"cmd": "start", "name": "job"})["message"] == "job already running"
    (folder / "go").touch()
    one.until("job", "WAITING", pid=None, exit_count=1)
    assert notes() == ["up"]


def test_autostart(manager):
    one = manager(f"[companion.a]\n{SLEEP}\nautostart = false\n{NOW}\n[companion.b]\n{SLEEP}\n{NOW}\n")
    one.until("b", "RUNNING")
    entry = one.status("a")
    assert (entry["state"], entry["description"]) == ("STOPPED", "stopped, not started")
    assert one.moves("a") == []
    assert one.do("start", "a")["ok"]
    assert one.status("a")["state"] == "RUNNING"


def test_defaults_are_for_all(manager):
    one = manager(f"[defaults]\nautostart = false\nstartsecs = 0\n[companion.a]\n{SLEEP}\n"
                  f"[companion.b]\n{SLEEP}\nautostart = true\n")
    one.until("b", "RUNNING")
    assert one.status("a")["state"] == "STOPPED"
