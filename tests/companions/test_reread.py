"""A new configuration while the manager runs: what it touches and what it leaves alone."""

import signal
import time

import pytest

from companions.rereads import FAST, SHELL, names, reread, running, sleeper  # noqa: F401
from support.processes import LIMIT, alive, eventually


@pytest.mark.parametrize("way", ["request", "HUP"])
def test_added_removed_changed_unchanged(running, way):
    """companions 48: each as it should be, by the socket and by the signal."""
    only, pids = running(sleeper("gone") + sleeper("changed") + sleeper("same"))
    text = sleeper("new") + sleeper("changed", 2000) + sleeper("same")
    if way == "request":
        assert reread(only, text) == {
            "added": ["new"], "removed": ["gone"], "restarted": ["changed"], "unchanged": ["same"]}  # fmt: skip
    else:
        only.write(FAST + text)
        only.send(signal.SIGHUP)
    eventually(lambda: names(only) == ["new", "changed", "same"], "the new list")
    assert only.until("changed", "RUNNING", restart_count=1, exit_count=1)["pid"] != pids["changed"]
    only.until("new", "RUNNING", restart_count=0)
    only.until("same", "RUNNING", pid=pids["same"], exit_count=0)
    assert not alive(pids["gone"])


def test_stopped_by_hand_and_changed(running):
    """companions 48: stays down, counts as unchanged, and starts with the new configuration."""
    only, _ = running(sleeper("job") + sleeper("other"))
    assert only.do("stop", "job")["ok"]
    assert reread(only, sleeper("job", 2000) + sleeper("other")) == {"unchanged": ["job", "other"]}
    only.until("job", "STOPPED", exit_count=1)
    assert only.do("start", "job")["ok"]
    pid = only.until("job", "RUNNING")["pid"]
    assert open(f"/proc/{pid}/cmdline").read() == "sleep\0002000\0"


def test_stopping_by_hand_and_changed(manager, folder):
    """companions 48: the same while it is still about to stop."""
    only = manager(FAST + "[companion.job]\n" + SHELL)
    only.until("job", "RUNNING")
    assert only.ask({"cmd": "stop", "name": "job"})["ok"]
    lists = reread(only, sleeper("job"))
    (folder / "go").touch()
    only.until("job", "STOPPED", restart_count=0)
    assert lists == {"unchanged": ["job"]}


@pytest.mark.parametrize(
    "command, keys, state", [("true", 'restart = "never"\n', "EXITED"), ("false", "max_restarts = 1\n", "FATAL")]
)
def test_ended_and_changed(manager, notes, command, keys, state):
    """companions 48: nobody has stopped it: it is started with the new configuration, and the reply says so."""
    keys = f'restart_delay = "10ms"\n{keys}'
    only = manager(FAST + f'[companion.job]\ncommand = ["{command}"]\n{keys}')
    only.until("job", state)
    lists = reread(only, '[companion.job]\ncommand = ["sh", "-c", "echo start >>notes; exec sleep 1000"]\n' + keys)
    assert lists == {"restarted": ["job"]}
    assert notes(1) == ["start"]


def test_removed_companion_that_does_not_stop(manager):
    """companions 50: it is listed until it has been killed and reaped."""
    only = manager(FAST + "[companion.job]\n" + SHELL + 'stop_timeout = "500ms"\n' + sleeper("other"))
    pid = only.until("job", "RUNNING")["pid"]
    assert reread(only, sleeper("other")) == {"removed": ["job"], "unchanged": ["other"]}
    entry = only.status("job")
    assert (entry["state"], entry["removing"], entry["pid"]) == ("STOPPING", True, pid)
    assert only.do("stop", "job")["code"] == "unknown-companion"
    eventually(lambda: names(only) == ["other"], "the end of the removal")
    assert not alive(pid) and pid not in only.children()
    only.await_words("'job' did not stop in time: killed")


def test_exit_waits_for_the_removed(manager):
    """companions 50: a manager that ends meanwhile does not leave it behind."""
    only = manager(FAST + "[companion.job]\n" + SHELL + 'stop_timeout = "500ms"\n')
    pid = only.until("job", "RUNNING")["pid"]
    assert reread(only, "") == {"removed": ["job"]}
    assert only.stop() == 0
    assert not alive(pid)
    only.await_words("'job' did not stop in time: killed")


