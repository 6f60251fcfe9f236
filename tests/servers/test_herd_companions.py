"""drover-herd --companions: background processes beside a real server, in one process, on one control socket."""

import contextlib
import fcntl
import json
import os
import signal
import socket
import statistics

import pytest

from companions.copies import COPY, gaps
from conftest import needs
from support.herds import Herd
from support.processes import alive, context_switches, descendants, eventually, in_flock
from support.servers import READY, Gunicorn, Puma, Unicorn

RELOADS = int(os.environ.get("DROVER_RELOADS", "5"))

FILE = """
run_dir = "{run}"
[defaults]
startsecs = "0s"
[companion.clock]
command = ["sleep", "1000"]
reload = "with-server"
[companion.queue]
command = ["sleep", "1000"]
numprocs = 2
singleton = false
[companion.guest]
command = ["sleep", "1000"]
autostart = false
lock = "{run}/theirs.lock"
reload = "with-server"
"""


class HerdWithCompanions(Herd):
    def __init__(self, server, *options, text=FILE, **more):
        self.run_dir = server.folder / "run"
        file = server.folder / "companions.toml"
        file.write_text(text.format(run=self.run_dir))
        super().__init__(server, "--companions", file, *options, **more)

    def ctl(self, *words):
        return self.server.processes.run("drover-ctl", "-p", self.server.pidfile, *words, timeout=READY)

    def status(self):
        done = self.ctl("--json", "status")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def companions(self):
        """The newest copy of each: those that are being removed come behind all others."""
        return {each["name"]: each for each in reversed(self.status()["companions"])}

    def until(self, name, state):
        """Waits until the companion is in that state; returns its pid."""
        return eventually(
            lambda: (entry := self.companions()[name])["state"] == state and (entry["pid"] or -1),
            f"{name} to be {state}",
        )

    def ask(self, request):
        """As a client of gunicorn's companion manager does."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{self.server.pidfile}.sock")
            client.sendall(json.dumps(request).encode() + b"\n")
            with client.makefile("rb") as lines:
                return json.loads(lines.readline())


@pytest.fixture
def unicorn(processes):
    needs("unicorn")
    return Unicorn(processes)


def command_of(server):
    return ("unicorn", "-c", server.folder / "unicorn.rb")


def running(herd, *names):
    return {name: herd.until(name, "RUNNING") for name in names}


def test_with_the_server(unicorn):
    """They begin when it serves; a reload starts those anew that go with it; they end with it."""
    herd = HerdWithCompanions(unicorn, command=command_of(unicorn))
    before = running(herd, "clock", "queue:0", "queue:1")
    assert herd.companions()["guest"]["state"] == "STOPPED"
    verdict, line = herd.reload()
    assert verdict == "done", line
    eventually(lambda: herd.until("clock", "RUNNING") != before["clock"], "another clock")
    after = running(herd, "clock", "queue:0", "queue:1")
    assert not alive(before["clock"])
    assert {**after, "clock": 0} == {**before, "clock": 0}
    assert herd.stop() == 0
    assert not any(map(alive, after.values())), herd.said()


NOTE = """["sh", "-c", "echo begin $DROVER_COMPANION $$ >>{run}/notes; trap 'echo end $DROVER_COMPANION $$ >>{run}/notes; exit' TERM; sleep 1000 & wait"]"""
NOTING = f"""
run_dir = "{{run}}"
[defaults]
startsecs = "300ms"
reload = "with-server"
[companion.singleton]
command = {NOTE}
[companion.overlap]
command = {NOTE}
singleton = false
handover = "overlap"
[companion.stop-first]
command = {NOTE}
handover = "stop-first"
"""


def test_hand_over(unicorn):
    """A singleton is never two; "overlap" is never none; the old copies go."""
    herd = HerdWithCompanions(unicorn, text=NOTING, command=command_of(unicorn))
    names = ("singleton", "overlap", "stop-first")
    before = running(herd, *names)
    verdict, line = herd.reload()
    assert verdict == "done", line
    eventually(lambda: not any(map(alive, before.values())), "the old copies to go")
    after = running(herd, *names)
    assert [each["name"] for each in herd.status()["companions"]] == list(names)
    notes = (herd.run_dir / "notes").read_text().splitlines()
    for name in names:
        old, new = before[name], after[name]
        begin, end = notes.index(f"begin {name} {new}"), notes.index(f"end {name} {old}")
        assert (begin < end) == (name == "overlap"), notes
    assert herd.stop() == 0


BREAKABLE = """
run_dir = "{run}"
[companion.queue]
command = ["sh", "-c", "test ! -e {run}/broken && exec sleep 1000"]
singleton = false
reload = "with-server"
handover = "overlap"
startsecs = "300ms"
restart_delay = "100ms"
restart_max_delay = "100ms"
"""


def test_overlap_with_one_that_does_not_come_up(unicorn):
    """The old copy goes on until the new one runs."""
    herd = HerdWithCompanions(unicorn, text=BREAKABLE, command=command_of(unicorn))
    old = running(herd, "queue")["queue"]
    broken = herd.run_dir / "broken"
    broken.touch()
    verdict, line = herd.reload()
    assert verdict == "done", line
    herd.await_words("queue: .* -> BACKOFF")

    def states():
        return [(each["state"], each["pid"] == old) for each in herd.status()["companions"]]

    eventually(lambda: states() == [("BACKOFF", False), ("RUNNING", True)], "the back-off beside the old copy")
    broken.unlink()
    eventually(lambda: states() == [("RUNNING", False)], "the new copy alone")
    assert not alive(old)
    assert herd.stop() == 0


COPIES = """
[companion.job]
command = ["/usr/bin/python3", "-ISB", "copy.py", "tree"]
cwd = "{run}"
ready = "fd:3"
reload = "with-server"
"""


def herd_with_copies(server, command):
    run = server.folder / "run"
    run.mkdir(exist_ok=True)
    (run / "copy.py").write_text(COPY)
    text = 'run_dir = "{run}"\n' + COPIES
    return HerdWithCompanions(server, "--settle", "50ms", text=text, command=command)


def gaps_of(herd):
    return gaps((herd.run_dir / "notes").read_text().splitlines())


@pytest.mark.timeout(60 + 5 * RELOADS)
def test_singleton_through_reloads(processes):
    """companions 35: beside a real gunicorn it is never two."""
    needs("gunicorn")
    gunicorn = Gunicorn(processes)
    herd = herd_with_copies(gunicorn, ("gunicorn", "-c", gunicorn.folder / "gunicorn.conf.py"))
    for _ in range(RELOADS):
        old = herd.until("job", "RUNNING")
        verdict, line = herd.reload()
        assert verdict == "done", line
        eventually(lambda: herd.until("job", "RUNNING") != old, "another copy")
    assert herd.stop() == 0
    found = gaps_of(herd)
    assert len(found) == RELOADS
    print(f"{RELOADS} reloads, gap {statistics.median(found):.1f} ms at the median, {max(found):.1f} at most")


def test_singleton_through_a_crash(unicorn):
    """companions 37: the next herd's waits for what is left of the last one's."""
    first = herd_with_copies(unicorn, command_of(unicorn))
    first.until("job", "RUNNING")
    first.process.kill()
    first.result()
    second = herd_with_copies(unicorn, command_of(unicorn))
    second.until("job", "RUNNING")
    assert second.stop() == 0
    assert len(gaps_of(second)) == 1


def test_one_control_socket(unicorn):
    """The server's words and theirs; also a client of the original's."""
    herd = HerdWithCompanions(unicorn, command=command_of(unicorn))
    clock = running(herd, "clock", "queue:0", "queue:1")["clock"]
    status = herd.status()
    assert (status["state"], status["pid"]) == ("serving", herd.pid)
    shown = herd.ctl("status").stdout
    assert "unicorn" in shown and "queue:1" in shown
    names = [each["name"] for each in herd.ask({"cmd": "status"})["companions"]]
    assert names == ["clock", "queue:0", "queue:1", "guest"]
    hello = herd.ask({"cmd": "hello"})
    assert (hello["pid"], hello["socket"]) == (herd.pid, f"{unicorn.pidfile}.sock")
    assert herd.ctl("stop", "clock").returncode == 0
    assert not alive(clock) and unicorn.get() == 200
    assert "STOPPED" in herd.ctl("why", "clock").stdout
    assert herd.ctl("start", "clock").returncode == 0
    assert herd.ctl("signal", "clock", "KILL").returncode == 0
    eventually(lambda: herd.companions()["clock"]["state"] == "BACKOFF", "the back-off")
    assert herd.ctl("restart", "clock").returncode == 0
    assert herd.ctl("stop", "nobody").returncode == 1
    refused = herd.ask({"cmd": "shutdown"})
    assert not refused["ok"] and "end with the server" in refused["error"]
    assert "companion: clock: STOPPING -> STOPPED" in herd.ctl("-w", "1s", "events", "--since", "0").stdout
    assert herd.ctl("stop").returncode == 0
    assert herd.result(READY) == 0
    assert not descendants(herd.pid)


def test_failed_reload_leaves_them(unicorn):
    """Also one that was started meanwhile and waits for its lock: it looks like a worker of the new
    master's whom that has left behind."""
    herd = HerdWithCompanions(unicorn, "--ready-timeout", "4s", command=command_of(unicorn))
    before = running(herd, "clock", "queue:0")
    with open(herd.run_dir / "theirs.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        (unicorn.folder / "config.ru").write_text("sleep 1000\n")
        herd.send(signal.SIGHUP)
        herd.await_words("reload 1: asked for")
        assert herd.ask({"cmd": "start", "name": "guest"})["ok"]
        guest = herd.until("guest", "WAITING")
        eventually(lambda: in_flock(guest), "the guest to wait")
        verdict, line = herd.verdict(1)
        assert verdict == "failed", line
        assert running(herd, "clock", "queue:0") == before
        assert alive(guest) and in_flock(guest), herd.said()
    assert herd.until("guest", "RUNNING") == guest
    assert herd.stop() == 0


def test_server_that_dies_takes_them_along(unicorn):
    herd = HerdWithCompanions(unicorn, command=command_of(unicorn))
    companions = running(herd, "clock", "queue:0", "queue:1").values()
    unicorn.kill_everything()
    assert herd.result(READY) == 1, herd.said()
    assert not any(map(alive, companions)), herd.said()


def test_they_are_not_taken_for_the_server(processes):
    """puma drops the lock, which the herd keeps then: the service is what lives below the herd."""
    needs("puma")
    puma = Puma(processes)
    herd = HerdWithCompanions(puma, command=("puma", "-C", puma.folder / "puma.rb"))
    companions = running(herd, "clock", "queue:0", "queue:1").values()
    verdict, line = herd.reload()
    assert verdict == "done", line
    for pid in (puma.master(), *descendants(puma.master())):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert herd.result(READY) == 1, herd.said()
    assert not any(map(alive, companions)), herd.said()


def test_next_herd_has_them_again(unicorn):
    """They die with a herd that is killed, and the server does not."""
    first = HerdWithCompanions(unicorn, command=command_of(unicorn))
    before = running(first, "clock", "queue:0").values()
    first.process.kill()
    first.result()
    eventually(lambda: not any(map(alive, before)), "them to go")
    second = HerdWithCompanions(unicorn, command=command_of(unicorn))
    assert "took over the running server" in second.said()
    running(second, "clock", "queue:0", "queue:1")
    assert second.stop() == 0


def test_file_that_is_none(unicorn):
    """Refused before anything is started."""
    herd = HerdWithCompanions(unicorn, text="[companion.clock]\ncomand = 1\n", ready=False, command=command_of(unicorn))
    assert herd.result() == 65
    assert "companions.toml:2': unknown key 'comand'" in herd.said() and "did you mean 'command'" in herd.said()
    assert unicorn.master() is None


def test_log_rotation(unicorn):
    """USR1 is for both."""
    logs = FILE.replace('startsecs = "0s"', 'startsecs = "0s"\nstdout = "{run}/log"')
    herd = HerdWithCompanions(unicorn, text=logs, command=command_of(unicorn))
    running(herd, "clock")
    (herd.run_dir / "log").rename(herd.run_dir / "log.1")
    herd.send(signal.SIGUSR1)
    eventually((herd.run_dir / "log").exists, "another log")
    assert "passed SIGUSR1 to master" in herd.said()
    assert herd.stop() == 0


def test_idle(unicorn):
    """Nobody wakes for them."""
    herd = HerdWithCompanions(unicorn, command=command_of(unicorn))
    running(herd, "clock", "queue:0", "queue:1")

    def rests():
        before = context_switches(herd.pid)
        try:
            eventually(lambda: context_switches(herd.pid) != before, "a switch", 3)
        except AssertionError:
            return True
        return False

    eventually(rests, "three seconds without a switch", READY)
    assert herd.stop() == 0
