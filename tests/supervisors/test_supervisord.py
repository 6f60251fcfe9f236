"""examples/supervisord under a real supervisord."""

import xmlrpc.client

import pytest

from conftest import needs
from support.processes import eventually, holders
from support.supervisors import INIT, Site
from support.supervisors_scenarios import HeldByTheSupervisor, Scenarios, nothing_left, up

try:
    from supervisor.xmlrpc import SupervisorTransport
except ImportError:
    SupervisorTransport = None  # needs() tells of the missing package
CONFIGURATION = """\
[unix_http_server]
file={folder}/sock

[supervisord]
nodaemon=true
logfile={folder}/log/supervisord.log
pidfile={folder}/supervisord.pid
childlogdir={folder}/log

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://{folder}/sock

[include]
files={folder}/etc/app.conf
"""


class Supervisord:
    def __init__(self, site, processes):
        self.site = site
        self._processes = processes
        self._configuration = site.folder / "supervisord.conf"
        self._configuration.write_text(CONFIGURATION.format(folder=site.folder))
        self._conf = site.etc / "app.conf"
        self._init = None

    def boot(self, under=()):
        with open(self.site.folder / "log" / "output.log", "w") as log:
            command = ["supervisord", "-c", self._configuration]
            self._init = self._processes.start(
                *INIT, *under, *command, stdout=log, stderr=log
            )
        eventually((self.site.folder / "sock").exists, "supervisord")

    def _ctl(self, *words):
        command = ("supervisorctl", "-c", self._configuration, *words)
        return self._processes.run(*command, timeout=60).stdout

    def _info(self):
        """What "supervisorctl status" shows, without its half second of starting up."""
        transport = SupervisorTransport(None, None, f"unix://{self.site.folder}/sock")
        with xmlrpc.client.ServerProxy("http://localhost", transport) as server:
            return server.supervisor.getProcessInfo("app")

    def _state(self):
        return self._info()["statename"]

    def main_pid(self):
        return self._info()["pid"] or None

    def reload(self):
        assert "signalled" in self._ctl("signal", "USR2", "app")

    def start(self):
        assert "started" in self._ctl("start", "app")

    def stop(self):
        self._ctl("stop", "app")
        assert self._state() in ("STOPPED", "EXITED", "FATAL")

    def impatient(self):
        self._conf.write_text(self._conf.read_text().replace("stopwaitsecs=70", "stopwaitsecs=1"))

    def stopping(self):
        return self._state() in ("STOPPING", "STOPPED")

    def failed_with(self, status):
        return f"exited: app (exit status {status};" in self.site.log()

    def shutdown(self):
        if self._init:
            self._ctl("shutdown")
            assert self._init.wait() == 0


@pytest.fixture
def service(folder, processes):
    needs("unicorn", "supervisord", "supervisorctl")
    site = Site(folder)
    processes.environment["PATH"] = f"{site.bin}:{processes.environment['PATH']}"
    site.install("supervisord", {"startsecs=5": "startsecs=1"})
    service = Supervisord(site, processes)
    yield service
    service.shutdown()


class TestSupervisord(Scenarios, HeldByTheSupervisor):
    def test_server_that_does_not_obey_a_stop_is_taken_over(self, service):
        """What the README says: after its KILL supervisord runs nothing that could end the server."""
        service.impatient()
        up(service)
        master = service.site.serving()
        request, writer = service.site.slow_request()
        service.stop()
        assert not nothing_left(service)
        service.site.let_go("slow", writer)
        assert request.join()
        service.site.eventually(lambda: nothing_left(service), "the server to go in the end")
        service.start()
        assert service.site.serving() != master

    def test_lock_that_only_the_supervisor_holds_is_refused(self, service):
        """S19: supervisord closes low descriptors in what it starts, and keeps its own."""
        service.boot(under=("drover-hold", "--fd", "low", service.site.lock))
        service.site.eventually(lambda: service.failed_with(78), "drover-wait to refuse")
        (supervisord,) = holders(service.site.lock)
        assert f"process {supervisord}, which started this one, holds it" in service.site.log()