LIVE = {
    "restart_delay": "7", "restart_max_delay": "700", "restart_factor": "2", "restart_jitter": "0.5",
    "reset_after": "5", "max_restarts": "9", "exit_codes": "[0, 3]", "startsecs": "5", "start_timeout": "50",
    "stop_timeout": "9", "reload_timeout": "9", "stop_signal": '"INT"', "lock_timeout": "5", "autostart": "false",
    "restart": '"on-failure"', "description": '"words"', "needs": '"other"',
}  # fmt: skip
NOT_LIVE = {
    "command": '["sleep", "2000"]', "cwd": '"/"', "env": '{ A = "b" }', "umask": '"0027"', "limits": "{ core = 0 }",
    "stderr": '"job.log"', "hold": '"both"', "singleton": "false", "lock": '"run/other.lock"', "ready": '"fd:3"',
    "user": '"root"', "group": '"root"',
}  # fmt: skip


def test_plan(running):
    """companions 51: dry_run says for each key whether it needs a restart, and changes nothing."""
    only, pids = running(sleeper("job") + sleeper("other"))
    for action, keys in (("apply", LIVE), ("restart", NOT_LIVE)):
        for key, value in keys.items():
            line = "" if key == "command" else f"{key} = {value}\n"
            text = sleeper("job", 2000 if key == "command" else 1000, line) + sleeper("other")
            differing = ["lock", "singleton"] if key == "singleton" else [key]
            assert reread(only, text, dry_run=True) == {"job": (action, differing), "other": ("none", [])}
    both = {"job": ("restart", ["cwd", "stop_timeout"]), "other": ("remove", []), "new": ("add", [])}
    assert reread(only, sleeper("job", keys='cwd = "/"\nstop_timeout = 5\n') + sleeper("new"), dry_run=True) == both
    assert {name: only.status(name)["pid"] for name in names(only)} == pids


def test_live_keys(running):
    """companions 51: all at once, without a restart; the next stop and the next delay go by them."""
    only, pids = running("[companion.job]\n" + SHELL + "stop_timeout = 1000\n" + sleeper("other"))
    lines = "".join(f"{key} = {value}\n" for key, value in LIVE.items() if key != "stop_timeout")
    keys = lines + 'stop_timeout = "100ms"\n'
    assert reread(only, "[companion.job]\n" + SHELL + keys + sleeper("other")) == {"unchanged": ["job", "other"]}
    only.until("job", "RUNNING", pid=pids["job"], about="words", exit_count=0)
    began = time.monotonic()
    assert only.do("stop", "job")["ok"]
    assert time.monotonic() - began < LIMIT
    only.until("job", "STOPPED", kill_count=1)


def test_delay_that_was_changed(running, folder):
    """companions 51: a running companion's next delay is the new one."""
    keys = 'restart_delay = {}\nrestart_max_delay = 900\nrestart_jitter = 0\nreset_after = "20ms"\n'
    only, pids = running(sleeper("job", keys=keys.format(1)))
    assert reread(only, sleeper("job", keys=keys.format(500))) == {"unchanged": ["job"]}
    assert only.do("signal", "job", signal="KILL")["ok"]
    only.until("job", "BACKOFF", restart_delay=500, exit_count=1)


def test_default_that_companions_add_to(running):
    """companions 51: a changed default is a change of all that it reaches, with tables of their own or not."""
    job = sleeper("job", keys='env = { B = "2" }\n')
    only, _ = running(job)
    only.write(FAST + '[defaults.env]\nA = "1"\n' + job)
    assert only.ask({"cmd": "reread"})["restarted"] == ["job"]
    pid = only.until("job", "RUNNING", restart_count=1)["pid"]
    only.write(FAST + '[defaults.env]\nA = "3"\n' + job)
    assert only.ask({"cmd": "reread"})["restarted"] == ["job"]
    after = only.until("job", "RUNNING", restart_count=2)["pid"]
    assert after != pid and "\0A=3\0" in "\0" + open(f"/proc/{after}/environ").read()


