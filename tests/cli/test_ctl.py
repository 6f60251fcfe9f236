"""drover-ctl: what it asks, what it shows, and how it ends, with a server that says what it likes."""

import json
import os
import signal
import socket

import pytest

from support.control import say, serve, until_hung_up  # noqa: F401
from support.processes import eventually

STEPS = [
    {"name": "ask", "start_ms": 0.0, "duration_ms": 10.0, "note": ""},
    {"name": "ready", "start_ms": 10.0, "duration_ms": 1490.0, "note": "4 workers"},
    {"name": "drain", "start_ms": 1500.0, "duration_ms": 500.0, "note": ""},
]
DONE = {
    "number": 4, "verdict": "done", "reason": "", "output": [], "started_s_ago": 90.0, "duration_ms": 2000.0,
    "old": 111, "new": 123, "steps": STEPS,
}  # fmt: skip
FAILED = {
    **DONE, "verdict": "failed", "reason": "the successor died", "new": 0, "duration_ms": 300.0,
    "output": ["Traceback:", "\x1b[31mno module named app"],
}  # fmt: skip
STATUS = {
    "ok": True, "state": "serving", "pid": 100, "dialect": "unicorn", "pidfile": "/run/app.pid",
    "lock": "/run/app.pid.lock", "since_s": 7200.0,
    "generations": [
        {"master": 123, "role": "current", "generation": 3, "age_s": 4.5, "workers": [124, 125], "ready": True},
        {"master": 111, "role": "old", "generation": 2, "age_s": 8000.0, "workers": [], "ready": False},
    ],
    "holders": [111, 123, 124, 125], "queued": False, "last_reload": DONE,
}  # fmt: skip


@pytest.fixture
def ctl(run, folder):
    """A finished drover-ctl that asks the server of the test's folder."""

    def call(*words, env=None):
        return run("drover-ctl", *words, env={"DROVER_SOCKET": str(folder / "app.pid.sock"), **(env or {})})

    return call


def lines_of_error(done):
    lines = done.stderr.splitlines()
    assert all(line.startswith("drover-ctl: ") for line in lines)
    return [line.removeprefix("drover-ctl: ") for line in lines]


def test_status_for_people(ctl, serve):
    server = serve([STATUS])
    done = ctl("status")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "serving: unicorn, herd 100, for 2 h\n"
        "pidfile: /run/app.pid\n"
        "lock: /run/app.pid.lock\n"
        "holders: 111 123 124 125\n"
        "last reload 4 done in 2.0 s, 123 follows 111, 2 min ago\n"
        "MASTER  ROLE     GENERATION  AGE    READY  WORKERS\n"
        "123     current  3           4.5 s  yes    124 125\n"
        "111     old      2           2 h    no     -\n"
    )
    assert server.requests == [{"v": 1, "command": "status"}]


def test_status_of_a_server_without_a_past(ctl, serve):
    serve([{**STATUS, "state": "starting", "generations": [], "holders": [], "last_reload": None, "queued": True}])
    assert ctl("status").stdout == (
        "starting: unicorn, herd 100, for 2 h, another reload is asked for\n"
        "pidfile: /run/app.pid\nlock: /run/app.pid.lock\nholders: -\n"
    )


def test_json_is_the_last_answer_alone(ctl, serve):
    serve([{"event": "step", "name": "ready", "text": "x"}, STATUS])
    done = ctl("status", "--json")
    assert done.returncode == 0
    assert done.stdout.count("\n") == 1
    assert json.loads(done.stdout) == {"v": 1, **STATUS}
    assert list(json.loads(done.stdout))[0] == "v"


def test_json_has_its_version_when_the_server_left_it_out(ctl, serve):
    serve(lambda connection, _: connection.sendall(b'{"ok":true}\n'))
    assert ctl("status", "--json").stdout == '{"v":1,"ok":true}\n'


