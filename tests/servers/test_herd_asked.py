"""drover-herd and drover-ctl: every question is answered, and the answer is true."""

import json
import os
import signal

import pytest

from conftest import needs
from support.herds import Herd
from support.prefork import Prefork
from support.processes import alive, eventually, holders
from support.servers import READY, Nginx, living_children


@pytest.fixture
def server(processes):
    return Prefork(processes)


@pytest.fixture
def ctl(request, processes):
    def run(*words, of=None, **options):
        options.setdefault("timeout", READY)
        of = of or request.getfixturevalue("server")
        return processes.run("drover-ctl", "-p", of.pidfile, *words, **options)

    return run


def start(server, *options, command=None, **popen):
    return Herd(server, *options, command=command or server.command(), **popen)


def reload_is_under_way(herd, number=1):
    herd.await_words(f"reload {number}: asked for by ")


def test_reload_blocks_until_the_verdict(server, ctl):
    """H49: 0 for done, 1 for failed, and the reason."""
    faults = server.folder / "faults"
    faults.touch()
    herd = start(server, command=server.command("--fault-file", faults))
    old = server.master()
    done = ctl("reload")
    assert done.returncode == 0, done.stderr
    assert server.master() != old and not alive(old)
    faults.write_text("reload-failure\n")
    failed = ctl("reload")
    assert failed.returncode == 1 and "cannot reload" in failed.stderr, failed.stderr
    assert server.get() == 200
    assert herd.stop() == 0


def test_who_asks_may_give_up_or_be_killed(server, ctl):
    """H49: the reload goes on, and the next one hears its own verdict."""
    herd = start(server, "--overlap", "1s")
    gave_up = ctl("--wait", "100ms", "reload")
    assert gave_up.returncode == 1 and "the reload goes on" in gave_up.stderr
    killed = server.processes.start("drover-ctl", "-p", server.pidfile, "reload")
    herd.await_words("one more reload will follow")
    killed.kill()
    killed.wait()
    herd.verdict(2)
    assert herd.verdicts() == ["done", "done"]
    status = json.loads(ctl("--json", "status").stdout)
    assert status["last_reload"]["number"] == 2 and not status["queued"]
    assert herd.stop() == 0


def test_those_who_ask_during_a_reload_share_the_next_one(server, ctl):
    """H35: the newest code last."""
    herd = start(server, "--overlap", "1s")
    herd.send(signal.SIGHUP)
    reload_is_under_way(herd)
    clients = [server.processes.start("drover-ctl", "-p", server.pidfile, "--json", "reload") for _ in range(5)]
    for client in clients:
        out, err = client.communicate(timeout=READY)
        assert client.returncode == 0, err
        assert json.loads(out.splitlines()[-1])["reload"]["number"] == 2
    assert herd.verdicts() == ["done", "done"]
    assert herd.stop() == 0


def test_stop_during_a_reload(server, ctl):
    """H34: 0 for who asked for the stop, 1 for who asked for the reload."""
    herd = start(server, "--overlap", "30s")
    client = server.processes.start("drover-ctl", "-p", server.pidfile, "reload")
    reload_is_under_way(herd)
    stopped = ctl("stop")
    assert stopped.returncode == 0, stopped.stderr
    out, err = client.communicate(timeout=READY)
    assert client.returncode == 1, err
    assert "stop was asked for" in err, err
    assert herd.result(READY) == 0
    assert not holders(server.lock)


def test_reload_while_there_is_no_master(processes, ctl):
    """Orphans serve on: nothing can be reloaded, and that is said at once."""
    needs("nginx")
    nginx = Nginx(processes)
    herd = start(nginx, command=("nginx", "-c", nginx.folder / "nginx.conf"))
    os.kill(nginx.master(), signal.SIGKILL)
    herd.await_words("no master lives")
    refused = ctl("reload", of=nginx)
    assert refused.returncode == 1 and "no master" in refused.stderr
    assert herd.running()
    herd.send(signal.SIGHUP)
    herd.await_words(r"reload \d+ refused: no master|cannot reload: no master")
    assert json.loads(ctl("--json", "status", of=nginx).stdout)["state"] == "orphaned"
    herd.send(signal.SIGTERM)
    assert herd.result(READY) == 0


def test_reload_while_it_starts(server, ctl):
    """It follows the start; who asks waits for it."""
    herd = start(
        server, ready=False, command=("sh", "-c", 'sleep 1; exec "$@"', "sh", *server.command())
    )
    eventually(lambda: os.path.exists(f"{server.pidfile}.sock"), "the socket")
    done = ctl("reload")
    assert done.returncode == 0, done.stderr
    assert herd.verdicts() == ["done"]
    assert herd.stop() == 0


def test_server_that_dies_under_those_who_wait(server, ctl):
    herd = start(server, "--overlap", "30s")
    old = server.master()
    client = server.processes.start("drover-ctl", "-p", server.pidfile, "reload")
    reload_is_under_way(herd)
    eventually(lambda: server.master() not in (None, old), "the successor")
    server.kill_everything()
    out, err = client.communicate(timeout=READY)
    assert client.returncode == 1, err
    assert herd.result(READY) == 1


def test_reload_while_the_generation_before_drains(server, ctl):
    """A request of 3 s on the old generation: the next reload waits for its end."""
    herd = start(server)
    request = server.begin_request()
    herd.send(signal.SIGHUP)
    eventually(lambda: '"drain"' in ctl("--json", "events", "--since", "0", "--wait", "100ms").stdout, "drain")
    second = server.processes.start("drover-ctl", "-p", server.pidfile, "reload")
    herd.await_words("one more reload will follow")
    assert request.finish()[0] == 200
    out, err = second.communicate(timeout=READY)
    assert second.returncode == 0, err
    assert herd.verdicts() == ["done", "done"]
    assert herd.stop() == 0


def test_signal_and_reload_by_hand_and_by_the_herd(server, ctl):
    """H36: a successor that an operator has asked for is there when the herd is asked to reload: it waits
    until the old one has gone."""
    herd = start(server, "--drain-timeout", "2s")
    old, new = server.upgrade()
    herd.send(signal.SIGHUP)
    herd.await_words("reload 1: asked for by HUP")
    server.retire(old)
    verdict, line = herd.verdict(1)
    assert verdict == "done", line
    assert not alive(new)
    assert herd.stop() == 0


@pytest.mark.parametrize("words", [("stop", "mailer"), ("signal", "mailer", "TERM"), ("status", "mailer")], ids=" ".join)
def test_what_is_meant_for_a_companion_does_not_reach_the_server(server, ctl, words):
    """A herd without companions has nobody of that name."""
    herd = start(server)
    done = ctl(*words)
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no companion 'mailer' here" in done.stderr
    assert server.get() == 200 and herd.process.poll() is None
    assert herd.stop() == 0
