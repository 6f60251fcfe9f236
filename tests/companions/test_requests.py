"""What the control socket answers to sound requests, the original gunicorn companion manager's above all."""

import json
import re
import time

import pytest

from support.processes import LIMIT, alive, eventually

# Ends when there is a file `go`, however often it is told to.
SLOW = "trap 'until [ -e go ]; do sleep 0.01; done; exit 0' TERM; echo >&3; while :; do sleep 0.01; done"
SOME = f"""
[defaults]
restart_delay = 300
restart_max_delay = 300
restart_jitter = 0
startsecs = "50ms"
[companion.steady]
command = ["sleep", "1000"]
[companion.idle]
command = ["sleep", "1000"]
autostart = false
startsecs = 300
[companion.slow]
command = ["sh", "-c", "{SLOW}"]
ready = "fd:3"
[companion.crash]
command = ["false"]
[companion.killed]
command = ["sh", "-c", "kill -9 $$"]
"""
# Two events without a process: start and stop of what waits for what is never started.
LOAD = """
[companion.never]
command = ["true"]
autostart = false
[companion.load]
command = ["true"]
autostart = false
needs = "never"
"""
MUTE = '[companion.job]\ncommand = ["sleep", "1000"]\nready = "fd:3"\nautostart = false\n'
FIELDS = {"name", "state", "pid", "description", "next_retry_at", "restart_delay", "last_exit_code"}
ADDED = {"since", "uptime", "ready", "attempt", "restart_count", "exit_count", "kill_count", "last_exit_signal"}
ADDED |= {"last_exit_at", "reason", "pgid", "lock", "lock_state", "holders"}


@pytest.fixture
def some(manager):
    only = manager(SOME)
    try:
        for name, state in (("steady", "RUNNING"), ("slow", "RUNNING"), ("crash", "BACKOFF"), ("killed", "BACKOFF")):
            only.until(name, state)
        yield only
    finally:
        (only.folder / "go").touch()