def test_reload_says_its_steps_and_the_verdict(ctl, serve):
    steps = [{"event": "step", "name": name, "text": f"text of {name}"} for name in ("ask", "ready")]
    server = serve([*steps, {"ok": True, "reload": DONE, "reason": ""}])
    done = ctl("reload")
    assert done.returncode == 0
    assert lines_of_error(done) == ["ask: text of ask", "ready: text of ready"]
    assert done.stdout == "reload 4 done in 2.0 s, 123 follows 111\n"
    assert ctl("reload", "-q").stderr == ""
    assert server.requests == [{"v": 1, "command": "reload"}] * 2


def test_steps_are_said_when_they_come(start, serve, folder):
    def one_then_wait(connection, _):
        say(connection, {"event": "step", "name": "ask", "text": "USR2 to 111"})
        assert server.may_go_on.wait(20)
        say(connection, {"ok": True, "reload": DONE})

    server = serve(one_then_wait)
    process = start("drover-ctl", "-p", "app.pid", "reload")
    assert process.stderr.readline() == "drover-ctl: ask: USR2 to 111\n"
    assert process.poll() is None
    server.may_go_on.set()
    assert process.wait(20) == 0
    process.communicate()


def test_reload_that_failed(ctl, serve, folder):
    serve([{"ok": False, "reload": FAILED, "reason": "the successor died"}])
    done = ctl("-q", "reload")
    assert done.returncode == 1
    assert done.stdout == "reload 4 failed after 300 ms\n"
    assert lines_of_error(done) == [
        f"cannot reload '{folder}/app.pid.sock': the successor died",
        "the successor wrote: Traceback:",
        "the successor wrote: \\x1b[31mno module named app",
    ]


def test_reload_that_failed_as_json(ctl, serve):
    answer = {"ok": False, "reload": FAILED, "reason": "the successor died"}
    serve([answer])
    done = ctl("reload", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"v": 1, **answer}
    assert "the successor died" in done.stderr


@pytest.mark.parametrize("words, request_", [
    (("stop",), {"command": "stop"}),
    (("stop", "mailer"), {"command": "stop", "name": "mailer"}),
    (("signal", "usr1"), {"command": "signal", "signal": "SIGUSR1"}),
    (("signal", "15"), {"command": "signal", "signal": "SIGTERM"}),
    (("start", "mailer"), {"command": "start", "name": "mailer"}),
    (("restart", "mailer"), {"command": "restart", "name": "mailer"}),
    (("signal", "mailer", "usr1", "--group"),
     {"command": "signal", "name": "mailer", "signal": "SIGUSR1", "group": True}),
    (("reread",), {"command": "reread"}),
    (("reread", "--dry-run"), {"command": "reread", "dry_run": True}),
    (("release", "mailer"), {"command": "release", "name": "mailer"}),
    (("release", "--kill", "mailer"), {"command": "release", "name": "mailer", "kill": True}),
    (("reopen",), {"command": "reopen"}),
    (("shutdown",), {"command": "shutdown"}),
    (("why", "mailer"), {"command": "why", "name": "mailer"}),
    (("why",), {"command": "why"}),
    (("status", "mailer"), {"command": "status", "name": "mailer"}),
    (("events", "--since", "010"), {"command": "events", "since": 10}),
], ids=lambda value: " ".join(value) if isinstance(value, tuple) else "")  # fmt: skip
def test_what_is_asked(ctl, serve, words, request_):
    server = serve([{"ok": True, "message": "as\tyou like"}])
    done = ctl(*words)
    assert (done.returncode, done.stdout, done.stderr) == (0, "as\\x09you like\n", "")
    assert server.requests == [{"v": 1, **request_}]


def test_refused(ctl, serve, folder):
    serve([{"ok": False, "code": "usage", "reason": "the command 'start' is not known here"}])
    done = ctl("start", "mailer")
    assert (done.returncode, done.stdout) == (1, "")
    assert lines_of_error(done) == ["cannot start 'mailer': the command 'start' is not known here"]
    assert lines_of_error(ctl("signal", "HUP"))[0].startswith(f"cannot signal '{folder}/app.pid.sock': ")


def test_answer_of_an_unknown_form(ctl, serve):
    serve([{"ok": True, "added": ["a"], "count": 2, "yes": True, "none": None, "text": "t"}])
    assert ctl("reread").stdout == 'added: ["a"]\ncount: 2\nyes: yes\ntext: t\n'


