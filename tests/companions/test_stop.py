"""Companions stop: asked to, made to, and with them everything that they have started."""

import fcntl
import os
import pty
import signal
import termios
import time

import pytest

from companions.conftest import SLEEP, sh
from support.processes import alive, eventually, parent, stat

STUBBORN = sh('trap "echo term >>notes" TERM; echo up >>notes; while :; do sleep 0.05; done')
NOW = "startsecs = 0"


def number_in(path):
    """The pid that a companion writes there."""
    return int(eventually(lambda: path.exists() and path.read_text().endswith("\n") and path.read_text(), path))


def command_of(pid):
    with open(f"/proc/{pid}/cmdline") as file:
        return file.read().replace("\0", " ").strip()


def test_term_is_honoured(manager):
    """companions 12: STOPPED, and the exit is recorded."""
    one = manager(f"[companion.a]\n{SLEEP}\n{NOW}\n")
    pid = one.until("a", "RUNNING")["pid"]
    before = time.time()
    assert one.ask({"cmd": "stop", "name": "a"}) == {"v": 1, "ok": True, "message": "a stopping"}
    entry = one.until("a", "STOPPED")
    assert (entry["last_exit_signal"], entry["exit_count"], entry["kill_count"]) == (signal.SIGTERM, 1, 0)
    assert before - 1 <= entry["last_exit_at"] <= time.time()
    assert (entry["pid"], entry["pgid"], entry["description"]) == (None, None, "stopped, stopped manually")
    assert not alive(pid)
    assert one.ask({"cmd": "stop", "name": "a"})["message"] == "a already stopped"


@pytest.mark.parametrize("given, got", [("'INT'", "INT"), ("'SIGUSR2'", "USR2"), ("1", "HUP")])
def test_stop_signal(manager, notes, given, got):
    script = "; ".join(f'trap "echo {name} >>notes; exit 5" {name}' for name in ("INT", "USR2", "HUP", "TERM"))
    one = manager(f"[companion.a]\n{sh(script + '; echo up >>notes; while :; do sleep 0.05; done')}\n{NOW}\n"
                  f"stop_signal = {given}\n")
    notes(1)
    assert one.do("stop", "a")["ok"]
    assert notes() == ["up", got]
    assert one.status("a")["last_exit_code"] == 5


def test_term_is_ignored(manager, notes):
    """companions 13: KILL after stop_timeout, and once."""
    one = manager(f"[companion.a]\n{STUBBORN}\n{NOW}\nstop_timeout = '500ms'\n")
    notes(1)
    begun = time.monotonic()
    assert one.do("stop", "a")["ok"]
    assert time.monotonic() - begun >= 0.49
    entry = one.status("a")
    assert (entry["state"], entry["kill_count"], entry["last_exit_signal"]) == ("STOPPED", 1, signal.SIGKILL)
    assert notes() == ["up", "term"]
    assert one.said().count("'a' did not stop in time: killed\n") == 1


def test_stop_while_starting(manager, notes):
    """companions 14: it takes stop_timeout, not startsecs."""
    one = manager(f"[companion.a]\n{STUBBORN}\nstartsecs = '1000s'\nstop_timeout = '300ms'\n")
    notes(1)
    one.until("a", "STARTING")
    assert one.do("stop", "a")["ok"]
    assert one.status("a")["kill_count"] == 1
    assert one.moves("a")[-2:] == ["STOPPING", "STOPPED"]


def test_stop_during_backoff(manager, notes):
    """companions 15: STOPPED, and no later start."""
    one = manager(f"[companion.a]\n{sh('echo up >>notes; exit 1')}\nrestart_delay = '1s'\nrestart_jitter = 0\n"
                  f"[companion.clock]\n{SLEEP}\nstartsecs = '1500ms'\nautostart = false\n")
    one.until("a", "BACKOFF")
    assert one.ask({"cmd": "stop", "name": "a"})["message"] == "a stopped"
    assert one.status("a")["next_retry_at"] is None
    assert one.do("start", "clock")["ok"]  # its startsecs are longer than the delay
    assert one.status("a")["state"] == "STOPPED"
    assert notes() == ["up"]


