"""examples/systemd under a real systemd."""

import os

import pytest

from conftest import BUILD, needs
from support.booted_systemd import BootedSystemd
from support.processes import alive
from support.supervisors import Site
from support.supervisors_scenarios import Scenarios, StopIsTheEnd, up

UNIT = "app.service"
DROP_IN = """\
[Service]
Environment=PATH={bin}:{tools}:/usr/bin:/bin
StandardOutput=append:{log}
StandardError=append:{log}
"""


class Systemd:
    def __init__(self, site, systemd):
        self.site = site
        self._systemd = systemd
        self._log = site.folder / "log" / "systemd.log"
        self._extra = "".join(
            f'Environment="{name}={os.environ[name]}"\n'
            for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS")
            if name in os.environ
        )
        systemd.install(UNIT, (site.etc / UNIT).read_text())
        self._drop_in()

    def _drop_in(self, more=""):
        text = DROP_IN.format(bin=self.site.bin, tools=BootedSystemd.TOOLS, log=self._log)
        self._systemd.install(f"{UNIT}.d/test.conf", text + self._extra + more)

    def _is(self, name):
        return self._systemd.show(UNIT, name)

    def boot(self):
        self._systemd.systemctl("start", UNIT, check=False)

    def main_pid(self):
        pid = int(self._is("MainPID"))
        return self._systemd.host_pid(pid) if pid else None

    def reload(self):
        self._systemd.systemctl("reload", UNIT)

    def start(self):
        self._systemd.systemctl("start", UNIT)

    def stop(self):
        self._systemd.systemctl("stop", UNIT)

    def impatient(self):
        self._drop_in("TimeoutStopSec=1\n")

    def stopping(self):
        return self._is("ActiveState") in ("deactivating", "inactive", "failed")

    def failed_with(self, status):
        return self._is("ActiveState") != "active" and self._is("ExecMainStatus") == str(status)


@pytest.fixture
def systemd(folder, processes):
    needs("systemd", "systemctl", "nsenter", "unshare")
    folder.chmod(0o755)
    with BootedSystemd(processes, folder, BUILD / "tools") as booted:
        yield booted


@pytest.fixture
def service(folder, systemd):
    needs("unicorn")
    site = Site(folder)
    (folder / "log").chmod(0o777)
    site.install("systemd", {"/run/app": "/run/app"})
    site.run = systemd.path("/run/app")
    return Systemd(site, systemd)


class TestSystemd(Scenarios, StopIsTheEnd):
    def test_start_says_how_it_went(self, service, systemd):
        service.site.break_release()
        assert systemd.systemctl("start", UNIT, check=False).returncode == 1
        service.site.mend_release()
        service.start()
        assert service.site.served_by() is not None

    def test_lock_file_stays_over_a_stop(self, service):
        up(service)
        inode = os.stat(service.site.lock).st_ino
        service.stop()
        assert os.stat(service.site.lock).st_ino == inode


def test_booted_systemd_leaves_nothing(folder, processes):
    needs("systemd", "systemctl", "nsenter", "unshare")
    folders = [folder / "a", folder / "b"]
    for each in folders:
        each.mkdir()
    with BootedSystemd(processes, folders[0], BUILD / "tools") as first:
        with BootedSystemd(processes, folders[1], BUILD / "tools") as second:
            assert first.pid != second.pid
        assert not alive(second.pid)
        assert first.systemctl("is-system-running").stdout.strip() == "running"
    assert not alive(first.pid)
    assert not first.cgroup.exists() and not second.cgroup.exists()
