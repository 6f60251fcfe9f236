"""drover-herd over the embedded server, with a release that is broken on demand."""

import os
import signal

import pytest

from support.herds import Herd
from support.prefork import Prefork, title
from support.processes import alive, eventually, holders
from support.servers import READY, Load, Waiter, living_children


class PreforkHerd(Prefork):
    def command(self, *options):
        faults = ("--fault-file", self.folder / "faults")
        return super().command("--log", self.output, *faults, *options)

    def fault(self, words=""):
        """What is wrong with the next boot."""
        (self.folder / "faults").write_text(words)


@pytest.fixture
def prefork(processes):
    with PreforkHerd(processes) as server:
        server.fault()
        yield server


def start_herd(server, *options, words=()):
    return Herd(server, *options, command=server.command(*words))


def reload_well(server, herd):
    verdict, line = herd.reload()
    assert verdict == "done", f"{line}\n{herd.said()}\n{server.log()}"


def goes_on(server, before):
    assert set(server.everybody()) == set(before)
    assert server.get() == 200
    assert holders(server.lock) == set(before)


def leaves(server, pids):
    eventually(lambda: not any(map(alive, pids)), server.with_log(f"{pids} to leave"), READY)


def test_three_reloads_under_load(prefork):
    """H28: for a slow boot there is time enough."""
    herd = start_herd(prefork)
    waiter = Waiter(prefork, prefork.lock)
    load = Load(prefork)
    for fault in ("", "slow-boot=1", ""):
        prefork.fault(fault)
        before = prefork.everybody()
        reload_well(prefork, herd)
        after = prefork.everybody()
        assert not set(before) & set(after)
        assert holders(prefork.lock) == set(after)
        assert waiter.waiting()
    _, failed, words = load.finish()
    assert failed == 0, f"{words}\n{herd.said()}\n{prefork.log()}"
    assert herd.stop() == 0
    assert waiter.result() == 0


@pytest.mark.parametrize(
    "fault, reason",
    [("boot-failure", "the successor has ended"), ("hang-boot", "not ready in 2 s"),
     ("slow-boot=1000", "not ready in 2 s"), ("worker-failure", "the successor has ended"),
     ("crash-workers", ""), ("hang-worker", "not ready in 2 s")],
    ids=lambda value: value or "any",
)  # fmt: skip
def test_broken_release(prefork, fault, reason):
    """H29: the old generation goes on, nobody of the new one is left, and the next reload works."""
    herd = start_herd(prefork, "--ready-timeout", "2s", "--drain-timeout", "4s")
    before = prefork.everybody()
    load = Load(prefork)
    prefork.fault(fault)
    verdict, line = herd.reload()
    assert verdict == "failed" and reason in line, f"{line}\n{prefork.log()}"
    goes_on(prefork, before)
    prefork.fault()
    reload_well(prefork, herd)
    assert not any(map(alive, before))
    _, failed, words = load.finish()
    assert failed == 0, f"{words}\n{herd.said()}\n{prefork.log()}"
    assert herd.stop() == 0


def test_old_generation_that_ignores_quit(prefork):
    """It is cut off at the drain limit, and that is said."""
    prefork.fault("ignore-quit")
    herd = start_herd(prefork, "--drain-timeout", "500ms", "-v")
    before = prefork.everybody()
    prefork.fault()
    reload_well(prefork, herd)
    assert not any(map(alive, before))
    assert prefork.get() == 200
    assert herd.stop() == 0


@pytest.mark.parametrize("fault", ["close-descriptors", "close-all-descriptors"])
def test_program_that_closes_descriptors(prefork, fault):
    """Nobody else sees a false death: what closes even the high ones has the herd to keep the lock."""
    prefork.fault(fault)
    herd = start_herd(prefork)
    waiter = Waiter(prefork, prefork.lock)
    for _ in range(2):
        reload_well(prefork, herd)
        assert waiter.waiting()
    lost = fault == "close-all-descriptors"
    assert holders(prefork.lock) == ({herd.pid} if lost else set(prefork.everybody()))
    assert ("keeping the lock for it" in herd.said()) == lost
    assert herd.stop() == 0
    assert waiter.result() == 0


def test_program_that_lost_its_lock_is_followed_to_its_end(prefork):
    """The herd that keeps the lock lets go when the server has ended; when it is killed itself, the
    next one finds the server by its pidfile."""
    prefork.fault("close-all-descriptors")
    first = start_herd(prefork)
    reload_well(prefork, first)
    first.process.kill()
    first.result()
    second = start_herd(prefork)
    assert f"took over the running server, master {prefork.master()}" in second.said()
    second.await_words("keeping the lock for it")
    waiter = Waiter(prefork, prefork.lock)
    os.kill(prefork.master(), signal.SIGQUIT)
    assert second.result(READY) == 1
    assert waiter.result() == 0


def leaked(server):
    """The child that a worker has left: it is none of the master's, and holds the lock."""
    everybody = {server.master(), *living_children(server.master())}
    return [pid for pid in holders(server.lock) if pid not in everybody]


def test_leaked_child(prefork):
    """S16: it holds the lock; it neither hinders a reload nor outlives a stop."""
    prefork.fault("leak-child")
    herd = start_herd(prefork)
    before = {prefork.master(), *living_children(prefork.master())}
    eventually(lambda: leaked(prefork), "the child to be left")
    prefork.fault()
    reload_well(prefork, herd)
    assert not any(map(alive, before))
    children = leaked(prefork)
    assert children
    master = prefork.master()
    herd.send(signal.SIGTERM)
    assert herd.result(READY) == 0
    leaves(prefork, [master, *children])
    assert not holders(prefork.lock)


def test_leaked_child_when_the_server_ends(prefork):
    """S16: it is what is left of the service, and is seen to."""
    prefork.fault("leak-child")
    herd = start_herd(prefork, "--orphans", "kill")
    child = eventually(lambda: leaked(prefork), "the child to be left")
    os.kill(prefork.master(), signal.SIGQUIT)
    herd.await_words("no master lives; processes that still hold")
    assert herd.result(READY) == 1
    leaves(prefork, child)


def test_killed_server_and_killed_herd(prefork):
    """S9, H37."""
    first = start_herd(prefork)
    master = prefork.master()
    first.process.kill()
    first.result()
    second = start_herd(prefork)
    reload_well(prefork, second)
    assert not alive(master)
    killed = prefork.kill_everything()
    assert second.result() == 1
    leaves(prefork, killed)


def test_first_start_that_fails(prefork):
    """H26: the server's own status, and nobody is left."""
    prefork.fault("boot-failure")
    herd = Herd(prefork, command=prefork.command(), ready=False)
    assert herd.result(READY) == 71
    assert "the server did not start" in herd.said()
    assert not any(title(pid).startswith("prefork") for pid in prefork.processes.left())
