"""Reload after reload under load: DROVER_RELOADS of them (10)."""

import os

import pytest

from conftest import needs
from support.herds import Herd
from support.prefork import Prefork
from support.processes import alive, eventually
from support.servers import Gunicorn, Load, Nginx, Unicorn

RELOADS = int(os.environ.get("DROVER_RELOADS", "10"))

COMMANDS = {
    "unicorn": (Unicorn, lambda server: ("unicorn", "-c", server.folder / "unicorn.rb")),
    "gunicorn": (Gunicorn, lambda server: ("gunicorn", "-c", server.folder / "gunicorn.conf.py")),
    "nginx": (Nginx, lambda server: ("nginx", "-c", server.folder / "nginx.conf")),
    "prefork": (Prefork, lambda server: server.command()),
}


@pytest.mark.timeout(60 + 5 * RELOADS)
@pytest.mark.parametrize("kind", COMMANDS)
def test_reloads_in_a_row(processes, kind):
    needs("wrk", *({kind} - {"prefork"}))
    make, command = COMMANDS[kind]
    server = make(processes)
    herd = Herd(server, "--settle", "50ms", command=command(server))
    load = Load(server)
    for _ in range(RELOADS):
        old = eventually(server.master, "the pidfile to name the master")
        verdict, line = herd.reload()
        assert verdict == "done", f"{line}\n{server.log()}"
        assert not alive(old)
    done, failed, words = load.finish()
    assert failed == 0, f"{failed} of {done} requests failed in {RELOADS} reloads:\n{words}\n{herd.said()}"
    assert herd.stop() == 0
