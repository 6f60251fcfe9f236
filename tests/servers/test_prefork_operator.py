"""prefork: what an operator sees and names: the log, the pidfile, the paths of a deployment."""

import fcntl
import os
import resource
import signal
import subprocess

import pytest

from conftest import BUILD
from support.flocks import IN_SANITIZER_BUILD
from support.prefork import read_all, request, server, title  # noqa: F401
from support.processes import LIMIT, alive, context_switches
from support.servers import free_port, read_pid

BINARY = BUILD / "examples" / "prefork" / "prefork"


def full_pipe():
    """Both ends of a pipe that takes no byte more; nobody reads it."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    size = fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ)
    assert os.write(writer, size * b"x") == size
    os.set_blocking(writer, True)
    return reader, writer


def test_log_that_nobody_reads_stops_nobody(server):
    reader, writer = full_pipe()
    try:
        master = server.processes.start(*server.command(), stdout=subprocess.DEVNULL, stderr=writer)
        server.until(lambda: server.get() == 200, "an answer")
        server.tell(signal.SIGHUP, master.pid)
        server.tell(signal.SIGTERM, master.pid)
        assert master.wait(LIMIT) == 0
    finally:
        os.close(writer)
        os.close(reader)


def test_quiet_log_has_only_what_goes_wrong(server):
    server.launch("-q")
    (first, _) = server.workers_of(server.master())
    server.tell(signal.SIGKILL, first)
    server.await_line("was killed by SIGKILL")
    server.stop()
    assert len(server.log().splitlines()) == 1


def test_verbose_log_has_the_answers(server):
    server.serve("-v")
    assert server.ask()[0] == 200
    server.await_line("answers 200")


@pytest.mark.skipif(IN_SANITIZER_BUILD, reason="the sanitizer's checks need a descriptor")
def test_lack_of_descriptors_is_told_once(server):
    server.serve("--workers", "1")
    (worker,) = server.workers_of(server.master())
    limit = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    for lack in (1, 2):
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (3, limit[1]))
        with server.connect() as connection:
            connection.sendall(request())
            server.until(lambda lack=lack: server.log().count("cannot accept") >= lack, "the complaint")
            seen = context_switches(worker)
            server.until(lambda: context_switches(worker) > seen + 10, "ten more attempts")
            resource.prlimit(worker, resource.RLIMIT_NOFILE, limit)
            assert read_all(connection).startswith(b"HTTP/1.1 200")
        assert server.log().count("cannot accept") == lack


def test_pidfile_of_a_living_master_is_refused(server):
    server.serve()
    first = server.port
    server.port = free_port()
    for options in ((), ("--daemonize",)):
        done = server.processes.run(*server.command(*options))
        assert done.returncode == 71
        assert f"it is that of process {server.process.pid}, which lives" in done.stderr
    assert read_pid(server.pidfile) == server.process.pid
    server.port = first
    assert server.get() == 200
    server.hot_reload()


def test_pidfile_of_a_recycled_number_is_taken(server):
    """After a crash the number may belong to anybody."""
    server.pidfile.write_text(f"{os.getpid()}\n")
    server.serve()
    assert read_pid(server.pidfile) == server.process.pid


def test_pidfile_of_a_killed_master_is_taken(server):
    server.serve()
    server.process.kill()
    server.process.wait(LIMIT)
    server.until(lambda: not server.processes.left(), "the workers to leave")
    server.output.unlink()
    server.serve()
    assert read_pid(server.pidfile) == server.process.pid


def test_pidfile_that_is_a_folder_leaves_nothing_behind(server):
    server.pidfile.mkdir()
    assert server.processes.run(*server.command()).returncode == 66
    assert [path.name for path in server.folder.iterdir()] == [server.pidfile.name]


def test_relative_paths_stay_where_they_were(server):
    """A reload starts in the folder of the new release, and its files are the old ones all the same."""
    one, two, current = (server.folder / name for name in ("one", "two", "current"))
    one.mkdir()
    two.mkdir()
    current.symlink_to("one")
    server.pidfile = one / "app.pid"
    enter = ("sh", "-c", f'cd {current} && exec "$@"', "sh")
    files = ("--pidfile", "app.pid", "--log", "app.log", "--fault-file", "faults")
    server.output.symlink_to(one / "app.log")
    server.serve(*files, before=enter, program=BINARY)
    old = server.process.pid
    current.unlink()
    current.symlink_to("two")
    (one / "faults").write_text("boot-failure@1")
    server.tell(signal.SIGUSR2)
    server.await_line(": going on")
    server.until(lambda: read_pid(server.pidfile) == old, "the pidfile to name the old master")
    (one / "faults").unlink()
    server.hot_reload()
    server.hot_reload()
    assert server.generation() == 2
    assert os.readlink(f"/proc/{server.master()}/cwd") == str(two)
    assert server.log().count("ready") == 3
    assert list(two.iterdir()) == []