def test_schedule_that_was_taken_away(running):
    """companions 51: what waited for its time runs, and `why` has an answer before and after."""
    keys = 'cron = "0 0 1 1 *"\n'
    only, _ = running(sleeper("other"))
    assert reread(only, sleeper("other") + sleeper("job", keys=keys))["added"] == ["job"]
    only.until("job", "WAITING")
    reread(only, sleeper("other") + sleeper("job"))
    assert only.do("why", "job")["ok"]
    only.until("job", "RUNNING")


def test_rename(running):
    """companions 52: a removal and an addition; the order is that of the file."""
    only, pids = running(sleeper("a") + sleeper("b") + sleeper("c"))
    lists = reread(only, sleeper("c") + sleeper("renamed") + sleeper("a"))
    assert lists == {"added": ["renamed"], "removed": ["b"], "unchanged": ["c", "a"]}
    eventually(lambda: names(only) == ["c", "renamed", "a"], "the new order")
    only.until("renamed", "RUNNING")
    assert {name: only.status(name)["pid"] for name in "ac"} == {name: pids[name] for name in "ac"}


@pytest.mark.parametrize("singleton", ["true", "false"])
def test_back_before_it_has_gone(running, folder, notes, singleton):
    """companions 52: two rereads, the second one during the first one's stop: never two copies at once."""
    text = f"[companion.job]\n{SHELL}singleton = {singleton}\n"
    only, pids = running(text + sleeper("other"))
    assert reread(only, sleeper("other")) == {"removed": ["job"], "unchanged": ["other"]}
    assert reread(only, text + sleeper("other")) == {"added": ["job"], "unchanged": ["other"]}
    jobs = [entry for entry in only.statuses() if entry["name"] == "job"]
    old, new = sorted(jobs, key=lambda each: not each["removing"])
    assert (old["pid"], old["state"], new["removing"]) == (pids["job"], "STOPPING", False)
    # Two turns of the loop later: a start that is to come has come.
    only.until("other", "RUNNING")
    lines = notes(1)
    (folder / "go").touch()
    eventually(lambda: names(only) == ["job", "other"], "the end of the old one")
    assert lines == ["start"]
    assert notes(3)[:3] == ["start", "end", "start"]


def test_changed_again_while_it_restarts(running, folder):
    """companions 52: the last configuration is the one that counts."""
    only, _ = running("[companion.job]\n" + SHELL)
    assert reread(only, sleeper("job", 2000)) == {"restarted": ["job"]}
    assert only.status("job")["state"] == "STOPPING"
    reread(only, sleeper("job", 3000))
    (folder / "go").touch()
    pid = only.until("job", "RUNNING", restart_count=1)["pid"]
    assert open(f"/proc/{pid}/cmdline").read() == "sleep\0003000\0"


@pytest.mark.parametrize("way", ["request", "HUP"])
def test_reread_during_the_shutdown(running, folder, notes, way):
    """companions 52: nothing is started any more."""
    only, _ = running("[companion.job]\n" + SHELL)
    only.send(signal.SIGTERM)
    only.until("job", "STOPPING")
    only.write('[companion.late]\ncommand = ["sh", "-c", "echo late >>notes"]\n' + "[companion.job]\n" + SHELL)
    if way == "request":
        only.ask({"cmd": "reread"})
    else:
        only.send(signal.SIGHUP)
        names(only), names(only)  # with the first answer at the latest it has seen the signal
    (folder / "go").touch()
    assert only.result() == 0
    assert "late" not in notes() and only.moves("late") == []


def test_removed_while_somebody_waits_to_start_it(running, folder):
    """companions 52: what was removed is not started any more, whoever has asked for it before."""
    only, _ = running("[companion.job]\n" + SHELL + sleeper("other"))
    assert only.ask({"cmd": "stop", "name": "job"})["ok"]
    with only.client() as client:
        client.send({"command": "start", "name": "job"})
        assert reread(only, sleeper("other")) == {"removed": ["job"], "unchanged": ["other"]}
        (folder / "go").touch()
        assert not client.reply()["ok"]
    eventually(lambda: names(only) == ["other"], "the end of the removal")
    assert only.moves("job").count("STARTING") == 1
