"""The control socket against clients that are silent, slow, many, wrong or somebody else; its own file."""

import json
import os
import socket
import stat
import threading
import time

import pytest

from support.flocks import IN_SANITIZER_BUILD, PYTHON, as_nobody
from support.processes import LIMIT, alive, eventually

PATIENCE = 30  # seconds that a client may be silent
SLEEPER = '[companion.job]\ncommand = ["sleep", "1000"]\nstartsecs = "50ms"\nrestart = "never"\n'
FLAKY = '[companion.flaky]\ncommand = ["false"]\nrestart_delay = "50ms"\nrestart_max_delay = "50ms"\n'


def resident(pid):
    """The memory of a process, in KiB."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def hung_up(client):
    """Whether the next thing to come is the end of the connection."""
    try:
        return client.reply() is None
    except ConnectionResetError:
        return True


def test_silent_clients(manager):
    """companions 38: nobody waits for them; they are hung up on but for one that follows the events."""
    only = manager(SLEEPER + FLAKY)
    with only.client(PATIENCE + LIMIT) as silent, only.client() as follower:
        follower.send({"cmd": "events", "since": 0})
        began = time.monotonic()
        only.until("job", "RUNNING")
        exits = only.status("flaky")["exit_count"]
        eventually(lambda: only.status("flaky")["exit_count"] > exits + 3, "more starts")
        assert only.do("stop", "job")["ok"] and only.do("stop", "flaky")["ok"]
        refusal = silent.reply()
        assert refusal is None or (not refusal["ok"] and hung_up(silent))
        assert PATIENCE - 1 < time.monotonic() - began < PATIENCE + LIMIT
        assert only.do("start", "job")["ok"]
        seen = iter(follower.reply, None)
        assert any((event["name"], event["from"], event["to"]) == ("job", "STARTING", "RUNNING") for event in seen)


@pytest.mark.parametrize("said", [b"", b'{"cmd":"sta'])
def test_silent_client_at_the_end(manager, said):
    """companions 38, 39: the manager ends without waiting for it."""
    only = manager(SLEEPER)
    only.until("job", "RUNNING")
    with only.client() as silent:
        silent.send(said)
        began = time.monotonic()
        assert only.stop() == 0
        assert time.monotonic() - began < LIMIT
        assert hung_up(silent)


def test_half_a_line(manager):
    """companions 39: others are answered meanwhile, and it is when the rest has come."""
    only = manager(SLEEPER)
    with only.client() as slow:
        slow.send(b'{"cmd":"sta')
        only.until("job", "RUNNING")
        slow.send(b'tus"}\n{"cmd":"hel')
        assert slow.reply()["companions"][0]["name"] == "job"
    only.until("job", "RUNNING", exit_count=0)


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_endless_line(manager, end):
    """companions 39: a line of 1 MiB is refused before it is all there, and costs no memory."""
    only = manager(SLEEPER)
    before = resident(only.pid)
    with only.client() as client:
        try:
            client.send(b'{"cmd":"' + b"x" * (1 << 20) + end)
        except (BrokenPipeError, ConnectionResetError):
            pass
        refusal = client.reply()
        assert hung_up(client)
    assert IN_SANITIZER_BUILD or resident(only.pid) < before + 1024
    assert (refusal["ok"], refusal["code"]) == (False, "too-long")
    assert refusal["error"] == refusal["message"]


RUBBISH = {
    "binary": (bytes(range(128, 256)) + b"\xff\xfe\x00\x01", "bad-json"),
    "words": (b"GET / HTTP/1.1", "bad-json"),
    "NUL": (b'{"cmd":"status"}\0', "bad-json"),
    "half": (b'{"cmd":"status"', "bad-json"),
    "deep and open": (b"[" * 30000, "bad-json"),
    "deep list": (b"[" * 20000 + b"]" * 20000, "bad-request"),
    "deep object": (b'{"cmd":' + b'{"a":' * 8000 + b"1" + b"}" * 8001, "bad-request"),
    "many values": (b'{"cmd":"status","x":[' + b"1," * 20000 + b"1]}", "bad-request"),
    "twice": (b'{"cmd":"status","cmd":"shutdown"}', "bad-request"),
}


@pytest.mark.parametrize("name", RUBBISH)
def test_rubbish(manager, name):
    """companions 39: refused with its code, and the connection is good for the next request."""
    line, code = RUBBISH[name]
    only = manager(SLEEPER)
    with only.client() as client:
        refusal = client.ask(line + b"\n")
        assert client.ask({"cmd": "status"})["companions"][0]["name"] == "job"
    assert (refusal["ok"], refusal["code"]) == (False, code)
    assert refusal["error"] == refusal["message"] != ""


def test_many_requests_in_one_write(manager):
    """companions 39: each gets its answer, in order; blank lines get none."""
    only = manager(SLEEPER)
    with only.client() as client:
        client.send(b"".join(b'\n{"cmd":"status","id":%d}\r\n' % number for number in range(1000)))
        assert [client.reply()["id"] for _ in range(1000)] == list(range(1000))


@pytest.mark.skipif(IN_SANITIZER_BUILD, reason="the sanitizer keeps freed memory for a while")
def test_client_that_never_reads(manager):
    """companions 40: its answers take no memory, others are served, and it is dropped."""
    only = manager(SLEEPER + "numprocs = 20\n")
    request = b'{"cmd":"status"}\n' * 100
    before = resident(only.pid)
    with only.client() as deaf:
        deaf.socket.setblocking(False)

        def has_sent_all():
            try:
                while deaf.socket.send(request):
                    pass
            except BlockingIOError:
                return False
            except (BrokenPipeError, ConnectionResetError):
                return True

        grown = []

        def is_dropped():
            assert len(only.ask({"cmd": "status"})["companions"]) == 20
            grown.append(resident(only.pid) - before)
            return has_sent_all()

        eventually(is_dropped, "the manager to hang up", PATIENCE + LIMIT)
    assert max(grown) < 4096


def test_a_hundred_clients(manager):
    """companions 41: right answers for as many as there is room for; the others hear "busy", and may come again."""
    only = manager(SLEEPER + "numprocs = 3\n")
    only.until("job:2", "RUNNING")
    names = ["job:0", "job:1", "job:2"]
    clients = [only.client() for _ in range(100)]
    replies = []
    for client in clients:
        try:
            client.send({"cmd": "status"})
        except BrokenPipeError:
            pass
        replies.append(client.reply())
    served = [reply for reply in replies if reply["ok"]]
    assert len(served) == 64
    assert all([entry["name"] for entry in reply["companions"]] == names for reply in served)
    assert {reply["code"] for reply in replies if not reply["ok"]} == {"busy"}
    for client in clients:
        client.close()
    eventually(lambda: only.ask({"cmd": "status"})["ok"], "room")


def test_nobody_else_at_any_moment(manager, folder):
    """companions 42: a loop beside ten starts under umask 000 sees mode 0600 only; the folder has 0700."""
    seen, over = {}, threading.Event()

    def look():
        while not over.is_set():
            for path in ("run", "run/companions.sock"):
                try:
                    seen.setdefault(path, set()).add(stat.S_IMODE(os.lstat(folder / path).st_mode))
                except FileNotFoundError:
                    pass

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        for _ in range(10):
            assert manager(SLEEPER, umask=0).stop() == 0
    finally:
        over.set()
        watcher.join()
    assert seen == {"run": {0o700}, "run/companions.sock": {0o600}}


ASK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as asker:
    asker.connect(sys.argv[1])
    try: asker.sendall(b'{"cmd":"shutdown"}\\n')
    except BrokenPipeError: pass
    print(asker.makefile().readline())
"""