def load(manager, count):
    """That many times two events."""
    with manager.client(60) as client:
        for _ in range(count // 100):
            client.send(b'{"cmd":"start","name":"load"}\n{"cmd":"stop","name":"load"}\n' * 100)
            assert all(client.reply()["ok"] for _ in range(200))


def test_original_status(some):
    """companions 45: an entry of each state, with every field that the original has, and ours beside."""
    with some.client() as client:
        reply = client.ask(b'{"cmd": "status"}\n')
    assert reply["ok"] is True
    entries = {entry["name"]: entry for entry in reply["companions"]}
    assert list(entries) == ["steady", "idle", "slow", "crash", "killed"]
    assert all(entry.keys() >= FIELDS | ADDED for entry in entries.values())
    steady, idle, crash, killed = (entries[name] for name in ("steady", "idle", "crash", "killed"))
    assert alive(steady["pid"]) and steady["state"] == "RUNNING"
    assert re.fullmatch(rf"running, pid {steady['pid']}, uptime \S+", steady["description"])
    assert (idle["state"], idle["pid"], idle["description"]) == ("STOPPED", None, "stopped, not started")
    for entry, end, code in ((crash, "status", 1), (killed, "signal", None)):
        assert (entry["state"], entry["pid"], entry["restart_delay"]) == ("BACKOFF", None, 300)
        assert entry["last_exit_code"] == code
        assert 200 < entry["next_retry_at"] - time.time() <= 300
        assert re.fullmatch(rf"backoff, exited with {end} {code or 9}, retrying in \d+s", entry["description"])
    for entry in (steady, idle):
        assert [entry[name] for name in ("next_retry_at", "restart_delay", "last_exit_code")] == [None] * 3


# Bytes as the original's client sends them, what is answered, and the state that they lead to.
CONVERSATION = [
    ("start", "steady", True, "steady already running", "RUNNING", None),
    ("restart", "steady", True, "steady restarting", "RUNNING", None),
    ("start", "idle", True, "idle started", "STARTING", "starting"),
    ("start", "idle", True, "idle already starting", "STARTING", "starting"),
    ("stop", "slow", True, "slow stopping", "STOPPING", "stopping"),
    ("stop", "slow", True, "slow already stopping", "STOPPING", "stopping"),
    ("start", "slow", False, "slow is stopping; retry", "STOPPING", "stopping"),
    ("restart", "slow", False, "slow is stopping; retry", "STOPPING", "stopping"),
    ("stop", "crash", True, "crash stopped", "STOPPED", "stopped, stopped manually"),
    ("stop", "crash", True, "crash already stopped", "STOPPED", "stopped, stopped manually"),
    ("restart", "crash", True, "crash started", "BACKOFF", None),
    ("start", "killed", True, "killed started", "BACKOFF", None),
    ("restart", "killed", True, "killed started", "BACKOFF", None),
    ("start", "nobody", False, "unknown companion nobody", None, None),
    ("stop", "nobody", False, "unknown companion nobody", None, None),
    ("restart", "nobody", False, "unknown companion nobody", None, None),
]


def test_original_commands(some, folder):
    """companions 45: the messages of the original, over one connection."""
    with some.client() as client:
        for command, name, ok, message, state, description in CONVERSATION:
            reply = client.ask(b'{"cmd": "%s", "name": "%s"}\n' % (command.encode(), name.encode()))
            assert (reply["ok"], reply["message"]) == (ok, message), (command, name)
            if state:
                entry = some.until(name, state)
                assert description in (None, entry["description"])
        (folder / "go").touch()
        some.until("slow", "STOPPED", description="stopped, stopped manually", last_exit_code=0)


FAILURES = [
    (b'{"cmd": "stat', "bad-json", "invalid JSON"),
    (b"[1, 2]", "bad-request", "request must be a JSON object"),
    (b'"status"', "bad-request", "request must be a JSON object"),
    (b"{}", "bad-request", "missing 'cmd'"),
    (b'{"cmd": 5, "id": 7}', "bad-request", "missing 'cmd'"),
    (b'{"cmd": "start", "id": 7}', "bad-request", "'start' requires a 'name'"),
    (b'{"cmd": "stop", "name": 5, "id": 7}', "bad-request", "'stop' requires a 'name'"),
    (b'{"cmd": "bogus", "id": 7}', "bad-request", "'bogus' requires a 'name'"),
    (b'{"cmd": "bogus", "name": "steady", "id": 7}', "unknown-command", "unknown command 'bogus'"),
    (b'{"cmd": "why", "name": "nobody", "id": 7}', "unknown-companion", "unknown companion nobody"),
    (b'{"cmd": "stop", "name": "nobody", "id": 7}', "unknown-companion", "unknown companion nobody"),
    (b'{"cmd": "signal", "name": "idle", "signal": "USR1", "id": 7}', "busy", None),
    (b'{"cmd": "signal", "name": "steady", "signal": "NONE", "id": 7}', "bad-request", None),
    (b'{"cmd": "signal", "name": "steady", "signal": 5, "id": 7}', "bad-request", None),
    (b'{"cmd": "start", "name": "steady", "wait": "yes", "id": 7}', "bad-request", None),
]


@pytest.mark.parametrize("request_line, code, error", FAILURES)
def test_refusals(manager, request_line, code, error):
    """companions 45: the original's words for what is wrong, with a code, and the id of whoever asks."""
    only = manager('[companion.steady]\ncommand = ["sleep", "1000"]\n[companion.idle]\n'
                   'command = ["true"]\nautostart = false\n')  # fmt: skip
    with only.client() as client:
        reply = client.ask(request_line + b"\n")
    assert (reply["ok"], reply["code"]) == (False, code)
    assert reply["error"] == reply["message"] and error in (None, reply["error"])
    if b'"id": 7' in request_line:
        assert reply["id"] == 7


def test_original_reread(some):
    """companions 45: four lists; or what is wrong, and that the old configuration stays."""
    names = ["steady", "idle", "slow", "crash", "killed"]
    reply = some.ask(b'{"cmd": "reread"}\n')
    assert {name: reply[name] for name in ("ok", "added", "removed", "restarted", "unchanged")} == {
        "ok": True, "added": [], "removed": [], "restarted": [], "unchanged": names}  # fmt: skip
    some.write("[companion.steady\n")
    reply = some.ask(b'{"cmd": "reread"}\n')
    assert (reply["ok"], reply["kept_old_config"], reply["code"]) == (False, True, "bad-config")
    assert reply["error"].startswith("invalid config: ")
    assert [entry["name"] for entry in some.statuses()] == names


@pytest.mark.parametrize("form", [{"cmd": "start", "wait": True}, {"command": "start"}])
def test_wait_with_timeout(manager, form):
    """companions 46: says so, and in which state the companion is."""
    only = manager(MUTE)
    reply = only.ask({**form, "name": "job", "timeout": 0.3, "id": 7})
    assert (reply["ok"], reply["code"], reply["state"], reply["id"]) == (False, "timeout", "STARTING", 7)
    only.until("job", "STARTING", exit_count=0)


def test_wait_with_timeout_for_an_end(some):
    """companions 46: also while the copy of before has yet to stop, and of a stop itself."""
    reply = some.do("stop", "slow", timeout=0.2)
    assert (reply["code"], reply["state"]) == ("timeout", "STOPPING")
    reply = some.do("start", "slow", timeout=0.2)
    assert (reply["code"], reply["state"]) == ("timeout", "STOPPING")


@pytest.mark.parametrize("timeout", [-1, "soon", True, [], 1e300])
def test_wrong_timeout(manager, timeout):
    """companions 46: refused before anything happens."""
    only = manager(MUTE)
    reply = only.do("start", "job", timeout=timeout)
    assert (reply["ok"], reply["code"]) == (False, "bad-request")
    only.until("job", "STOPPED", pid=None, restart_count=0, exit_count=0)


def test_client_gone_while_it_waits(manager):
    """companions 46: what it has asked for goes on."""
    only = manager(MUTE)
    for _ in range(3):
        with only.client() as client:
            client.send({"command": "start", "name": "job"})
            only.until("job", "STARTING")
    only.until("job", "STARTING", exit_count=0, restart_count=0)
    assert only.do("stop", "job")["ok"]


def test_shutdown_while_somebody_waits(manager):
    """companions 46: whoever waits for a start hears of the end."""
    only = manager(MUTE)
    with only.client() as client:
        client.send({"command": "start", "name": "job"})
        only.until("job", "STARTING")
        assert only.stop() == 0
        reply = client.reply()
        assert not reply["ok"] and reply["state"] in ("STOPPED", "STOPPING") and reply["code"] in ("failed", "busy")


def test_shutdown_answers(manager):
    """companions 46: ours when all have stopped, the original's form at once."""
    for request, message in (({"command": "shutdown"}, "stopped"), ({"cmd": "shutdown"}, "stopping")):
        only = manager('[companion.job]\ncommand = ["sleep", "1000"]\n')
        only.until("job", "RUNNING")
        assert only.ask(request)["message"] == message
        assert only.result() == 0


def test_nothing_starts_during_a_shutdown(manager, notes, folder):
    """companions 46: not even what was asked for before, once the copy of before has ended."""
    script = SLOW.replace("echo", "echo start >>notes; echo")
    only = manager(f'[companion.job]\ncommand = ["sh", "-c", "{script}"]\nready = "fd:3"\n')
    only.until("job", "RUNNING")
    assert only.ask({"cmd": "stop", "name": "job"})["ok"]
    with only.client() as client:
        client.send({"command": "start", "name": "job"})
        assert only.ask({"cmd": "shutdown"})["ok"]
        (folder / "go").touch()
        assert only.result() == 0
        reply = client.reply()
    assert only.moves("job")[-1] == "STOPPED" and only.moves("job").count("STARTING") == 1, only.said()
    assert notes() == ["start"]
    assert reply is None or not reply["ok"]


def test_events_have_no_holes(manager):
    """companions 47: under load, for those that are there from the start and for those that come later."""
    only = manager(LOAD)
    events = only.events()
    load(only, 100)
    seen = [next(events) for _ in range(200)]
    load(only, 100)
    seen += [next(events) for _ in range(200)]
    assert [event["seq"] for event in seen] == list(range(1, 401))
    assert [(event["from"], event["to"]) for event in seen] == [("STOPPED", "WAITING"), ("WAITING", "STOPPED")] * 200
    assert all(event["name"] == "load" and "reason" in event for event in seen)
    assert [event["time"] for event in seen] == sorted(event["time"] for event in seen)
    late = only.events(since=350)
    assert [next(late)["seq"] for _ in range(50)] == list(range(351, 401))


def test_slow_reader_of_events(manager):
    """companions 47: it is told how many it has missed; all numbers are accounted for."""
    only = manager(LOAD)
    with only.client() as slow:
        slow.send({"cmd": "events", "since": 0})
        load(only, 3000)
        had, lost = 0, 0
        while had < 6000:
            event = slow.reply()
            if event["event"] == "lost":
                lost += event["count"]
                had += event["count"]
            else:
                had += 1
                assert event["seq"] == had
    assert 0 < lost < 6000
    eventually(lambda: only.ask({"cmd": "hello"})["ok"], "an answer", LIMIT)


def test_reply_is_one_line(manager):
    """companions 45: whatever a companion is called and says, one line is one object."""
    only = manager('[companion.job]\ncommand = ["no\\nsuch\\u00e9"]\ndescription = "two\\nlines"\n')
    only.until("job", "BACKOFF")
    with only.client() as client:
        client.send({"cmd": "status"})
        line = client.lines.readline()
    entry = json.loads(line)["companions"][0]
    assert "no\nsuché" in entry["reason"] and entry["about"] == "two\nlines"
