"""drover-herd: asked to stop at every moment, it stops, with status 0, and nothing is left."""

import os
import signal

import pytest

from conftest import needs
from support.flocks import command_name
from support.herds import Herd
from support.prefork import Prefork
from support.processes import alive, descendants, eventually, holders
from support.servers import READY, Nginx, Unicorn, can_bind, living_children, read_pid


@pytest.fixture
def server(processes):
    return Prefork(processes)


def start(server, *options, command=None, ready=True, **popen):
    return Herd(server, *options, command=command or server.command(), ready=ready, **popen)


def ended(server, herd, status=0):
    assert herd.result(READY) == status, herd.said()
    assert not holders(server.lock)
    assert can_bind(server.port)


def shell_below(herd, word):
    """Whether a command with this word runs below the herd."""

    def found():
        for pid in descendants(herd.pid):
            try:
                with open(f"/proc/{pid}/cmdline") as file:
                    words = file.read().split("\0")
                if any(word in each for each in words) and words[0] != "drover-herd" and alive(pid):
                    return pid
            except OSError:
                pass
        return None

    return eventually(found, f"'{word}' to run")


def test_stop_while_it_boots(server):
    """H34: the pidfile is not there yet."""
    herd = start(server, command=("sh", "-c", "exec sleep 1000"), ready=False)
    shell_below(herd, "sleep")
    herd.send(signal.SIGTERM)
    ended(server, herd)


def test_stop_while_the_daemon_has_no_pidfile_yet(server):
    """H34: its launcher has ended already."""
    herd = start(server, command=("sh", "-c", "setsid sleep 1000 & exit 0"), ready=False)
    eventually(lambda: holders(server.lock), "the daemon to hold")
    eventually(lambda: len(holders(server.lock)) == 1, "its launcher to end")
    herd.send(signal.SIGTERM)
    ended(server, herd)


def test_stop_while_it_waits_for_a_booting_server(server):
    """H34, H37: adopted before there is a pidfile."""
    server.processes.start("drover-hold", server.lock, "sleep", "1000")
    eventually(lambda: holders(server.lock), "the server to hold")
    herd = start(server, ready=False)
    eventually(lambda: os.path.exists(f"{server.pidfile}.sock"), "the herd")
    herd.send(signal.SIGTERM)
    ended(server, herd)


@pytest.mark.parametrize("moment", ["at the start", "later"])
@pytest.mark.parametrize("deaf", [False, True], ids=["obeys", "deaf"])
def test_stop_while_orphans_are_waited_for(processes, moment, deaf):
    """H34, H50: workers without a master are stopped, and killed when they do not obey."""
    needs("nginx")
    nginx = Nginx(processes)
    command = ("nginx", "-c", nginx.folder / "nginx.conf")
    if moment == "later":
        herd = start(nginx, "--stop-timeout", "2s", command=command)
    else:
        nginx.launch("drover-hold", "--pidfile", nginx.pidfile, *command)
    master = nginx.master()
    workers = living_children(master)
    os.kill(master, signal.SIGKILL)
    eventually(lambda: not alive(master), "the master to die")
    if moment == "at the start":
        herd = start(nginx, "--stop-timeout", "2s", command=command, ready=False)
    herd.await_words("no master lives; processes that still hold")
    if deaf:
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
    herd.send(signal.SIGTERM)
    ended(nginx, herd)
    assert not any(map(alive, workers))


@pytest.mark.parametrize("where", ["check", "probe"])
def test_stop_while_a_command_of_the_reload_runs(server, where):
    """H34: the command ends, too, and the reload has a verdict."""
    options = ("--check", "sleep 987") if where == "check" else ("--probe", "exec:sleep 987")
    herd = start(server, *options)
    herd.send(signal.SIGHUP)
    command = shell_below(herd, "987")
    herd.send(signal.SIGTERM)
    ended(server, herd)
    assert not alive(command)
    assert herd.verdicts() == ["refused"], herd.said()


