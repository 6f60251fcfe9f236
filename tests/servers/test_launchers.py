"""Programs that start a server and close what it was to inherit, or do not: what becomes of the lock."""

import os
import signal

import pytest

from conftest import needs
from support.prefork import title
from support.processes import alive, eventually, holders
from support.servers import Waiter, read_pid

SERVER = ("sh", "-c", 'echo $$ >"$0"; exec sleep 1000')
PYTHON = """
import subprocess, sys
subprocess.Popen(sys.argv[1:], close_fds=True)
"""
START_STOP_DAEMON = ("start-stop-daemon", "--start", "--pidfile", "/nonexistent", "--startas")
LAUNCHERS = {
    "python": ("python3", "-I", "-c", PYTHON),
    "setpriv": ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"),
    "start-stop-daemon": (*START_STOP_DAEMON, "/usr/bin/env", "--"),
    "start-stop-daemon-background": (*START_STOP_DAEMON, "/usr/bin/env", "--background", "--"),
}
CLOSING = {"python", "start-stop-daemon-background"}


class Launched:
    """A server of which only the pid is known."""

    def __init__(self, processes, name, *options):
        self.processes = processes
        self.lock = processes.folder / "app.pid.lock"
        pidfile = processes.folder / "app.pid"
        pidfile.touch()
        pidfile.chmod(0o666)  # for whoever it is started as
        processes.folder.chmod(0o755)
        launcher = LAUNCHERS[name]
        needs(launcher[0])
        self.parent = processes.start("drover-hold", *options, self.lock, *launcher, *SERVER, pidfile)
        self.pid = eventually(lambda: read_pid(pidfile), "the server")
        eventually(lambda: title(self.pid).startswith("sleep"), "the server's last exec")


@pytest.mark.parametrize("name", LAUNCHERS)
def test_guard_keeps_the_lock_of_whatever_is_started(processes, name):
    server = Launched(processes, name, "--guard")
    waiter = Waiter(server, server.lock)
    assert server.parent.pid in holders(server.lock)
    assert (server.pid in holders(server.lock)) is (name not in CLOSING)
    assert server.parent.poll() is None and waiter.waiting()
    os.kill(server.pid, signal.SIGTERM)
    assert waiter.result() == 0
    assert not alive(server.pid)
    server.parent.wait()


@pytest.mark.parametrize("name", LAUNCHERS)
def test_without_a_guard_the_launcher_decides(processes, name):
    """The control: what closes descriptors takes the lock away from the server."""
    server = Launched(processes, name)
    eventually(lambda: holders(server.lock) <= {server.pid}, "the launcher to be done")
    assert (server.pid in holders(server.lock)) is (name not in CLOSING)
    os.kill(server.pid, signal.SIGTERM)
    eventually(lambda: not alive(server.pid), "the server to end")
    server.parent.wait()
