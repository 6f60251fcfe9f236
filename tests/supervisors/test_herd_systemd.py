"""examples/herd/systemd under a real systemd."""

import re

import pytest

from conftest import needs
from support.booted_systemd import BootedSystemd
from support.processes import alive, holders
from support.supervisors import Background
from support.supervisors_herd import HerdScenarios, HerdService, herd_site, no_failure
from support.supervisors_scenarios import up
from test_systemd import Systemd, systemd  # noqa: F401

PLACES = {
    "/run/app": "/run/app",  # systemd's RuntimeDirectory=
    "/usr/bin/drover": f"{BootedSystemd.TOOLS}/drover",
}

# A server that takes itself for the service's main process, as some do.
MEDDLER = """\
require "socket"
if ENV["NOTIFY_SOCKET"]
  words = "MAINPID=#{$$}\\nSTOPPING=1\\nSTATUS=the server says"
  Socket.new(:UNIX, :DGRAM).send(words, 0, Socket.pack_sockaddr_un(ENV["NOTIFY_SOCKET"]))
  warn "told #{ENV["NOTIFY_SOCKET"]}"
end
"""


class HerdUnderSystemd(HerdService, Systemd):
    def __init__(self, site, systemd):  # noqa: F811
        self._processes = systemd._processes
        super().__init__(site, systemd)

    def impatient_herd(self):
        super().impatient_herd()
        self._systemd.install("app.service", (self.site.etc / "app.service").read_text())

    def main_pid_of_systemd(self):
        return self._is("MainPID")

    def status_text(self):
        return self._is("StatusText")

    def try_reload(self):
        return self._systemd.systemctl("reload", "app.service", check=False)


@pytest.fixture
def service(folder, systemd):  # noqa: F811
    needs("unicorn", "wrk")
    site = herd_site(folder, "systemd", PLACES)
    site.run = systemd.path("/run/app")
    return HerdUnderSystemd(site, systemd)


class TestHerdUnderSystemd(HerdScenarios):
    def test_ten_reloads(self, service):
        """systemctl reload tells the truth, and MAINPID stays: good code and broken code in turn."""
        site = service.site
        up(service)
        main = service.main_pid_of_systemd()
        load = service.load()
        for number in range(1, 11):
            master = site.serving(str(number))
            site.break_release()
            failed = service.try_reload()
            assert failed.returncode != 0
            assert site.serving(str(number)) == master
            site.mend_release()
            site.release(str(number + 1))
            done = service.try_reload()
            assert done.returncode == 0, f"{done.stderr}{site.log()}"
            assert site.get()[1] == str(number + 1)
            assert service.main_pid_of_systemd() == main
        no_failure(load)

    def test_start_says_how_it_went(self, service, systemd):  # noqa: F811
        service.site.break_release()
        assert systemd.systemctl("start", "app.service", check=False).returncode == 1
        service.site.mend_release()
        service.start()
        assert service.site.served_by() is not None

    def test_status_is_for_people(self, service, systemd):  # noqa: F811
        site = service.site
        up(service)
        assert re.fullmatch(r"Serving: unicorn, master \d+", service.status_text())
        assert service.status_text() in systemd.systemctl("status", "app.service").stdout
        site.break_release()
        service.try_reload()
        assert re.match(r"Serving: unicorn, master \d+; reload 1 failed: .", service.status_text())
        site.mend_release()
        site.hold_up("boot")
        reload = Background(service.reload)
        writer = site.held_up("boot")
        site.eventually(lambda: service.status_text().startswith("Reloading: "), "the status")
        site.let_go("boot", writer)
        reload.join()
        assert re.fullmatch(r"Serving: unicorn, master \d+", service.status_text())

    def test_reload_may_take_longer_than_a_start(self, service):
        """H43: EXTEND_TIMEOUT_USEC; systemd's limit for a reload is that for a start."""
        site = service.site
        up(service)
        service._drop_in("TimeoutStartSec=1\n")
        site.hold_up("boot")
        reload = Background(service.try_reload)
        writer = site.held_up("boot")
        assert reload.goes_on(3)
        site.release("2")
        site.let_go("boot", writer)
        assert reload.join().returncode == 0
        assert site.get()[1] == "2"

    def test_what_the_server_tells_never_reaches_systemd(self, service):
        """H43: neither STOPPING=1, which would end it, nor MAINPID."""
        site = service.site
        service._drop_in("NotifyAccess=all\n")
        config = site.app / "config.ru"
        config.write_text(MEDDLER + config.read_text())
        main = up(service)
        site.release("2")
        assert service.try_reload().returncode == 0
        assert site.log().count("told /run/app/unicorn.pid.notify") >= 2
        assert service.main_pid() == main
        assert service.status_text().startswith("Serving: ")
        assert service._is("ActiveState") == "active"

    def test_lock_stays_over_a_stop(self, service):
        site = service.site
        up(service)
        inode = site.lock.stat().st_ino
        service.stop()
        assert site.lock.stat().st_ino == inode

    def test_stop_by_drover_ctl_is_no_failure(self, service):
        """The unit is not restarted then."""
        up(service)
        everybody = holders(service.site.lock)
        assert service.ctl("stop").returncode == 0
        service.site.eventually(lambda: service._is("ActiveState") == "inactive", "the unit to be down")
        assert not any(alive(pid) for pid in everybody)


def test_template(folder, systemd):  # noqa: F811
    """herd@.service: the name of the instance is that of the folders."""
    needs("unicorn")
    places = {"/etc/%i": folder / "etc", "/srv/%i": folder / "srv", **PLACES}
    site = herd_site(folder, "systemd", places)
    site.run = systemd.path("/run/app")
    service = HerdUnderSystemd(site, systemd)
    systemd.install("herd@.service", (site.etc / "herd@.service").read_text())
    (drop_in,) = systemd.path(f"{systemd.UNITS}/app.service.d").iterdir()
    systemd.install("herd@.service.d/test.conf", drop_in.read_text())
    systemd.systemctl("start", "herd@app")
    main = systemd.show("herd@app", "MainPID")
    site.release("2")
    systemd.systemctl("reload", "herd@app")
    assert site.get()[1] == "2"
    assert systemd.show("herd@app", "MainPID") == main
    everybody = holders(site.lock)
    systemd.systemctl("stop", "herd@app")
    assert site.refused() and not any(alive(pid) for pid in everybody)
    assert service.main_pid() is None
