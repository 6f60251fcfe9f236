"""examples/runit under a real runsv."""

import pytest

from conftest import needs
from support.processes import eventually
from support.supervisors import INIT, Site
from support.supervisors_scenarios import HeldByTheSupervisor, Scenarios, StopIsTheEnd


class Runit:
    def __init__(self, site, processes):
        self.site = site
        self._processes = processes
        self._log = open(site.folder / "log" / "runsv.log", "w")
        self._init = None
        self._patience = "30"

    def boot(self, under=()):
        command = [*INIT, *under, "runsv", self.site.etc]
        self._init = self._processes.start(*command, stdout=self._log, stderr=self._log)
        eventually((self.site.etc / "supervise" / "ok").exists, "runsv")

    def _sv(self, *words):
        done = self._processes.run("sv", *words, self.site.etc, timeout=60)
        assert done.returncode == 0 or "force-stop" in words, done.stdout

    def _stat(self):
        return (self.site.etc / "supervise" / "stat").read_text()

    def main_pid(self):
        text = (self.site.etc / "supervise" / "pid").read_text()
        return int(text) if text and self._stat().startswith("run") else None

    def reload(self):
        self._sv("2")

    def start(self):
        self._sv("start")

    def stop(self):
        self._sv("-w", self._patience, "force-stop")  # 1 also when it had to use KILL
        eventually(lambda: self._stat().startswith("down"), "runsv to say down")

    def impatient(self):
        self._patience = "1"

    def stopping(self):
        return self._stat().startswith("down") or "want down" in self._stat()

    def failed_with(self, status):
        return f"run ended with exit status {status}," in self.site.log()

    def shutdown(self):
        if self._init:
            self._sv("-w", self._patience, "force-shutdown")
            assert self._init.wait() == 0
        self._log.close()


@pytest.fixture
def service(folder, processes):
    needs("unicorn", "runsv", "sv")
    site = Site(folder)
    processes.environment["PATH"] = f"{site.bin}:{processes.environment['PATH']}"
    site.install("runit")
    service = Runit(site, processes)
    yield service
    service.shutdown()


class TestRunit(Scenarios, StopIsTheEnd, HeldByTheSupervisor):
    pass
