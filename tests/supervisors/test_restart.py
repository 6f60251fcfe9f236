"""The restart that the READMEs of runit and s6 give, of a server that does not obey."""

import re

import pytest

from conftest import needs
from support.processes import holders
from support.supervisors import EXAMPLES, Site
from support.supervisors_scenarios import nothing_left, up
from test_runit import Runit
from test_s6 import S6

PROGRAMS = {"runit": ("runsv", "sv"), "s6": ("s6-svscan", "s6-supervise", "s6-svc")}


@pytest.fixture(params=PROGRAMS)
def service(request, folder, processes):
    needs("unicorn", *PROGRAMS[request.param])
    site = Site(folder)
    processes.environment["PATH"] = f"{site.bin}:{processes.environment['PATH']}"
    site.install(request.param)
    service = {"runit": Runit, "s6": S6}[request.param](site, processes)
    yield service
    service.shutdown()


def command(site):
    """The README's, for this service, and with less patience."""
    example = "s6" if (site.etc / "notification-fd").exists() else "runit"
    text = (EXAMPLES / example / "README.md").read_text()
    (found,) = re.findall(r"^\| `(.*)` \| restart, also of a server that does not obey \|$", text, re.M)
    return re.sub(r"\bapp\b", str(site.etc), found).replace("-w 60 force-stop", "-w 1 force-stop")


def test_restart_of_a_server_that_does_not_obey(service, run):
    site = service.site
    service.impatient()
    up(service)
    held = holders(site.lock)
    request, writer = site.slow_request()
    done = run("sh", "-c", command(site), timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    with pytest.raises(OSError):
        request.join()
    site.let_go("slow", writer)
    site.serving()
    assert not held & holders(site.lock)
    service.stop()
    assert nothing_left(service)