@pytest.mark.parametrize("opened", [False, True])
def test_another_user(manager, run, folder, opened):
    """companions 42: has no access, and is refused where somebody has made the socket's mode wider."""
    only = manager(SLEEPER)
    folder.chmod(0o755)
    (folder / "run").chmod(0o755)
    if opened:
        only.socket.chmod(0o666)
    done = run(*as_nobody(*PYTHON, "-c", ASK, only.socket))
    only.until("job", "RUNNING")
    if opened:
        reply = json.loads(done.stdout)
        assert not reply["ok"] and reply["error"] == reply["message"]
        assert reply["code"] == "denied"
    else:
        assert done.returncode == 1 and "PermissionError" in done.stderr


def test_socket_of_a_dead_manager(manager):
    """companions 44: replaced."""
    dead = manager(SLEEPER)
    pid = dead.until("job", "RUNNING")["pid"]
    dead.process.kill()
    dead.process.wait()
    assert stat.S_ISSOCK(os.lstat(dead.socket).st_mode)
    heir = manager(SLEEPER)
    heir.until("job", "RUNNING")
    assert not alive(pid)
    assert heir.stop() == 0 and not heir.socket.exists()


@pytest.mark.parametrize("kind", ["file", "folder", "link", "FIFO"])
def test_no_socket_at_the_path(manager, folder, kind):
    """companions 44: refused, nothing is started, and what is there stays."""
    (folder / "run").mkdir()
    path = folder / "run" / "companions.sock"
    if kind == "file":
        path.write_text("kept")
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("elsewhere")
    else:
        os.mkfifo(path)
    before = os.lstat(path)
    refused = manager(SLEEPER, ready=False)
    assert refused.result() > 0
    after = os.lstat(path)
    assert refused.said().startswith(f"drover-companions: cannot make socket '{path}': ")
    assert refused.moves("job") == []
    assert (before.st_ino, before.st_mode, before.st_mtime_ns) == (after.st_ino, after.st_mode, after.st_mtime_ns)


def test_connection_that_ends_early(manager):
    """companions 39: clients that come and go without a word, or with a reply on the way, change nothing."""
    only = manager(SLEEPER)
    only.until("job", "RUNNING")
    for number in range(200):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(only.socket))
        if number % 2:
            connection.sendall(b'{"cmd":"status"}\n{"cmd":"ev')
        connection.close()
    only.until("job", "RUNNING", exit_count=0)
    assert only.said().count("\n") == len(only.moves("job")) - 1, only.said()
