"""examples/runit and examples/s6: the server runs as the user that owns its logs."""

import os
import pwd
import shutil

import pytest

from conftest import BUILD, needs
from support.processes import holders
from support.supervisors import Site
from support.supervisors_scenarios import nothing_left, up
from test_runit import Runit
from test_s6 import S6

USER = "www-data"


@pytest.fixture(params=("runit", "s6"))
def service(request, folder, processes):
    kind, programs = {
        "runit": (Runit, ("runsv", "sv", "chpst")),
        "s6": (S6, ("s6-svscan", "s6-supervise", "s6-svc", "s6-setuidgid")),
    }[request.param]
    needs("unicorn", *programs)
    folder.chmod(0o755)
    site = Site(folder)
    for program in (BUILD / "tools").glob("drover-*"):
        shutil.copy(program, site.bin)
    processes.environment["PATH"] = f"{site.bin}:{processes.environment['PATH']}"
    site.install(request.param)
    shutil.chown(folder / "log", USER)
    service = kind(site, processes)
    yield service
    service.shutdown()


def uid(pid):
    return os.stat(f"/proc/{pid}").st_uid


def test_everything_runs_as_the_owner_of_the_logs(service):
    """Also after a reboot, which empties /run."""
    site = service.site
    site.run.rmdir()
    main = up(service)
    running = {main, *holders(site.lock)}
    assert len(running) == 4
    assert {uid(pid) for pid in running} == {pwd.getpwnam(USER).pw_uid}
    site.release("2")
    service.reload()
    site.serving("2")
    service.stop()
    assert nothing_left(service)
