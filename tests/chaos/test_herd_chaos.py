"""drover-herd under random faults: kill -9 of it, of masters, of workers, of drover-output, and signals,
at random moments. After each round, once all is at rest, the service is there, in one generation, or it
is cleanly down; nobody else got a signal.

DROVER_CHAOS_ROUNDS=200 for a long run, DROVER_CHAOS_SEED=N to repeat one."""

import json
import os
import random
import signal
import time

import pytest

from conftest import needs
from support.flocks import command_name
from support.herds import Herd
from support.prefork import Prefork
from support.processes import alive, children, descendants, eventually, holders
from support.servers import READY, Gunicorn, Nginx, Unicorn, can_bind, living_children, read_pid

ROUNDS = int(os.environ.get("DROVER_CHAOS_ROUNDS", "20"))
SEED = int(os.environ.get("DROVER_CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
REST = 60  # a round ends, or it hangs
RECORDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), "support", "recorder.py")

LIMITS = ("--ready-timeout", "10s", "--drain-timeout", "10s", "--stop-timeout", "20s", "--settle", "200ms")
COMMANDS = {
    Prefork: lambda server: server.command(),
    Unicorn: lambda server: ("unicorn", "-c", server.folder / "unicorn.rb"),
    Gunicorn: lambda server: ("gunicorn", "-c", server.folder / "gunicorn.conf.py"),
    Nginx: lambda server: ("nginx", "-c", server.folder / "nginx.conf"),
}


