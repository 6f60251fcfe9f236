"""examples/herd/docker: its entry point as process 1 of a pid namespace, as in a container."""

import errno
import json
import os
import re
import signal

import pytest

from conftest import needs
from support.processes import alive, children, eventually, holders, in_flock, parent, stat
from support.servers import READY
from support.supervisors import EXAMPLES, Background
from support.supervisors_herd import HerdService, herd_site, no_failure
from support.supervisors_scenarios import kill_all

USER = ("setpriv", "--reuid", "www-data", "--regid", "www-data", "--init-groups")


class Container(HerdService):
    """The Dockerfile's ENTRYPOINT, by its USER. `run` is what started it, `pid` process 1."""

    def __init__(self, site, processes):
        self.site = site
        self._processes = processes
        text = (site.etc / "Dockerfile").read_text()
        (words,) = re.findall(r"^ENTRYPOINT (\[(?:[^\]]|\n)*\])", text, re.M)
        assert re.findall(r"^USER (.*)$", text, re.M) == ["www-data"]
        with open(site.folder / "log" / "container.log", "w") as log:
            self.run = processes.start(
                "unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *USER,
                *json.loads(words.replace("\\\n", "\n")), stdout=log, stderr=log,
            )  # fmt: skip
        self.pid = eventually(lambda: children(self.run.pid), "process 1")[0]

    def stop(self):
        os.kill(self.pid, signal.SIGTERM)
        return self.run.wait(READY)

    def enter(self, *words, **options):
        """As "docker exec": a process in there that process 1 has not started."""
        return self._processes.start("nsenter", "-t", self.pid, "--pid", "--mount", "--root", *words, **options)


@pytest.fixture
def container(folder, processes):
    needs("unicorn", "unshare", "nsenter", "setpriv", "wrk")
    site = herd_site(folder, "docker")
    return Container(site, processes)


def test_reload_and_stop(container):
    """H45: under load, with a broken release in between; the end of the service is the container's."""
    site = up(container)
    load = container.load()
    site.break_release()
    assert container.ctl("reload").returncode == 1
    site.mend_release()
    site.release("2")
    assert container.ctl("reload").returncode == 0
    site.serving("2")
    no_failure(load)
    everybody = holders(site.lock)
    assert container.stop() == 0
    assert not any(alive(pid) for pid in everybody) and site.refused()


def test_stop_answers_the_request_in_flight(container):
    """H45: TERM becomes QUIT."""
    site = up(container)
    request, writer = site.slow_request()
    stop = Background(container.stop)
    site.eventually(lambda: "passed SIGQUIT" in site.log(), "the stop to reach the server")
    site.let_go("slow", writer)
    assert request.join()
    assert stop.join() == 0


def test_strangers_are_reaped(container):
    """H45: process 1 gets every orphan; none of them becomes a zombie that stays."""
    site = up(container)
    gate = site.folder / "gate"
    os.mkfifo(gate)
    shell = container.enter("sh", "-c", f'(cat "{gate}") & (cat "{gate}") & exit 0')
    assert shell.wait(READY) == 0
    strangers = site.eventually(
        lambda: len(found := [pid for pid in children(container.pid) if is_cat(pid)]) == 2 and found, "the orphans"
    )
    assert [parent(pid) for pid in strangers] == [container.pid] * 2

    def reaped():
        if any(alive(pid) for pid in strangers):
            let_readers_go(gate)
        return not any(stat(pid) for pid in strangers)

    site.eventually(reaped, "them to be reaped")
    assert site.served_by() is not None
    assert container.stop() == 0


def up(container):
    """Waits until the herd has seen that the server serves."""
    site = container.site
    site.serving()
    site.eventually(lambda: in_flock(container.pid), "the herd to wait")
    return site


def let_readers_go(fifo):
    try:
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    except OSError as error:
        assert error.errno == errno.ENXIO, error  # they are not there yet


def is_cat(pid):
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read() == "cat\n"
    except OSError:
        return False


def test_stranger_does_not_keep_the_container(container):
    """H45: it exits when the service is gone; a stranger of root's is not its to end."""
    site = up(container)
    assert container.enter("sh", "-c", "sleep 1000 & exit 0").wait(READY) == 0
    assert container.stop() == 0


def test_crash_ends_the_container(container):
    site = up(container)
    kill_all(holders(site.lock))
    assert container.run.wait(READY) == 1


def test_broken_image_ends_with_the_servers_status(folder, processes):
    needs("unicorn", "unshare")
    site = herd_site(folder, "docker")
    site.break_release()
    container = Container(site, processes)
    assert container.run.wait(READY) == 1
    assert "this release is broken" in site.log()


def test_dockerfile_copies_what_is_there():
    text = (EXAMPLES / "herd" / "docker" / "Dockerfile").read_text()
    assert set(re.findall(r"^COPY (\S+) ", text, re.M)) == {"drover_*.deb", "unicorn.rb", "srv"}
