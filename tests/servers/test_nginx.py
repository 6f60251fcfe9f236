"""nginx 1.22 under drover, by examples/nginx."""

import os
import signal

import pytest

from conftest import needs
from support.processes import eventually, holders
from support.scenarios import (
    hup_replaces_the_workers,
    kill_master_only,
    relay_is_a_main_process,
    said_of_the_dead_master,
    three_reloads_under_load,
)
from support.servers import Nginx, can_bind


@pytest.fixture
def server(processes):
    needs("nginx", "wrk")
    return Nginx(processes)


def test_three_hot_reloads_under_load(server):
    """S5, S9, S10."""
    three_reloads_under_load(server)


def test_relay_reloads_and_stops(server):
    relay_is_a_main_process(server, "SIGQUIT")


def test_orphaned_workers_serve_on(server):
    """S6: the master is dead, the service is not, and that is what is said."""
    server.launch()
    master, workers, (plain, relay) = kill_master_only(server)
    assert said_of_the_dead_master(server, relay, master) == len(workers)
    relay.signal(signal.SIGTERM)
    eventually(lambda: "cannot relay SIGTERM" in relay.said(), "a word about the dead master")
    assert f"names process {master}, which does not live" in relay.said()
    assert holders(server.lock) == set(workers)
    assert server.get() == 200
    assert not can_bind(server.port)
    assert plain.waiting() and relay.waiting()

    first, *others = workers
    for pid in others:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: holders(server.lock) == {first}, "one worker to be left")
    assert server.get() == 200
    assert plain.waiting() and relay.waiting()
    os.kill(first, signal.SIGKILL)
    assert plain.result() == 0 and relay.result() == 0
    assert can_bind(server.port)


def test_hup_replaces_the_workers(server):
    """S5."""
    hup_replaces_the_workers(server)