def test_stop_of_a_master_that_is_stopped(server):
    """SIGSTOP: it hears nothing, and is killed at the limit."""
    herd = start(server, "--stop-timeout", "1s")
    os.kill(server.master(), signal.SIGSTOP)
    herd.send(signal.SIGTERM)
    ended(server, herd)
    assert "killing what is left" in herd.said()


def test_reload_of_a_master_that_is_stopped(server):
    """SIGSTOP: the reload fails in time, and the server goes on when it is let go on."""
    herd = start(server, "--ready-timeout", "1s")
    master = server.master()
    os.kill(master, signal.SIGSTOP)
    verdict, line = herd.reload()
    assert verdict == "failed" and "no successor came" in line
    os.kill(master, signal.SIGCONT)
    eventually(lambda: server.get() == 200, "an answer")
    herd.send(signal.SIGTERM)
    ended(server, herd)


def test_every_reload_has_a_verdict(server):
    """Also one that a stop overtakes, at once or a little later."""
    for count in range(9):
        herd = start(server)
        herd.send(signal.SIGHUP)
        if count % 3:
            herd.await_words("asked for by HUP")
        if count % 3 == 2:
            eventually(lambda: len(holders(server.lock)) > 3, "the successor")
        herd.send(signal.SIGTERM)
        ended(server, herd)
        assert len(herd.verdicts()) == 1, herd.said()


def test_two_signals_at_once(server):
    """TERM after QUIT is a quicker stop; both are passed on."""
    herd = start(server)
    request = server.begin_request()
    herd.send(signal.SIGQUIT)
    herd.await_words("passed SIGQUIT to master")
    assert herd.running()
    herd.send(signal.SIGTERM)
    ended(server, herd)
    request.connection.close()


def test_stop_with_a_leaked_child(server):
    """What the server has left behind with the lock is ended at the limit."""
    herd = start(
        server, "--stop-timeout", "1s",
        command=("sh", "-c", 'setsid sleep 1000 & exec "$@"', "sh", *server.command()),
    )  # fmt: skip
    herd.send(signal.SIGTERM)
    ended(server, herd)
    assert not [pid for pid in descendants(os.getpid()) if command_name(pid) == "sleep" and alive(pid)]


def test_standard_error_is_closed_or_stuck(server):
    """A log that nobody reads keeps nobody from anything."""
    for kind in ("closed", "stuck"):
        reader, writer = os.pipe()
        if kind == "closed":
            os.close(reader)
        else:
            os.set_blocking(writer, False)
            try:
                while True:
                    os.write(writer, b"x" * 4096)
            except BlockingIOError:
                os.set_blocking(writer, True)
        process = server.processes.start(
            "drover-herd", "-v", "--pidfile", server.pidfile, *server.command("-q"),
            stdout=writer, stderr=writer, cwd=server.folder,
        )  # fmt: skip
        os.close(writer)
        eventually(lambda: server.master() and server.get() == 200, "the server")
        done = server.processes.run("drover-ctl", "-p", server.pidfile, "reload", timeout=READY)
        assert done.returncode == 0, done.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(READY) == 0
        assert not holders(server.lock)
        if kind == "stuck":
            os.close(reader)


def test_stop_that_an_interpreter_loses(processes):
    """One that comes while ruby loads the server: somebody's "rescue" may take it. It comes again when the
    server has its handlers."""
    needs("unicorn")
    unicorn = Unicorn(processes)
    booting = unicorn.folder / "booting"
    swallow = (
        "if ENV['UNICORN_FD']\n"
        f"  begin; File.write('{booting}', Process.pid); sleep 30; rescue SignalException; end\n"
        "end\n"
    )
    config = unicorn.folder / "unicorn.rb"
    herd = Herd(unicorn, command=("unicorn", "-c", config))
    config.write_text(swallow + config.read_text())
    old = unicorn.master()
    herd.send(signal.SIGHUP)
    new = eventually(lambda: booting.exists() and read_pid(booting), "the successor's boot", READY)
    herd.send(signal.SIGTERM)
    assert herd.result(READY) == 0
    assert not alive(old) and not alive(new)
    assert "killing what is left" not in herd.said()
