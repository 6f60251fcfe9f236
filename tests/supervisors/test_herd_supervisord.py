"""examples/herd/supervisord under a real supervisord."""

import pytest

from conftest import needs
from support.supervisors_herd import HerdScenarios, HerdService, herd_site
from test_supervisord import Supervisord


class HerdUnderSupervisord(HerdService, Supervisord):
    def reload(self):
        assert "signalled" in self._ctl("signal", "HUP", "app")


@pytest.fixture
def service(folder, processes):
    needs("unicorn", "supervisord", "supervisorctl", "wrk")
    site = herd_site(folder, "supervisord", {"startsecs=5": "startsecs=1"})
    service = HerdUnderSupervisord(site, processes)
    yield service
    service.shutdown()


class TestHerdUnderSupervisord(HerdScenarios):
    pass
