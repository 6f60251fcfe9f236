"""drover-herd over a server of one process that reads its configuration again on HUP."""

import os
import signal

import pytest

from support.herds import Herd
from support.inplace import InPlace
from support.processes import alive, eventually, holders
from support.servers import READY, Waiter

SERVER = """#!/usr/bin/python3 -B
import os, signal, socket, sys

folder = os.path.dirname(os.path.abspath(sys.argv[0]))
kind = sys.argv[1]


def say(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaker:
        speaker.sendto(text.encode(), os.environ["NOTIFY_SOCKET"])


def note(text):
    with open(f"{folder}/notes", "a") as notes:
        notes.write(text + "\\n")


def reload(*_):
    note("HUP")
    if kind == "dies":
        print("plain: the new configuration is broken", flush=True)
        os._exit(3)
    if kind in ("speaks", "never ready"):
        say("RELOADING=1")
    if kind == "speaks":
        while not os.path.exists(f"{folder}/loaded"):
            signal.sigtimedwait([signal.SIGUSR1], 0.01)
        os.unlink(f"{folder}/loaded")
    if kind in ("speaks", "ready"):
        say("READY=1")


if kind != "deaf to TERM":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
else:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if kind != "default":
    signal.signal(signal.SIGHUP, reload)
if "--pidfile" in sys.argv:
    with open(f"{folder}/plain.pid", "w") as pidfile:
        pidfile.write(str(os.getpid()))
note("up")
while True:
    signal.pause()
"""


class Plain(InPlace):
    name = "plain"

    def __init__(self, processes, kind, program="server", pidfile=False):
        super().__init__(processes)
        self.words = [self.write(program, SERVER), kind, *(["--pidfile"] if pidfile else [])]
        self.words[0].chmod(0o755)
        if not pidfile:
            self.pidfile = None

    def notes(self, text):
        path = self.folder / "notes"
        return path.read_text().splitlines().count(text) if path.exists() else 0

    def master(self):
        held = holders(self.lock)
        return min(held) if held else None

    def everybody(self):
        return [self.master()]


@pytest.fixture
def plain(processes):
    def make(kind, *options, **more):
        server = Plain(processes, kind, **more)
        herd = Herd(server, "--dialect", "plain", *options, command=server.words, ready=False)
        herd.await_words("plain serves, master")
        eventually(lambda: server.notes("up"), "the server to be up")
        return server, herd

    return make


@pytest.mark.parametrize("pidfile", [False, True], ids=["by its lock alone", "with a pidfile"])
def test_three_reloads(plain, pidfile):
    server, herd = plain("quiet", "--settle", "50ms", pidfile=pidfile)
    waiter = Waiter(server, server.lock)
    master = server.master()
    for number in range(1, 4):
        verdict, line = herd.reload()
        assert verdict == "done" and f"master {master} " in line
        eventually(lambda: server.notes("HUP") == number, "the signal to arrive")
    assert server.master() == master and waiter.waiting()
    assert herd.stop() == 0
    assert waiter.result() == 0


@pytest.mark.parametrize("kind, reason", [("dies", "the master has ended"), ("default", "the master has ended")])
def test_server_that_dies_of_it(plain, kind, reason):
    """The verdict is failed, with the reason and the last lines, and the status 1."""
    server, herd = plain(kind, "--settle", "20s")
    verdict, line = herd.reload()
    assert verdict == "failed" and f"{reason}; no master lives" in line
    assert herd.result() == 1
    ended = "exited with status 3" if kind == "dies" else "was killed by SIGHUP"
    assert ended in herd.said()
    if kind == "dies":
        assert "the successor wrote: plain: the new configuration is broken" in herd.said()
    assert not holders(server.lock)


def test_server_that_says_when_it_is_ready(plain):
    """READY=1 is the end of it, long before the settle time."""
    _, herd = plain("ready", "--settle", "10min")
    for _ in range(2):
        verdict, line = herd.reload()
        assert verdict == "done", line
    assert herd.stop() == 0


def test_server_that_says_that_it_reloads(plain):
    """RELOADING=1 promises a READY=1, which is waited for."""
    server, herd = plain("speaks", "--settle", "0")
    herd.send(signal.SIGHUP)
    eventually(lambda: server.notes("HUP"), "the signal to arrive")
    (server.folder / "loaded").touch()
    verdict, line = herd.verdict(1)
    assert verdict == "done", line
    assert herd.stop() == 0


def test_server_that_never_becomes_ready(plain):
    _, herd = plain("never ready", "--settle", "200ms", "--ready-timeout", "1s")
    verdict, line = herd.reload()
    assert verdict == "failed" and "has said RELOADING=1, and never READY=1" in line
    assert "goes on" in line
    assert herd.stop() == 0


def test_probe_has_to_pass(plain):
    """H42."""
    server, herd = plain("quiet", "--settle", "50ms", "--ready-timeout", "1s",
                         "--probe", "exec:test -e allowed")  # fmt: skip
    verdict, line = herd.reload()
    assert verdict == "failed" and "probe 'exec:test -e allowed'" in line
    (server.folder / "allowed").touch()
    verdict, line = herd.reload()
    assert verdict == "done", line
    assert herd.stop() == 0


def test_check_comes_first(plain):
    server, herd = plain("quiet", "--settle", "50ms", "--check", "test -e allowed")
    assert herd.reload()[0] == "refused"
    assert server.notes("HUP") == 0
    (server.folder / "allowed").touch()
    assert herd.reload()[0] == "done"
    assert herd.stop() == 0


def test_dialect_that_was_asked_for(plain):
    """Whatever the server is called: it gets HUP, not what a unicorn would get."""
    server, herd = plain("quiet", "--settle", "50ms", program="unicorn", pidfile=True)
    verdict, line = herd.reload()
    assert verdict == "done" and server.notes("HUP") == 1
    assert herd.stop() == 0


@pytest.mark.parametrize("pidfile", [False, True], ids=["by its lock alone", "with a pidfile"])
def test_killed_herd_is_followed_by_another(plain, pidfile):
    """H37."""
    server, first = plain("quiet", "--settle", "50ms", pidfile=pidfile)
    master = server.master()
    first.process.kill()
    first.result()
    second = Herd(server, "--dialect", "plain", "--settle", "50ms", command=server.words)
    assert f"took over the running server, master {master}" in second.said()
    assert second.reload()[0] == "done"
    eventually(lambda: server.notes("HUP") == 1, "the signal to arrive")
    assert second.stop() == 0
    assert server.notes("up") == 1


def test_killed_server(plain):
    server, herd = plain("quiet")
    os.kill(server.master(), signal.SIGKILL)
    assert herd.result(READY) == 1
    assert "was killed by SIGKILL" in herd.said()


def test_server_that_does_not_stop(plain):
    server, herd = plain("deaf to TERM", "--stop-timeout", "300ms")
    master = server.master()
    herd.send(signal.SIGTERM)
    assert herd.result() == 0
    assert "killing what is left" in herd.said()
    assert not alive(master)