def test_members_of_wrong_types_are_left_out(ctl, serve):
    serve([{"ok": True, "state": "serving", "pid": [], "dialect": {}, "since_s": "x", "generations": [1, {}],
            "holders": {}, "queued": "x", "last_reload": {"verdict": 3, "steps": 1}}])  # fmt: skip
    done = ctl("status")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("serving\nlast reload 3\nMASTER")


def test_holders(ctl, serve):
    serve([{"ok": True, "holders": [{"pid": 1, "role": "master", "command": "unicorn master\n", "fds": [1025, 1026]},
                                    {"pid": 22}]}])  # fmt: skip
    assert ctl("holders").stdout == (
        "PID  ROLE    FDS        COMMAND\n"
        "1    master  1025 1026  unicorn master\\x0a\n"
        "22   -       -          -\n"
    )


def test_timeline_as_bars(ctl, serve):
    serve([{"ok": True, "reload": DONE}])
    done = ctl("timeline")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "reload 4 done in 2.0 s, 123 follows 111\n"
        f"ask   |{'#':<63}|   10 ms\n"
        f"ready |{'#' * 48:<63}|   1.5 s\n"
        "      4 workers\n"
        f"drain |{'#' * 16:>63}|  500 ms\n"
    )
    assert max(len(line) for line in done.stdout.splitlines()) == 79


def test_timeline_survives_odd_numbers(ctl, serve):
    odd = [{"name": "a", "start_ms": -5, "duration_ms": 1e300}, {"name": "b", "start_ms": 1e300}, {}, 7]
    serve([{"ok": True, "reload": {"steps": odd}}])
    done = ctl("timeline")
    assert (done.returncode, done.stdout.count("\n")) == (0, 5)


def test_timeline_as_trace(ctl, serve):
    serve([{"ok": True, "reload": DONE}])
    events = json.loads(ctl("timeline", "--trace").stdout)
    assert [event["name"] for event in events[1:]] == ["ask", "ready", "drain"]
    for event in events:
        assert event["ph"] == "X" and event["pid"] == 111 and event["tid"] == 4
    assert (events[0]["ts"], events[0]["dur"]) == (0, 2_000_000)
    assert (events[2]["ts"], events[2]["dur"]) == (10_000, 1_490_000)


def test_timeline_without_a_reload(ctl, serve):
    serve([{"ok": True, "reload": None}])
    for words in (("timeline",), ("timeline", "--trace")):
        done = ctl(*words)
        assert (done.returncode, done.stdout) == (1, "")
        assert lines_of_error(done) == ["there was no reload yet"]
    assert ctl("timeline", "--json").returncode == 0


EVENTS = [
    {"event": "step", "name": "ready", "seq": 12, "at": "2026-11-22T12:00:00.000Z", "text": "4 workers"},
    {"event": "lost", "count": 3},
    {"event": "stopping", "seq": 16, "at": "2026-11-22T12:00:01.000Z"},
]


def test_events(ctl, serve, folder):
    serve(EVENTS)
    done = ctl("events")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "2026-11-22T12:00:00.000Z #12 step ready: 4 workers",
        "3 events were lost",
        "2026-11-22T12:00:01.000Z #16 stopping",
    ]
    assert lines_of_error(done) == [f"cannot follow '{folder}/app.pid.sock': the server has hung up"]
    as_json = ctl("events", "--json").stdout.splitlines()
    assert [json.loads(line) for line in as_json] == [{"v": 1, **event} for event in EVENTS]


def test_events_come_at_once(start, serve):
    def one_then_wait(connection, _):
        say(connection, EVENTS[0])
        until_hung_up(connection)

    serve(one_then_wait)
    process = start("drover-ctl", "events", "-p", "app.pid")
    assert "#12" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == -signal.SIGINT
    process.communicate()