def test_stop_during_a_pending_restart(manager, notes):
    """companions 16: the stop wins, and takes the stop deadline."""
    one = manager(f"[companion.a]\n{STUBBORN}\n{NOW}\nstop_timeout = '300ms'\nreload_timeout = '1000s'\n")
    notes(1)
    assert one.ask({"cmd": "restart", "name": "a"})["message"] == "a restarting"
    one.until("a", "STOPPING")
    assert one.ask({"cmd": "stop", "name": "a"})["message"] == "a stopping"
    assert one.until("a", "STOPPED")["kill_count"] == 1
    assert one.status("a")["restart_count"] == 0
    assert notes() == ["up", "term"]


@pytest.mark.parametrize("command", ["start", "restart"])
def test_start_while_stopping(manager, notes, command):
    """companions 17: refused with `busy`; with `wait` it is done afterwards."""
    one = manager(f"[companion.a]\n{STUBBORN}\n{NOW}\nstop_timeout = '1s'\n")
    notes(1)
    pid = one.status("a")["pid"]
    one.ask({"cmd": "stop", "name": "a"})
    reply = one.ask({"cmd": command, "name": "a"})
    assert (reply["ok"], reply["code"]) == (False, "busy")
    assert reply["message"] == reply["error"] == "a is stopping; retry"
    assert one.ask({"cmd": command, "name": "a", "wait": True})["ok"]
    entry = one.status("a")
    assert entry["state"] == "RUNNING" and entry["pid"] != pid
    assert one.moves("a")[-5:] == ["STOPPING", "STOPPED", "WAITING", "STARTING", "RUNNING"]


def test_stopped_process_still_dies(manager):
    """companions 18: SIGCONT is sent behind the stop signal."""
    one = manager(f"[companion.a]\n{SLEEP}\n{NOW}\n")
    pid = one.until("a", "RUNNING")["pid"]
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: stat(pid)[0] == b"T", "the process to be stopped")
    assert one.do("stop", "a")["ok"]
    assert one.status("a")["kill_count"] == 0
    assert one.status("a")["last_exit_signal"] == signal.SIGTERM


def test_grandchildren_are_stopped_with_their_parent(manager, folder):
    """companions 19: the whole group gets the signal, and then the kill."""
    script = 'sleep 1000 & echo $! >soft; sh -c "trap : TERM; echo \\$\\$ >hard; while :; do sleep 0.05; done" & wait'
    one = manager(f"[companion.a]\n{sh(script)}\n{NOW}\nstop_timeout = '300ms'\n")
    soft, hard = number_in(folder / "soft"), number_in(folder / "hard")
    pid = one.status("a")["pid"]
    one.ask({"cmd": "stop", "name": "a"})
    eventually(lambda: not alive(pid) and not alive(soft), "those that honour it to end")
    entry = one.until("a", "STOPPED")
    assert not alive(hard) and entry["kill_count"] == 1 and entry["pgid"] is None


def test_rest_of_the_group_is_waited_for(manager, folder):
    """companions 19: the entry stays STOPPING until the last of the group is gone."""
    script = 'sh -c "trap : TERM; echo \\$\\$ >hard; while [ ! -e over ]; do sleep 0.05; done" & exec sleep 1000'
    one = manager(f"[companion.a]\n{sh(script)}\n{NOW}\nstop_timeout = '1000s'\n")
    hard = number_in(folder / "hard")
    one.ask({"cmd": "stop", "name": "a"})
    entry = one.until("a", "STOPPING", pid=None)
    assert alive(hard) and parent(hard) == one.pid and entry["pgid"] is not None
    (why,) = one.ask({"cmd": "why", "name": "a"})["why"]
    assert any(f"process group {entry['pgid']}" in reason for reason in why["reasons"])
    (folder / "over").touch()
    one.until("a", "STOPPED", kill_count=0)


