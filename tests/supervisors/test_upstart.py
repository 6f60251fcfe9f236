"""examples/upstart: its scripts, run as upstart runs them."""

import subprocess

import pytest

from conftest import needs
from support.processes import eventually
from support.supervisors import UPSTART, Site
from support.supervisors_scenarios import Scenarios, StopIsTheEnd


class Upstart:
    def __init__(self, site, processes):
        self.site = site
        self._conf = site.etc / "app.conf"
        self._status = site.folder / "status"
        self._processes = processes
        self._init = None

    def _command(self, word):
        self._init.stdin.write(f"{word}\n")
        self._init.stdin.flush()

    def _state(self):
        return self._status.read_text().split()[0]

    def boot(self):
        with open(self.site.folder / "log" / "upstart.log", "w") as log:
            command = [*UPSTART, self._conf, self._status]
            self._init = self._processes.start(*command, stdin=subprocess.PIPE, stdout=log, stderr=log)
        eventually(self._status.exists, "upstart")
        self._command("start")

    def main_pid(self):
        return int(self._status.read_text().split()[1]) or None

    def reload(self):
        self._command("reload")

    def start(self):
        self._command("start")

    def stop(self):
        self._command("stop")
        eventually(lambda: self._state() == "stop/waiting", "the job to stop")

    def impatient(self):
        text = self._conf.read_text()
        self._conf.write_text(text.replace("kill timeout 60", "kill timeout 1"))

    def stopping(self):
        return self._state().startswith("stop/")

    def failed_with(self, status):
        return f"pre-start process terminated with status {status}\n" in self.site.log()

    def shutdown(self):
        if self._init:
            self.stop()
            self._init.stdin.close()
            assert self._init.wait() == 0


@pytest.fixture
def service(folder, processes):
    needs("unicorn")
    site = Site(folder)
    processes.environment["PATH"] = f"{site.bin}:{processes.environment['PATH']}"
    site.install("upstart")
    service = Upstart(site, processes)
    yield service
    service.shutdown()


class TestUpstart(Scenarios, StopIsTheEnd):
    pass