def test_events_end_at_the_limit(ctl, serve):
    def until_it_goes(connection, _):
        while True:
            say(connection, EVENTS[0])

    serve(until_it_goes)
    done = ctl("events", "--wait", "100ms")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("words, message", [
    (("reload",), "gave up waiting after 100 ms: the reload goes on"),
    (("stop",), "gave up waiting after 100 ms: the stop goes on"),
    (("status",), "gave up waiting for an answer after 100 ms"),
], ids=["reload", "stop", "status"])  # fmt: skip
def test_limit(ctl, serve, words, message):
    serve(lambda connection, _: until_hung_up(connection))
    done = ctl(*words, "-w", "100ms")
    assert (done.returncode, done.stdout) == (1, "")
    assert lines_of_error(done) == [message]


def test_limit_counts_all_steps(ctl, serve):
    def steps_for_ever(connection, _):
        while True:
            say(connection, {"event": "step", "name": "x", "text": "y"})

    serve(steps_for_ever)
    done = ctl("reload", "-w", "200ms", "-q")
    assert (done.returncode, lines_of_error(done)) == (1, ["gave up waiting after 200 ms: the reload goes on"])


def test_server_that_takes_nobody(run, folder):
    """Its queue is full: connecting itself has to wait."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "full.sock"))
        server.listen(0)
        clients = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        for client in clients:
            client.setblocking(False)
            try:
                client.connect(str(folder / "full.sock"))
            except BlockingIOError:
                pass
        done = run("drover-ctl", "-s", "full.sock", "-w", "100ms", "reload")
        for client in clients:
            client.close()
    assert done.returncode == 1
    assert lines_of_error(done) == ["cannot reach 'full.sock': the server takes no request"]


def test_slow_answer_in_pieces(ctl, serve):
    def in_pieces(connection, _):
        for byte in b'\n{"v":1,"ok":true,"message":"d\xc3\xa9j\xc3\xa0"}\n':
            connection.send(bytes([byte]))

    serve(in_pieces)
    assert ctl("stop").stdout == "déjà\n"


@pytest.mark.parametrize("garbage", [
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"{}{}\n",
    b"[]\n",
    b'{"ok":"yes"}\n',
    b'{"ok":null}\n',
    b'{"v":2,"ok":true}\n',
    b'{"ok":true}\0\n',
    b'{"ok":true,"ok":false}\n',
    b'{"ok":tr\xff}\n',
    b'{"ok":true',
    b"{" * 100_000 + b"\n",
], ids=range(11))  # fmt: skip
def test_garbage_is_no_answer(ctl, serve, folder, garbage):
    serve(lambda connection, _: connection.sendall(garbage))
    done = ctl("reload")
    assert (done.returncode, done.stdout) == (65, "")
    (line,) = lines_of_error(done)
    assert line.startswith(f"cannot understand '{folder}/app.pid.sock': ")


def test_huge_line(ctl, serve):
    serve([{"ok": True, "message": "x" * 5_000_000}])
    assert len(ctl("stop").stdout) == 5_000_001


def test_line_without_an_end(ctl, serve, folder):
    def for_ever(connection, _):
        while True:
            connection.sendall(b"x" * 1_000_000)

    serve(for_ever)
    done = ctl("reload")
    assert done.returncode == 65
    assert lines_of_error(done) == [f"cannot understand '{folder}/app.pid.sock': its line is longer than 16 MiB"]


@pytest.mark.parametrize("before", [[], [{"event": "step", "name": "ask", "text": ""}]], ids=["at once", "later"])
def test_server_that_hangs_up(ctl, serve, folder, before):
    serve(before)
    done = ctl("reload", "-q")
    assert (done.returncode, done.stdout) == (1, "")
    assert lines_of_error(done) == [f"cannot reload '{folder}/app.pid.sock': the server has hung up"]


def test_server_that_hangs_up_unheard(start, folder):
    """It refuses before the request is there: what it says is heard all the same."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "a.sock"))
        server.listen()
        process = start("drover-ctl", "-s", "a.sock", "reload")
        connection, _ = server.accept()
        say(connection, {"ok": False, "code": "busy", "reason": "32 clients are connected"})
        connection.close()
    assert process.wait(20) == 1
    assert "32 clients are connected" in process.communicate()[1]


