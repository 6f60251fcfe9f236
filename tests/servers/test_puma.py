"""puma 5 under drover, by examples/puma. It restarts in place: same pid, no inherited descriptor."""

import os
import signal

import pytest

from conftest import needs
from support.processes import alive, descendants, eventually, holders
from support.servers import READY, Puma, Waiter, living_children

# Each boot of a master has a name of its own, which its workers inherit.
NAMED_BOOT = 'require "securerandom"\nENV["BOOT"] = SecureRandom.hex\n'


@pytest.fixture(params=["workers 0", "workers 2"])
def server(request, processes):
    needs("puma")
    puma = Puma(processes)
    puma.edit("puma.rb", "workers 2", f"{request.param}\n{NAMED_BOOT}")
    puma.edit("config.ru", "hello from #{Process.pid}", '#{ENV["BOOT"]}')
    return puma


def restart(server):
    """USR2, until another boot of the application answers; the pid stays."""
    master = server.master()
    _, before = server.ask()
    os.kill(master, signal.SIGUSR2)

    def another_boot():
        status, now = server.ask()
        return status == 200 and now != before

    eventually(another_boot, server.with_log("the restart"), READY)
    assert server.master() == master
    return master


def test_hot_restart_under_guard(server):
    """S4: no false death, and a real one right after is seen."""
    server.launch_in_foreground()
    waiters = [Waiter(server, server.lock), Waiter(server, "--relay", server.pidfile)]
    for _ in range(2):
        master = restart(server)
        assert holders(server.lock) == {server.parent.pid}, "puma keeps descriptors now: simplify the example"
        assert all(waiter.waiting() for waiter in waiters), [waiter.said() for waiter in waiters]
    everybody = descendants(server.parent.pid)
    os.kill(master, signal.SIGKILL)
    assert [waiter.result() for waiter in waiters] == [0, 0]
    assert not any(map(alive, everybody))
    assert server.parent.wait() == 128 + signal.SIGKILL


def test_relay_stops_a_restarted_puma(server):
    """Also a relay that was started when puma itself had lost the lock already."""
    server.launch_in_foreground()
    early = Waiter(server, "--relay", server.pidfile)
    restart(server)
    late = Waiter(server, "--relay", server.pidfile)
    late.signal(signal.SIGTERM)
    eventually(lambda: "SIGTERM" in late.said(), "what became of the signal")
    assert "passed SIGTERM to master" in late.said()
    assert early.result(READY) == 0 and late.result(READY) == 0
    server.parent.wait(READY)


def test_hot_restart_with_the_hook(server):
    """S4: nobody holds between the exec and the hook; --grace bridges the gap."""
    server.launch_in_foreground("puma", "-C", server.folder / "puma-hook.rb")
    waiter = Waiter(server, "--grace", "20s", server.lock)
    master = restart(server)
    eventually(lambda: "has a successor" in waiter.said(), "the gap to be seen and bridged")
    assert waiter.waiting()
    assert master in holders(server.lock)
    os.kill(master, signal.SIGKILL)
    assert waiter.result(READY) == 0
    server.parent.wait(READY)


@pytest.mark.parametrize("prefix", [["drover-hold"], ["drover-hold", "--guard"]])
def test_phased_restart(processes, prefix):
    """S5: USR1, worker by worker, under the same master."""
    needs("puma")
    server = Puma(processes)
    server.launch_in_foreground(*prefix, server.lock, "puma", "-C", server.folder / "puma.rb")
    waiter = Waiter(server, server.lock)
    master = server.master()
    eventually(lambda: len(living_children(master)) == 2, "two workers", READY)
    server.replace_workers(signal.SIGUSR1)
    assert holders(server.lock) >= {master, *living_children(master)}
    assert waiter.waiting()
    os.kill(master, signal.SIGTERM)
    assert waiter.result(READY) == 0
    server.parent.wait(READY)