class Chaos:
    """One service, whoever does things to it, and what has been done to it in this round."""

    def __init__(self, server, dice):
        self.server = server
        self.dice = dice
        self.herd = None
        self.story = []
        self.others = set(descendants(os.getpid()))

    # What happens to it

    def start(self):
        self.herd = Herd(
            self.server, *LIMITS, command=COMMANDS[type(self.server)](self.server), ready=False
        )

    def kill_herd(self):
        """And a supervisor starts it anew, at once."""
        if self.herd.running():
            self.herd.process.kill()
            self.herd.result()
            self.start()

    def kill_output(self):
        for child in children(self.herd.pid):
            if command_name(child) == "drover-output":
                self.kill(child)

    def kill_one(self):
        everybody = self.flock()
        if everybody:
            self.kill(self.dice.choice(sorted(everybody)))

    def kill_worker(self):
        workers = [pid for master in self.masters() for pid in living_children(master)]
        if workers:
            self.kill(self.dice.choice(sorted(workers)))

    def kill_master(self):
        masters = self.masters()
        if masters:
            self.kill(self.dice.choice(masters))

    def kill_successor(self):
        masters = self.masters()
        if len(masters) > 1:
            self.kill(masters[-1])

    def quit_master(self):
        masters = self.masters()
        if masters:
            os.kill(masters[-1], signal.SIGQUIT)

    def hostile_pidfile(self):
        suffix = self.dice.choice((".oldbin", ".2"))
        path = self.server.pidfile.with_name(self.server.pidfile.name + suffix)
        if not path.exists():
            path.write_text(f"{self.stranger.pid}\n")

    def send(self, number):
        """Not before it takes signals: until then they would do what they do to any program."""
        eventually(lambda: not self.herd.running() or is_blocked(self.herd.pid, number), "it to take signals")
        if self.herd.running():
            self.herd.send(number)

    def kill(self, pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    # What can be seen of it

    def masters(self):
        """Those that the pidfiles name, the latest last."""
        found = []
        for suffix in (".oldbin", "", ".2"):
            pid = read_pid(self.server.pidfile.with_name(self.server.pidfile.name + suffix))
            if pid and pid != self.stranger.pid and alive(pid) and pid not in found:
                found.append(pid)
        return found

    def flock(self):
        """All living processes of the server, by their ancestry alone."""
        ours = {self.herd.pid, self.stranger.pid} | self.others
        return {
            pid
            for pid in descendants(os.getpid())
            if pid not in ours and alive(pid) and command_name(pid) not in ("drover-output", "drover-herd", "drover-ctl")
        }  # fmt: skip

    def status(self):
        done = self.server.processes.run(
            "drover-ctl", "-p", self.server.pidfile, "--json", "--wait", "10s", "status"
        )
        return json.loads(done.stdout) if done.returncode == 0 else None

    def done(self, *names):
        return any(name in names for name in self.story)

    # The end of a round

    def at_rest(self):
        """True when there is nothing left to wait for; fails for what no time will mend."""
        if not self.herd.running():
            return True
        if any(signals_of(self.herd.pid, "SigPnd", "ShdPnd")):
            return False
        status = self.status()
        if not status or status["queued"] or not self.all_verdicts():
            return False
        if status["state"] == "orphaned":  # nginx's workers stay for ever
            self.story.append("TERM")
            self.send(signal.SIGTERM)
            return False
        if status["state"] != "serving" or not status["generations"]:
            return False
        if len(status["generations"]) > 1:
            self.finish_operators_reload(status)
            return False
        master = status["generations"][0]["master"]
        everybody = self.flock()
        tree = {master, *descendants(master)}
        self.end_orphans(everybody - tree)
        return (
            {pid for pid in tree if alive(pid)} == everybody == holders(self.server.lock)
            and self.server.master() == master
            and len(living_children(master)) > 0
            and self.server.get() == 200
        )

    def end_orphans(self, pids):
        """nginx's workers serve on for ever: who kills a master by hand, or the herd in a reload, when
        another one goes on has to end them."""
        if type(self.server) is Nginx and self.done("USR2", "kill_herd") and self.done("kill_master", "kill_one"):
            for pid in pids:
                self.kill(pid)

    def finish_operators_reload(self, status):
        """Who sends USR2 by hand has to retire the old one, too; once, and not what a reload of the
        herd's has left."""
        assert self.done("USR2"), f"two generations: {status}"
        if "retired by hand" in self.story:
            return
        self.story.append("retired by hand")
        old, new = (each["master"] for each in status["generations"][-2:])
        eventually(lambda: living_children(new) or not alive(new), "its workers")
        if alive(new) and alive(old):
            self.server.retire(old)

    def check_down(self):
        status = self.herd.result()
        killed = self.done("kill_master", "kill_one", "kill_herd", "kill_successor", "quit_master", "USR2")
        if "the server did not start" in self.herd.said():
            assert status != 0, f"status {status}"
        elif not self.done("TERM", "QUIT", "INT"):
            assert status == 1, f"status {status}"
        elif not killed:
            assert status == 0, f"status {status}"
        else:
            assert status in (0, 1), f"status {status}"
        assert not self.flock(), "processes are left"
        assert not holders(self.server.lock)
        assert can_bind(self.server.port)

    def all_verdicts(self):
        """Every reload has one."""
        return self.herd.said().count(": asked for by ") == len(self.herd.verdicts())

    def round(self, number):
        self.story = []
        if self.herd is None or not self.herd.running():
            self.story.append("start")
            self.start()
            if self.dice.random() < 0.8:
                self.herd.await_words(" serves, master ")
        for _ in range(self.dice.randint(1, 4)):
            self.one_thing()
            pause = self.dice.choice((0, 0.02, 0.1, 0.4, 1)) * self.dice.random()
            end = time.monotonic() + pause
            eventually(lambda: time.monotonic() >= end, "its moment")
        try:
            eventually(self.at_rest, "rest", REST)
            if not self.herd.running():
                self.check_down()
            assert self.all_verdicts(), "a reload without a verdict"
            assert self.stranger.poll() is None
            assert self.record.read_text() == "ready\n", "a stranger was signalled"
        except AssertionError as failure:
            raise AssertionError(f"round {number}, seed {SEED}, {self.story}: {failure}\n{self.told()}") from None

    def told(self):
        logs = sorted(self.server.processes.folder.glob("herd*"), key=lambda path: path.stat().st_mtime)
        return "\n".join(f"-- {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in logs[-3:])

    def one_thing(self):
        name = self.dice.choices(list(THINGS), [weight for weight, _ in THINGS.values()])[0]
        if name == "TTOU":  # without workers nobody serves
            workers = [len(living_children(master)) for master in self.masters()]
            if self.done("TTOU") or min(workers, default=0) < 2:
                name = "TTIN"
        self.story.append(name)
        THINGS[name][1](self)

    def watch_with(self, folder):
        """A process beside it that would write down any signal."""
        self.record = folder / "record"
        self.stranger = self.server.processes.start("/usr/bin/python3", "-I", RECORDER, self.record, "-")
        eventually(lambda: self.record.exists() and self.record.read_text() == "ready\n", "the recorder")

    def stop(self):
        if self.herd and self.herd.running():
            self.herd.send(signal.SIGTERM)
            assert self.herd.result(READY) == 0, self.told()
        assert not holders(self.server.lock)


def signals_of(pid, *names):
    """These masks of the process; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/status") as file:
            return [int(line.split()[1], 16) for line in file if line.startswith(names)]
    except OSError:
        return [0]


def is_blocked(pid, number):
    return sum(signals_of(pid, "SigBlk")) >> (number - 1) & 1


def signalled(name):
    return lambda chaos: chaos.send(getattr(signal, f"SIG{name}"))


THINGS = {
    "HUP": (12, signalled("HUP")),
    "USR2": (2, signalled("USR2")),
    "USR1": (3, signalled("USR1")),
    "TTIN": (2, signalled("TTIN")),
    "TTOU": (2, signalled("TTOU")),
    "TERM": (2, signalled("TERM")),
    "QUIT": (1, signalled("QUIT")),
    "INT": (1, signalled("INT")),
    "kill_herd": (6, Chaos.kill_herd),
    "kill_output": (3, Chaos.kill_output),
    "kill_worker": (4, Chaos.kill_worker),
    "kill_master": (2, Chaos.kill_master),
    "kill_successor": (3, Chaos.kill_successor),
    "kill_one": (2, Chaos.kill_one),
    "quit_master": (1, Chaos.quit_master),
    "hostile_pidfile": (2, Chaos.hostile_pidfile),
}


@pytest.mark.timeout(60 + 20 * ROUNDS)
@pytest.mark.parametrize("kind", [Prefork, Unicorn, Gunicorn, Nginx], ids=lambda kind: kind.name)
def test_random_faults(processes, folder, kind):
    if kind is not Prefork:
        needs(kind.name)
    print(f"seed {SEED}")
    chaos = Chaos(kind(processes), random.Random(SEED))
    chaos.watch_with(folder)
    try:
        for number in range(ROUNDS):
            chaos.round(number)
        chaos.stop()
    finally:
        chaos.stranger.kill()
        chaos.stranger.wait()
