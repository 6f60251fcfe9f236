"""examples/herd/s6 under a real s6-svscan and s6-supervise."""

import pytest

from conftest import needs
from support.supervisors import Background
from support.supervisors_herd import FinishEndsIt, HerdScenarios, HerdService, herd_site
from test_s6 import S6


class HerdUnderS6(HerdService, S6):
    def reload(self):
        self._svc("-h")


@pytest.fixture
def service(folder, processes):
    needs("unicorn", "s6-svscan", "s6-supervise", "s6-svc", "s6-notifyoncheck", "wrk")
    site = herd_site(folder, "s6")
    service = HerdUnderS6(site, processes)
    yield service
    service.shutdown()


class TestHerdUnderS6(HerdScenarios, FinishEndsIt):
    def test_start_returns_when_the_server_serves(self, service):
        """By its readiness, which data/check asks for."""
        site = service.site
        service.boot()
        site.serving()
        service.stop()
        site.hold_up("boot")
        start = Background(service.start)
        writer = site.held_up("boot")
        assert start.goes_on(1)
        site.let_go("boot", writer)
        start.join()
        assert site.served_by() is not None
