"""Ends that are not as they should be, and a manager that has to bear them."""

import os
import signal

import pytest

from companions.conftest import SLEEP, sh
from companions.copies import copy, disguised, pair  # noqa: F401
from support.flocks import IN_SANITIZER_BUILD, end, hold  # noqa: F401
from support.processes import eventually

ZOMBIE = """
import os, signal, sys, time
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
if os.fork() == 0:          # leaves the group, and does not reap the child that stays in it
    if os.fork() == 0:
        os._exit(0)
    os.setsid()
    os.closerange(3, 2000)
    open("left", "w").write(str(os.getpid()))
    time.sleep(1000)
time.sleep(1000)
"""


def test_zombie_that_nobody_reaps(manager, folder):
    """It keeps its group's number for ever, and is nobody to wait for."""
    (folder / "zombie.py").write_text(ZOMBIE)
    one = manager("[companion.a]\ncommand = ['python3', 'zombie.py']\nstartsecs = 0\nstop_timeout = '1s'\n")
    left = int(eventually(lambda: (folder / "left").exists() and (folder / "left").read_text(), "the grandchild"))
    reply = one.do("stop", "a")
    os.kill(left, signal.SIGKILL)
    assert reply["ok"] and one.status("a")["state"] == "STOPPED"


def test_restart_of_one_that_waits(pair, copy):
    """Who waits for its lock is not started twice: the answer comes when it runs."""
    old, new = pair(copy())
    with new.client() as client:
        client.send({"command": "restart", "name": "job"})
        assert old.stop() == 0
        assert client.reply()["ok"]
    new.until("job", "RUNNING")


def test_restart_of_a_job_that_waits_for_its_time(manager):
    one = manager(f"[companion.a]\n{SLEEP}\ncron = '0 0 29 2 *'\n")
    assert one.do("restart", "a")["message"] == "a already waiting"


def test_restart_behind_a_restart(manager, notes):
    """With wait it is not refused: the one that is under way is waited for."""
    slow = sh('trap "sleep 0.3; exit" TERM; echo up >>notes; while :; do sleep 0.05; done')
    one = manager(f"[companion.a]\n{slow}\nstartsecs = 0\n")
    notes(1)
    assert one.ask({"cmd": "restart", "name": "a"})["ok"]
    assert one.status("a")["state"] == "STOPPING"
    assert one.ask({"cmd": "restart", "name": "a", "wait": True})["ok"]
    assert notes(2) == ["up"] * 2


@pytest.mark.skipif(IN_SANITIZER_BUILD, reason="the sanitizer's checks need a descriptor")
def test_no_descriptor_left_for_a_look(manager, disguised, hold, folder):
    """lock_timeout names who is in the way, or says why it cannot; the manager lives on."""
    disguised('ulimit -S -n 128; exec "$@"\n')
    (folder / "run").mkdir()
    holder = hold(folder / "run" / "late.lock")
    logs = "".join(f"[companion.c{at}]\n{SLEEP}\nstartsecs = 0\nstdout = 'log'\n" for at in range(40))
    one = manager(f"{logs}[companion.late]\n{SLEEP}\nlock_timeout = '500ms'\n", ready=False)
    one.await_words("late: STOPPING -> BACKOFF: the lock was not free in time|Too many open files")
    assert one.stop() == 0
    end(holder)


def test_stopped_waiter_is_cancelled_at_once(pair, copy):
    """companions 18: also when it was stopped by SIGSTOP."""
    old, new = pair(copy("stop_timeout = '100s'\n"))
    waiter = new.status("job")["pid"]
    os.kill(waiter, signal.SIGSTOP)
    assert new.do("stop", "job", timeout=20)["ok"]


@pytest.mark.parametrize("redirection", ["1>&-", "2>&-"])
def test_closed_streams_of_the_manager(manager, disguised, folder, redirection):
    """A companion finds /dev/null there, not a hole that its first file would fill."""
    disguised(f'exec "$@" {redirection}\n')
    one = manager(f"[companion.a]\n{SLEEP}\nstartsecs = 0\n")
    pid = one.until("a", "RUNNING")["pid"]
    assert {"0", "1", "2"} <= set(os.listdir(f"/proc/{pid}/fd"))
