"""Servers that reload in place, under the same master pid: haproxy, php-fpm and uWSGI."""

import os
import signal
import socket

from conftest import needs
from support.processes import eventually, holders
from support.scenarios import kill_master_only
from support.servers import Server, Waiter

HAPROXY = """
global
    pidfile {folder}/haproxy.pid
defaults
    mode http
    timeout client 10s
frontend all
    bind 127.0.0.1:{port}
    http-request return status 200
"""
PHP_FPM = """
[global]
pid = {folder}/php-fpm.pid
error_log = {folder}/php-fpm.log
[www]
listen = 127.0.0.1:{port}
user = nobody
group = nogroup
pm = static
pm.max_children = 2
"""
UWSGI_APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello\\n"]
"""


class InPlace(Server):
    """Its files are made here; the rest is as with the servers of examples/."""

    def __init__(self, processes):
        super().__init__(processes, files=None)

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text.replace("{folder}", str(self.folder)).replace("{port}", str(self.port)))
        return path


class Haproxy(InPlace):
    name = "haproxy"
    workers = 1

    def start_under(self, *hold):
        config = self.write("haproxy.cfg", HAPROXY)
        self.launch(*hold, "/usr/sbin/haproxy", "-W", "-D", "-f", config)


class PhpFpm(InPlace):
    name = "php-fpm"
    program = "php-fpm8.2"

    def start_under(self, *hold):
        """In the foreground: as a daemon it would daemonize again at each reload, under a new pid."""
        config = self.write("php-fpm.conf", PHP_FPM)
        self.launch_in_foreground(*hold, self.program, "--nodaemonize", "--fpm-config", config)

    def get(self, path="/"):
        """It speaks FastCGI: a connection is answer enough."""
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
            return 200
        except OSError:
            return 0


class Uwsgi(InPlace):
    name = "uwsgi"

    def start_under(self, *hold, options=()):
        app = self.write("app.py", UWSGI_APP)
        launch = self.launch_in_foreground if "--guard" in hold else self.launch
        launch(
            *hold, "uwsgi_python3", "--master", "--processes", "2", "--need-app",
            "--http-socket", f"127.0.0.1:{self.port}", "--wsgi-file", app,
            # A signal reaches a worker that was just born before its handler is there: not 60 s then.
            "--worker-reload-mercy", "2", "--reload-mercy", "2",
            "--pidfile", self.pidfile, "--daemonize", self.folder / "uwsgi.log", *options,
        )  # fmt: skip


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
