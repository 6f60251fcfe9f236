"""Servers that reload in place, under the same master pid: haproxy, php-fpm and uWSGI."""

import os
import signal

from conftest import needs
from support.inplace import Haproxy, PhpFpm, Uwsgi
from support.processes import eventually, holders
from support.scenarios import kill_master_only
from support.servers import Waiter


def test_haproxy(processes):
    """S5."""
    needs("haproxy")
    server = Haproxy(processes)
    server.start_under("drover-hold", server.lock)
    waiters = [Waiter(server, server.lock), Waiter(server, "--relay", server.pidfile)]
    for _ in range(2):
        server.replace_workers(signal.SIGUSR2)
        assert holders(server.lock) >= set(server.everybody())
        assert all(waiter.waiting() for waiter in waiters)
    os.kill(server.master(), signal.SIGKILL)
    assert [waiter.result() for waiter in waiters] == [0, 0]


def test_php_fpm(processes):
    """S5, S6: its workers serve on for ever without their master."""
    needs(PhpFpm.program)
    server = PhpFpm(processes)
    server.start_under("drover-hold", server.lock)
    server.replace_workers(signal.SIGUSR2)
    assert holders(server.lock) >= set(server.everybody())
    _, workers, waiters = kill_master_only(server)
    assert holders(server.lock) == set(workers)
    assert server.get() == 200
    assert all(waiter.waiting() for waiter in waiters)
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    assert [waiter.result() for waiter in waiters] == [0, 0]


def test_uwsgi_with_safe_fd(processes):
    """S5: HUP closes all descriptors but the one that --safe-fd names."""
    needs("uwsgi_python3")
    server = Uwsgi(processes)
    server.start_under("drover-hold", "--fd", "1025", server.lock, options=("--safe-fd", "1025"))
    waiter = Waiter(server, server.lock)
    for _ in range(2):
        server.replace_workers(signal.SIGHUP)
        assert holders(server.lock) >= set(server.everybody())
        assert waiter.waiting()
    server.kill_everything()
    assert waiter.result() == 0


def test_uwsgi_without_cure(processes):
    """S5: the lock is lost; --relay says so and goes on by the pidfd."""
    needs("uwsgi_python3")
    server = Uwsgi(processes)
    server.start_under("drover-hold", server.lock)
    relay = Waiter(server, "--relay", server.pidfile)
    server.replace_workers(signal.SIGHUP)
    assert holders(server.lock) == set()
    eventually(lambda: f"process {server.master()}, lives" in relay.said(), "a word about the lost lock")
    assert relay.waiting()
    server.kill_everything()
    assert relay.result() == 0


def test_uwsgi_under_guard(processes):
    """S5: the guard keeps the lock that uWSGI closes; it has adopted the daemon."""
    needs("uwsgi_python3")
    server = Uwsgi(processes)
    server.start_under("drover-hold", "--guard", server.lock)
    waiter = Waiter(server, server.lock)
    server.replace_workers(signal.SIGHUP)
    assert holders(server.lock) == {server.parent.pid}
    assert waiter.waiting()
    server.kill_everything()
    assert waiter.result() == 0
    assert server.parent.wait() == 0
