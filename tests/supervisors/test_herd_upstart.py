"""examples/herd/upstart: its scripts, run as upstart runs them."""

import pytest

from conftest import needs
from support.supervisors_herd import HerdScenarios, HerdService, herd_site
from test_upstart import Upstart


class HerdUnderUpstart(HerdService, Upstart):
    def failed_with(self, status):
        """upstart itself says nothing of a main process that is respawned."""
        return "the server did not start" in self.site.log()


@pytest.fixture
def service(folder, processes):
    needs("unicorn", "setpriv", "wrk")
    site = herd_site(folder, "upstart")
    service = HerdUnderUpstart(site, processes)
    yield service
    service.shutdown()


class TestHerdUnderUpstart(HerdScenarios):
    pass
