"""examples/herd/runit under a real runsv."""

import pytest

from conftest import needs
from support.supervisors_herd import FinishEndsIt, HerdScenarios, HerdService, herd_site
from test_runit import Runit


class HerdUnderRunit(HerdService, Runit):
    def reload(self):
        self._sv("hup")


@pytest.fixture
def service(folder, processes):
    needs("unicorn", "runsv", "sv", "wrk")
    site = herd_site(folder, "runit")
    service = HerdUnderRunit(site, processes)
    yield service
    service.shutdown()


class TestHerdUnderRunit(HerdScenarios, FinishEndsIt):
    pass