def test_grandchild_in_a_session_of_its_own(manager, folder):
    """companions 19: it is adopted, listed as left over, and named."""
    one = manager(f"[companion.a]\n{sh('setsid sleep 1000 & echo $! >away; wait')}\n{NOW}\n")
    away = number_in(folder / "away")
    eventually(lambda: command_of(away) == "sleep 1000", "the command in a session of its own")
    assert one.do("stop", "a")["ok"]
    assert alive(away) and parent(away) == one.pid
    (stray,) = one.ask({"cmd": "release", "name": "a"})["strays"]
    assert (stray["pid"], stray["command"], stray["killed"]) == (away, "sleep 1000", False)
    (freed,) = one.ask({"cmd": "release", "name": "a", "kill": True})["strays"]
    assert freed["killed"] is True
    eventually(lambda: stat(away) is None, "the end of the stray")


def test_leftover_is_told_when_it_is_left(manager, folder):
    """companions 19: a line on standard error names what outlives the stop."""
    one = manager(f"[companion.a]\n{sh('setsid sleep 1000 & echo $! >away; wait')}\n{NOW}\n")
    away = number_in(folder / "away")
    eventually(lambda: command_of(away) == "sleep 1000", "the command in a session of its own")
    one.do("stop", "a")
    try:
        one.await_words(rf"\ba\b.*\b{away}\b.*sleep 1000", limit=3)
    finally:
        os.kill(away, signal.SIGKILL)


def test_shutdown_with_a_stuck_companion(manager, notes):
    """companions 20: it ends by the limit, and standard error names the one."""
    one = manager(f"[companion.good]\n{SLEEP}\n[companion.bad]\n{STUBBORN}\nstop_timeout = '500ms'\n")
    notes(1)
    assert one.stop() == 0
    assert "'bad' did not stop in time: killed\n" in one.said()
    assert "'good' did not stop" not in one.said()
    assert not one.socket.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_signals_that_stop_all(manager, number):
    one = manager(f"[companion.a]\n{SLEEP}\n[companion.b]\n{SLEEP}\nautostart = false\n")
    pid = one.until("a", "RUNNING")["pid"]
    assert one.stop(number) == 0
    assert not alive(pid)
    assert one.moves("a")[-2:] == ["STOPPING", "STOPPED"]


def test_interrupt_at_the_terminal(manager, notes):
    """companions 21: Ctrl-C reaches the manager alone, which stops its companions as it always does."""
    script = "; ".join(f'trap "echo {name} >>notes; exit" {name}' for name in ("INT", "HUP", "TERM"))
    ours, terminal = pty.openpty()
    one = manager(
        f"[companion.a]\n{sh(script + '; echo up >>notes; while :; do sleep 0.05; done')}\n",
        stdin=terminal,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    notes(1)
    os.write(ours, b"\x03")
    assert one.result() == 0
    assert notes() == ["up", "TERM"]
    os.close(ours)
    os.close(terminal)


def test_second_term_changes_nothing(manager, notes):
    one = manager(f"[companion.a]\n{STUBBORN}\nstop_timeout = '500ms'\n")
    notes(1)
    one.send(signal.SIGTERM)
    notes(2)
    assert one.stop() == 0
    assert notes() == ["up", "term"]


def test_nothing_is_started_while_all_stop(manager, notes):
    """One that has to outlive another, and dies before its turn, is not started again."""
    one = manager(
        f"[companion.base]\n{SLEEP}\n{NOW}\nrestart_delay = '50ms'\n"
        f"[companion.app]\n{STUBBORN}\n{NOW}\nneeds = 'base'\nstop_timeout = '2s'\n"
    )
    notes(1)
    base = one.status("base")["pid"]
    one.send(signal.SIGTERM)
    notes(2)
    os.kill(base, signal.SIGKILL)
    assert one.result() == 0
    moves = one.moves("base")
    assert moves[moves.index("RUNNING") :].count("STARTING") == 0
    assert not alive(base)


def test_shutdown_by_the_socket(manager):
    """The reply comes first."""
    one = manager(f"[companion.a]\n{SLEEP}\n")
    one.until("a", "RUNNING")
    assert one.ask({"cmd": "shutdown"})["ok"] is True
    assert one.result() == 0