def test_nobody_there(run, folder):
    (folder / "file").touch()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "dead.sock"))
    for name, why in [
        ("none.sock", "No such file or directory"),
        ("no/such.sock", "No such file or directory"),
        ("file/x", "Not a directory"),
        ("file", "it is no socket"),
        ("dead.sock", "nobody answers there any more"),
        ("x" * 200, "File name too long"),
    ]:
        done = run("drover-ctl", "-s", name, "status")
        assert (done.returncode, done.stdout) == (69, "")
        assert lines_of_error(done) == [f"cannot reach '{name}': {why}"]


def test_socket_by_pidfile_and_by_variable(run, serve, folder):
    server = serve([{"ok": True}])
    nowhere = {"DROVER_SOCKET": "/nowhere"}
    assert run("drover-ctl", "-p", "app.pid", "stop", env=nowhere).returncode == 0
    assert run("drover-ctl", "stop", "-s", "app.pid.sock", env=nowhere).returncode == 0
    assert run("drover-ctl", "stop", env={"DROVER_SOCKET": "app.pid.sock"}).returncode == 0
    assert run("drover-ctl", "stop", env=nowhere).returncode == 69
    assert len(server.requests) == 3


def test_long_path(run, serve, folder):
    server = serve([{"ok": True}])
    deep = folder / ("d" * 120)
    deep.mkdir()
    os.rename(server.path, deep / "app.sock")
    assert run("drover-ctl", "-s", deep / "app.sock", "stop").returncode == 0
    assert run("drover-ctl", "-s", f"./{deep.name}/app.sock", "stop").returncode == 0


@pytest.mark.parametrize("words", [
    (), ("frobnicate",), ("status", "a", "b"), ("reload", "x"), ("events", "x"), ("signal",), ("start",),
    ("restart",), ("release",), ("reopen", "a", "b"), ("signal", "a", "b", "HUP"), ("shutdown", "a"),
    ("status", "--dry-run"), ("stop", "--kill"), ("stop", "--group"),
    ("signal", "SIGNONE"), ("signal", "0"), ("start", ""), ("--bogus", "status"), ("status", "--trace"),
    ("status", "--since", "1"), ("events", "--since", "x"), ("events", "--since", "-1"), 
    ("timeline", "--trace", "--json"),
    ("events", "--since", "99999999999999999999"), ("-w", "x", "status"), ("-s", "", "status"),
    ("-s", "a", "-p", "b", "status"), ("-s", "a", "-s", "b", "status"), ("-p", "a", "-p", "b", "status"),
    ("-p", "a.lock", "status"), ("-p", "", "status"),
], ids=lambda words: " ".join(words) or "none")  # fmt: skip
def test_wrong_usage(ctl, serve, words):
    server = serve([{"ok": True}])
    done = ctl(*words)
    assert (done.returncode, done.stdout) == (64, "")
    assert lines_of_error(done)[-1] == "hint: see 'drover-ctl --help'"
    assert server.requests == []


@pytest.mark.parametrize("env", [{}, {"DROVER_SOCKET": ""}], ids=["unset", "empty"])
def test_no_socket_named(run, env):
    done = run("drover-ctl", "status", env=env)
    assert done.returncode == 64
    assert lines_of_error(done)[0] == "-s, -p or DROVER_SOCKET is needed"


def test_full_output(start, serve):
    serve([STATUS])
    with open("/dev/full", "w") as full:
        process = start("drover-ctl", "-p", "app.pid", "status", stdout=full)
        assert process.wait(20) == 73
    assert "standard output" in process.communicate()[1]


def test_verbose_names_the_socket(ctl, serve, folder):
    serve([{"ok": True}])
    assert lines_of_error(ctl("-v", "stop")) == [f"asking '{folder}/app.pid.sock'"]


def test_signals_that_are_handled_do_not_end_the_wait(start, serve):
    """Stopped and continued, it goes on."""
    server = serve(lambda connection, _: server.may_go_on.wait(20) and say(connection, {"ok": True}))
    process = start("drover-ctl", "-p", "app.pid", "-w", "100s", "stop")
    eventually(lambda: server.requests, "the request")
    process.send_signal(signal.SIGSTOP)
    process.send_signal(signal.SIGCONT)
    server.may_go_on.set()
    assert process.wait(20) == 0
    process.communicate()
