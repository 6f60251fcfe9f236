"""drover-herd over the real servers: start, hot reload, roll back, stop."""

import signal

import pytest

from conftest import needs
from support.herds import Herd
from support.processes import alive, eventually, holders
from support.servers import Gunicorn, Load, Nginx, Unicorn

ENOUGH = 20


class UnicornHerd(Unicorn):
    def command(self):
        return ("unicorn", "-c", self.folder / "unicorn.rb")

    def break_app(self):
        (self.folder / "config.ru").write_text('raise "this release is broken"\n')

    def mend_app(self):
        (self.folder / "config.ru").write_text('run ->(_) { [200, {}, ["new\\n"]] }\n')


class GunicornHerd(Gunicorn):
    def command(self):
        return ("gunicorn", "-c", self.folder / "gunicorn.conf.py")

    def break_app(self):
        (self.folder / "app.py").write_text('raise RuntimeError("this release is broken")\n')

    def mend_app(self):
        (self.folder / "app.py").write_text(
            "def app(environ, start_response):\n"
            '    start_response("200 OK", [("Content-Length", "4")])\n'
            '    return [b"new\\n"]\n'
        )


class NginxHerd(Nginx):
    def command(self):
        return ("nginx", "-c", self.folder / "nginx.conf")

    def break_app(self):
        self.good = (self.folder / "nginx.conf").read_text()
        (self.folder / "nginx.conf").write_text(self.good + "\nthis release is broken;\n")

    def mend_app(self):
        (self.folder / "nginx.conf").write_text(self.good)


KINDS = {"unicorn": UnicornHerd, "gunicorn": GunicornHerd, "nginx": NginxHerd}


@pytest.fixture(params=KINDS)
def server(request, processes):
    needs(request.param, "wrk")
    return KINDS[request.param](processes)


def test_three_reloads_under_load(server):
    """H28: zero failed requests, the old generation gone each time, one stable process."""
    herd = Herd(server, command=server.command())
    load = Load(server)
    for _ in range(3):
        before = server.everybody()
        verdict, line = herd.reload()
        assert verdict == "done", line
        eventually(server.master, "the pidfile to name the new master")  # gunicorn: within a second
        after = server.everybody()
        assert not set(before) & set(after), herd.said()
        assert holders(server.lock) >= set(after)
        assert [server.get() for _ in range(ENOUGH)] == [200] * ENOUGH
    done, failed, words = load.finish()
    assert failed == 0, f"{failed} of {done} requests failed:\n{words}\n{server.log()}"
    assert herd.stop() == 0, herd.said()


def test_broken_release_is_rolled_back(server):
    """H29: the old generation goes on, the new one is removed, the next good reload works."""
    herd = Herd(server, command=server.command())
    load = Load(server)
    before = server.everybody()
    server.break_app()
    verdict, line = herd.reload()
    assert verdict == "failed", line
    assert set(before) == set(server.everybody()), herd.said()
    assert server.get() == 200
    server.mend_app()
    verdict, line = herd.reload()
    assert verdict == "done", line
    assert not any(map(alive, before))
    _, failed, words = load.finish()
    assert failed == 0, f"{words}\n{server.log()}"
    assert herd.stop(signal.SIGTERM) == 0
