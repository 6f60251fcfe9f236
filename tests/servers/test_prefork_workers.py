"""prefork: workers that hang, crash, are left alone or leave something behind."""

import os
import re
import resource
import signal
import time
from datetime import datetime

import pytest

from support.flocks import IN_SANITIZER_BUILD
from support.prefork import clients, read_all, request, server, title  # noqa: F401
from support.processes import LIMIT, PAUSE, alive, blocked_in_call, context_switches, descendants, holders
from support.servers import Waiter, can_bind

POLL = "7"  # x86_64


def test_hanging_worker_is_killed_and_replaced(server, clients):
    server.serve("--timeout", "4s")
    before = set(server.workers_of(server.process.pid))
    answer = clients.submit(server.ask, "/hang")
    busy = server.busy_worker(call=PAUSE)
    assert server.get() == 200, "the other worker serves"
    server.until(lambda: not alive(busy), "the hanging worker to be killed")
    assert answer.result()[0] == 0
    after = set(server.await_workers(2))
    assert before & after == before - {busy}
    assert server.get() == 200
    assert re.search(rf"process {busy}, is overdue: killing it", server.log())


def test_long_request_within_the_timeout_is_left_alone(server, clients):
    """Nor is it the sum of several that counts."""
    server.serve("--timeout", "6s", "--workers", "1")
    answers = [clients.submit(server.ask, "/slow?ms=1600") for _ in range(4)]
    assert [answer.result()[0] for answer in answers] == [200] * 4
    assert "overdue" not in server.log()


def test_crashed_worker_is_replaced(server):
    server.serve()
    first, second = server.workers_of(server.process.pid)
    server.tell(signal.SIGKILL, first)
    server.until(lambda: not alive(first), "it to die")
    workers = server.await_workers(2)
    assert second in workers
    assert first not in workers
    assert "was killed by SIGKILL" in server.log()


def moments(server, text):
    """When each line with the text was written, in seconds."""
    lines = [line for line in server.log().splitlines() if text in line]
    return [datetime.fromisoformat(line.split("Z ")[0]).timestamp() for line in lines]


def test_workers_that_crash_at_once_are_started_more_and_more_seldom(server):
    server.serve("--workers", "1", "--fault", "crash-workers")
    server.until(lambda: len(moments(server, "worker[0]: up")) >= 5, "five starts")
    starts = moments(server, "worker[0]: up")
    gaps = [later - earlier for earlier, later in zip(starts, starts[1:5])]
    for gap, least in zip(gaps, (0.1, 0.2, 0.4, 0.8)):
        assert gap >= least - 0.01, gaps
    assert alive(server.process.pid)


def test_workers_outlive_their_master_only_for_the_request_in_flight(server):
    server.serve("--timeout", "300s")
    answer = server.begin_request()
    workers = server.workers_of(server.process.pid)
    server.process.kill()
    server.until(lambda: sum(map(alive, workers)) == 1, "the idle worker to leave")
    (busy,) = filter(alive, workers)
    assert not can_bind(server.port)
    assert answer.finish() == (200, busy)
    server.until(lambda: not alive(busy), "the busy worker to leave")
    assert can_bind(server.port)


def test_hanging_worker_without_a_master_ends_as_well(server, clients):
    server.serve("--timeout", "4s", "--workers", "1")
    answer = clients.submit(server.ask, "/hang")
    busy = server.busy_worker(call=PAUSE)
    server.process.kill()
    server.until(lambda: not alive(busy), "its own alarm")
    assert answer.result()[0] == 0


def test_leaked_child_keeps_lock_and_port(server):
    """S16: everybody is gone, and yet the service is not."""
    server.launch("--fault", "leak-child")
    waiter = Waiter(server, server.lock)
    everybody = server.everybody()
    (leaked,) = [pid for pid in everybody if title(pid) == "prefork leaked child"]
    server.tell(signal.SIGQUIT)
    server.until(lambda: [pid for pid in everybody if alive(pid)] == [leaked], "the others to leave")
    assert holders(server.lock) == {leaked}
    assert waiter.waiting()
    assert not can_bind(server.port)
    os.kill(leaked, signal.SIGKILL)
    assert waiter.result() == 0
    assert can_bind(server.port)


def test_preloaded_memory_is_shared(server):
    """Loaded before fork(2): the workers' copies are the master's pages."""
    server.serve("--preload-mb", "64")
    (first, _) = server.workers_of(server.process.pid)

    def kilobytes(field):
        with open(f"/proc/{first}/smaps_rollup") as file:
            return sum(int(line.split()[1]) for line in file if line.startswith(field))

    assert kilobytes("Shared_Dirty") >= 64 * 1024
    assert kilobytes("Private_Dirty") < 8 * 1024


def test_more_clients_than_workers(server, clients):
    server.serve("--workers", "1")
    answers = [clients.submit(server.ask, "/slow?ms=5") for _ in range(40)]
    assert [answer.result()[0] for answer in answers] == [200] * 40


@pytest.mark.skipif(IN_SANITIZER_BUILD, reason="the sanitizer's checks need a descriptor")
def test_no_descriptor_is_left_for_a_connection(server):
    """The client waits in the queue, is answered when there is one again, and nobody spins."""
    server.serve()
    workers = server.workers_of(server.master())
    limits = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in workers}
    for pid in workers:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limits[pid][1]))
    with server.connect() as connection:
        connection.sendall(request())
        server.await_line("cannot accept a connection: Too many open files")
        for pid in workers:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits[pid])
        assert read_all(connection).startswith(b"HTTP/1.1 200")
    assert server.workers_of(server.master()) == workers
    assert server.log().count("cannot accept") < 500


def test_worker_that_is_up_is_not_overdue_when_it_is_idle(server):
    """A worker proves that it is alive only while it works: idle means idle."""
    server.serve("--timeout", "3s")
    before = server.workers_of(server.process.pid)
    assert {server.get() for _ in range(10)} == {200}
    server.until(lambda: all(blocked_in_call(pid, POLL) for pid in before), "the workers to be idle")
    wakeups = list(map(context_switches, before))
    idle_until = time.monotonic() + 4
    while time.monotonic() < idle_until:
        assert server.workers_of(server.process.pid) == before
        time.sleep(0.02)
    assert list(map(context_switches, before)) == wakeups
    assert server.get() == 200


def test_nobody_is_left(server):
    server.serve()
    everybody = descendants(server.process.pid) + [server.process.pid]
    assert len(everybody) == 3
    server.tell(signal.SIGTERM)
    assert server.process.wait(LIMIT) == 0
    assert not any(map(alive, everybody))
