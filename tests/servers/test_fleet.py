"""examples/fleet: herds that reload one at a time, by a lock in a real etcd."""

import copy
import json

import pytest

from conftest import needs
from support.herds import Herd
from support.prefork import Prefork
from support.processes import alive, eventually
from support.servers import READY, ROOT, free_port

FLEET = "/fleet/app"
RELOAD = ROOT / "examples" / "fleet" / "reload.sh"


class Etcd:
    def __init__(self, processes):
        self.processes = processes
        self.url, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        with open(processes.folder / "etcd.log", "w") as log:
            self.process = processes.start(
                "etcd", "--data-dir", processes.folder / "etcd",
                "--listen-client-urls", self.url, "--advertise-client-urls", self.url,
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", f"default={peer}", stdout=log, stderr=log,
            )  # fmt: skip
        eventually(lambda: self.ctl("endpoint", "health").returncode == 0, "etcd to serve", READY)

    def stop(self):
        self.process.terminate()
        self.process.wait(READY)

    def environment(self):
        return {"ETCDCTL_API": "3", "ETCDCTL_ENDPOINTS": self.url}

    def ctl(self, *words):
        return self.processes.run("etcdctl", *words, env=self.environment())


class Machine:
    """A server with a herd, in a folder of its own."""

    def __init__(self, processes, name):
        own = copy.copy(processes)
        own.folder = processes.folder / name
        own.folder.mkdir()
        self.server = Prefork(own)
        self.faults = self.server.folder / "faults"
        self.faults.touch()
        self.trace = own.folder / "trace.json"
        command = self.server.command("--log", self.server.output, "--fault-file", self.faults)
        self.herd = Herd(self.server, "--settle", "100ms", "--trace", self.trace, command=command)

    def words(self):
        return (RELOAD, FLEET, "-p", self.server.pidfile)

    def interval(self):
        """When its reload ran, by a clock that all machines share here."""
        steps = json.loads(self.trace.read_text().rstrip().rstrip(",") + "]")
        return min(step["ts"] for step in steps), max(step["ts"] + step["dur"] for step in steps)


@pytest.fixture
def etcd(processes):
    needs("etcd", "etcdctl")
    etcd = Etcd(processes)
    yield etcd
    etcd.stop()


@pytest.fixture
def machines(processes):
    machines = [Machine(processes, f"machine{number}") for number in range(3)]
    yield machines
    for machine in machines:
        machine.herd.stop()


def test_one_at_a_time(processes, etcd, machines):
    before = [machine.server.master() for machine in machines]
    reloads = [processes.start(*machine.words(), env=etcd.environment()) for machine in machines]
    for reload in reloads:
        _, errors = reload.communicate(timeout=READY)
        assert reload.returncode == 0, errors
    assert not any(map(alive, before))
    intervals = sorted(machine.interval() for machine in machines)
    assert all(end <= begin for (_, end), (begin, _) in zip(intervals, intervals[1:])), intervals


def test_broken_release_stops_the_rollout(processes, etcd, machines):
    def reload(machine):
        return processes.run(*machine.words(), env=etcd.environment(), timeout=READY)

    before = [machine.server.master() for machine in machines]
    machines[0].faults.write_text("boot-failure")
    assert reload(machines[0]).returncode == 1
    for machine in machines[1:]:
        refused = reload(machine)
        assert refused.returncode == 1
        assert "not reloaded: the rollout was stopped by" in refused.stderr
    assert all(machine.server.get() == 200 for machine in machines)
    assert [machine.server.master() for machine in machines] == before
    machines[0].faults.write_text("")
    assert etcd.ctl("del", f"{FLEET}/stopped").returncode == 0
    for machine in machines:
        done = reload(machine)
        assert done.returncode == 0, done.stderr
    assert not any(map(alive, before))


def test_without_etcd(processes, etcd, machines):
    etcd.stop()
    before = machines[0].server.master()
    failed = processes.run(*machines[0].words(), env=etcd.environment(), timeout=READY)
    assert failed.returncode == 1 and failed.stderr
    assert machines[0].server.master() == before


def test_too_few_words(processes):
    done = processes.run(RELOAD, FLEET)
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr.startswith("usage: ")
