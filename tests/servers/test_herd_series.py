"""Reload after reload under load: DROVER_RELOADS of them (10)."""

import os
import signal

import pytest

from conftest import needs
from support.herds import Herd
from support.prefork import Prefork, is_pending
from support.processes import alive, children, context_switches, eventually
from support.servers import Gunicorn, Load, Nginx, Unicorn, living_children

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


def test_successor_that_is_reaped_in_the_next_reload(processes):
    """A master that is late to reap the failed successor of one reload has not lost that of the next."""
    needs("gunicorn")
    gunicorn = Gunicorn(processes)
    may_execute = gunicorn.folder / "may-execute"
    gunicorn.edit("gunicorn.conf.py", "workers = 2", f"""workers = 2


def pre_exec(_server):
    import os, time
    while not os.path.exists("{may_execute}"):
        time.sleep(0.01)


""")
    herd = Herd(gunicorn, command=COMMANDS["gunicorn"][1](gunicorn))
    old = gunicorn.master()
    workers = living_children(old)
    config = gunicorn.folder / "gunicorn.conf.py"
    good = config.read_text()
    config.write_text(f"{good}raise RuntimeError('broken')\n")
    herd.send(signal.SIGHUP)
    (failed,) = eventually(lambda: living_children(old) - workers, "the first successor")
    os.kill(old, signal.SIGSTOP)
    may_execute.touch()
    verdict, line = herd.verdict(1)
    assert verdict == "failed", line
    assert failed in children(old) and not alive(failed)
    config.write_text(good)
    may_execute.unlink()
    herd.send(signal.SIGHUP)
    eventually(lambda: is_pending(old, signal.SIGUSR2), "the second reload to begin")
    os.kill(old, signal.SIGCONT)
    eventually(lambda: failed not in children(old), "the first successor to be reaped")
    seen = context_switches(herd.pid)
    eventually(lambda: context_switches(herd.pid) > seen + 20, "the herd to look again")
    may_execute.touch()
    verdict, line = herd.verdict(2)
    assert verdict == "done", line
    assert herd.stop() == 0
