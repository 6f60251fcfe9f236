"""gunicorn 20 under drover, by examples/gunicorn."""

import pytest

from conftest import needs
from support.processes import alive, holders
from support.scenarios import (
    hup_replaces_the_workers,
    kill_master_only,
    relay_is_a_main_process,
    said_of_the_dead_master,
    three_reloads_under_load,
)
from support.servers import READY, Gunicorn, can_bind


@pytest.fixture
def server(processes):
    needs("gunicorn", "wrk")
    return Gunicorn(processes)


def test_three_hot_reloads_under_load(server):
    """S5, S9, S10. There is always a request in flight: a quick stop of the old master (QUIT) fails
    this test."""
    server.edit("app.py", "    body =", "    time.sleep(0.02)\n    body =")
    server.edit("app.py", "import os", "import os\nimport time")
    three_reloads_under_load(server)


def test_relay_reloads_and_stops(server):
    relay_is_a_main_process(server, "SIGTERM")


def test_orphaned_workers_hold_lock_and_port(server):
    """S7: not free before the last worker has gone; then the port can be had at once."""
    server.launch()
    master, workers, waiters = kill_master_only(server)
    assert 1 <= said_of_the_dead_master(server, waiters[1], master) <= len(workers)
    assert not can_bind(server.port)
    assert server.get() == 200
    assert holders(server.lock) >= {pid for pid in workers if alive(pid)}
    for waiter in waiters:
        assert waiter.result(READY) == 0
        assert not any(map(alive, workers))
    assert can_bind(server.port)


def test_hup_replaces_the_workers(server):
    """S5."""
    hup_replaces_the_workers(server)
