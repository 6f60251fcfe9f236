"""prefork: into the background, and starts that fail."""

import os
import signal
import socket
import time

import pytest

from support.prefork import read_all, request, server, title  # noqa: F401
from support.processes import LIMIT, alive, descendants
from support.servers import read_pid


def test_launcher_returns_when_every_worker_is_up(server):
    began = time.monotonic()
    server.launch("--workers", "5", "--fault", "slow-boot=0.5")
    assert time.monotonic() - began >= 0.5
    master = server.master()
    assert len(server.workers_of(master)) == 5
    assert title(master) == "prefork master"
    assert os.getsid(master) != master, "a session's leader could get a terminal again"
    assert os.getsid(master) != os.getsid(0)
    assert [os.readlink(f"/proc/{master}/fd/{fd}") for fd in (0, 1, 2)] == [
        "/dev/null", "/dev/null", str(server.output),
    ]  # fmt: skip
    server.stop()


def test_reload_of_a_daemon_stays_one(server):
    server.launch()
    session = os.getsid(server.master())
    assert os.getsid(server.hot_reload()) == session
    server.stop()


@pytest.mark.parametrize("fault, word", [("boot-failure", "boot-failure"), ("worker-failure", "worker[")])
@pytest.mark.parametrize("options", [(), ("--daemonize",)])
def test_failed_boot_is_told_by_code_and_message(server, fault, word, options):
    done = server.processes.run(*server.command("--fault", fault, *options))
    assert done.returncode not in (0, 70)
    assert "prefork: cannot start" in done.stderr or "prefork: cannot load" in done.stderr
    assert word in done.stderr
    assert not server.pidfile.exists()
    server.until(lambda: not server.processes.left(), "everybody to leave")


def test_launcher_notices_that_the_daemon_was_killed(server):
    launcher = server.processes.start(*server.command("--daemonize", "--fault", "hang-boot"))
    master = server.until(lambda: read_pid(server.pidfile), "the daemon")
    assert launcher.poll() is None
    os.kill(master, signal.SIGKILL)
    assert launcher.wait(LIMIT) != 0
    assert "died before its workers were up" in launcher.stderr.read()


def test_launcher_is_told_of_a_stop_during_the_boot(server):
    launcher = server.processes.start(*server.command("--daemonize", "--fault", "slow-boot=4"))
    os.kill(server.until(lambda: read_pid(server.pidfile), "the daemon"), signal.SIGTERM)
    assert launcher.wait(LIMIT) != 0
    assert "told to stop" in launcher.stderr.read()
    server.until(lambda: not server.pidfile.exists(), "the daemon to leave")


def test_address_in_use(server):
    """The second server leaves the pidfile of the first alone."""
    server.serve()
    for options in ((), ("--daemonize",)):
        done = server.processes.run(*server.command(*options))
        assert done.returncode == 71
        assert "Address already in use" in done.stderr
    assert read_pid(server.pidfile) == server.process.pid
    assert server.get() == 200


def test_socket_file_of_a_dead_server_is_replaced(server):
    path = server.folder / "app.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server.serve("--listen", f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(request())
        assert b" 200 " in read_all(connection)


def test_socket_file_of_a_living_server_is_not(server):
    path = server.folder / "app.sock"
    server.serve("--listen", f"unix:{path}")
    done = server.processes.run("prefork", "--listen", f"unix:{path}")
    assert done.returncode == 71
    assert "Address already in use" in done.stderr
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(request())
        assert b" 200 " in read_all(connection)


def test_a_file_in_place_of_a_socket_is_left(server):
    path = server.folder / "precious"
    path.write_text("mine")
    assert server.processes.run("prefork", "--listen", f"unix:{path}").returncode == 71
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    "options, code",
    [
        (("--fault", "no-such-fault"), 64),
        (("--fault", "slow-boot=x"), 64),
        (("--fault", "boot-failure@-1"), 64),
        (("--timeout", "0"), 64),
        (("--workers", "0"), 64),
        (("--workers", "257"), 64),
        (("--no-such-option",), 64),
        (("--listen", "localhost:8080"), 66),
        (("--listen", "127.0.0.1"), 66),
        (("--listen", "127.0.0.1:65536"), 66),
        (("--listen", "unix:" + 108 * "x"), 66),
        (("--listen", "unix:/no/such/folder/app.sock"), 66),
        (("--log", "/no/such/folder/app.log"), 66),
        (("--pidfile", "/no/such/folder/app.pid"), 66),
    ],
)
def test_bad_option(server, options, code):
    done = server.processes.run("prefork", "--listen", "127.0.0.1:0", *options)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("prefork: ") or "prefork: cannot" in done.stderr


def test_bad_log_is_told_to_the_launcher(server):
    done = server.processes.run(*server.command("--daemonize", "--log", "/no/such/folder/app.log"))
    assert done.returncode != 0
    assert "cannot open log" in done.stderr


def test_relative_paths(server):
    server.launch("--pidfile", "relative.pid", "--log", "relative.log")
    server.pidfile = server.processes.folder / "relative.pid"
    assert alive(read_pid(server.pidfile))
    assert "ready" in (server.processes.folder / "relative.log").read_text()
    server.stop()


def test_strange_inheritance_is_not_believed(server):
    """Neither a closed descriptor nor one that is no socket is taken for a listener."""
    server.serve(env={"PREFORK_FD": f"99=127.0.0.1:{server.port},0=x,=,7,,a=b,-1=c"})
    assert server.get() == 200
    assert "listening on" in server.log()
    assert descendants(server.process.pid)
