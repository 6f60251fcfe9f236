"""examples/s6 under a real s6-svscan and s6-supervise."""

import pytest

from conftest import needs
from support.processes import eventually
from support.supervisors import INIT, Site
from support.supervisors_scenarios import HeldByTheSupervisor, Scenarios, StopIsTheEnd


class S6:
    def __init__(self, site, processes):
        self.site = site
        self._processes = processes
        self._scandir = site.folder / "service"
        self._scandir.mkdir()
        (self._scandir / "app").symlink_to(site.etc)
        self._init = None

    def boot(self, under=()):
        with open(self.site.folder / "log" / "s6.log", "w") as log:
            command = [*INIT, *under, "s6-svscan", self._scandir]
            self._init = self._processes.start(*command, stdout=log, stderr=log)
        eventually(lambda: self._run("s6-svok").returncode == 0, "s6-supervise")

    def _run(self, program, *words):
        return self._processes.run(program, *words, self.site.etc, timeout=60)

    def _svc(self, *words):
        done = self._run("s6-svc", *words)
        assert done.returncode == 0, done.stderr

    def _stat(self, field):
        return self._run("s6-svstat", "-o", field).stdout.strip()

    def main_pid(self):
        pid = int(self._stat("pid"))
        return pid if pid > 0 else None

    def reload(self):
        self._svc("-2")

    def start(self):
        self._svc("-u", "-wU", "-T", "30000")

    def stop(self):
        self._svc("-d", "-wD", "-T", "30000")

    def impatient(self):
        (self.site.etc / "timeout-kill").write_text("1000\n")

    def stopping(self):
        return self._stat("wantedup") == "false"

    def failed_with(self, status):
        return f"exitcode {status}\n" in self._run("s6-svdt").stdout

    def shutdown(self):
        if self._init:
            self.stop()
            assert self._processes.run("s6-svscanctl", "-t", self._scandir).returncode == 0
            assert self._init.wait() == 0


@pytest.fixture
def service(folder, processes):
    needs("unicorn", "s6-svscan", "s6-supervise", "s6-svc")
    site = Site(folder)
    processes.environment["PATH"] = f"{site.bin}:{processes.environment['PATH']}"
    site.install("s6")
    service = S6(site, processes)
    yield service
    service.shutdown()


class TestS6(Scenarios, StopIsTheEnd, HeldByTheSupervisor):
    pass
