"""prefork: how it is found, what it inherits, and starts that fail half-way."""

import resource
import signal
import socket

import pytest

from conftest import BUILD
from support.flocks import IN_SANITIZER_BUILD
from support.prefork import clients, server, title  # noqa: F401
from support.processes import LIMIT, PAUSE, alive, blocked_in_call

BINARY = BUILD / "examples" / "prefork" / "prefork"


@pytest.mark.parametrize("path, why", [("", "it has no path"), (108 * "x", "File name too long")])
def test_unix_path_that_cannot_be(server, path, why):
    done = server.processes.run("prefork", "--listen", f"unix:{path}")
    assert done.returncode == 66
    assert f"cannot listen on 'unix:{path}': {why}" in done.stderr


def test_unix_path_with_a_comma(server):
    """The descriptors of a reload are listed between commas: it would find its socket taken."""
    path = server.folder / "a,b.sock"
    done = server.processes.run("prefork", "--listen", f"unix:{path}")
    assert done.returncode == 66
    assert f"cannot listen on 'unix:{path}': its path has a comma" in done.stderr
    assert not path.exists()


def test_unix_path_with_other_marks(server):
    path = server.folder / "a=b:c d.sock"
    server.serve("--listen", f"127.0.0.1:{server.port}", "--listen", f"unix:{path}")
    server.hot_reload()
    assert server.generation() == 1
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
    assert server.log().count(f"inherited unix:{path}") == 1


def test_failed_boot_ends_workers_that_serve_already(server, clients):
    process = server.processes.start(*server.command("--fault", "hang-worker"))

    def worker(number):
        found = [pid for pid in server.workers_of(process.pid) if title(pid) == f"prefork worker[{number}]"]
        return found[0] if found and blocked_in_call(found[0], PAUSE) else None

    hanging = server.until(lambda: worker(1), "the worker that hangs")
    answer = clients.submit(server.ask, "/hang")
    busy = server.until(lambda: worker(0), "a request in flight")
    server.tell(signal.SIGKILL, hanging)
    assert process.wait(LIMIT) == 71
    assert not alive(busy)
    assert answer.result()[0] == 0
    assert "prefork: cannot start 'worker[1]': was killed by SIGKILL" in process.stderr.read()


def test_worker_that_hangs_in_the_boot_fails_it(server):
    done = server.processes.run(*server.command("--fault", "hang-worker", "--timeout", "500ms"))
    assert done.returncode == 71
    assert "is overdue" in done.stderr


@pytest.mark.skipif(IN_SANITIZER_BUILD, reason="the sanitizer needs descriptors of its own")
def test_launcher_is_told_why_there_was_no_master(server):
    few = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (6, 6))  # noqa: E731
    done = server.processes.run(*server.command("--daemonize"), preexec_fn=few)
    assert done.returncode == 71
    assert "cannot make a pipe to the workers: Too many open files" in done.stderr


@pytest.mark.parametrize("option", ["--ignore-signal=ALRM", "--block-signal=ALRM"])
def test_alarm_of_a_lost_worker_works_whatever_it_inherits(server, clients, option):
    server.serve("--timeout", "1s", "--workers", "1", before=("env", option))
    answer = clients.submit(server.ask, "/hang")
    busy = server.busy_worker(call=PAUSE)
    server.process.kill()
    server.until(lambda: not alive(busy), "its own alarm")
    assert answer.result()[0] == 0


@pytest.mark.parametrize("path", ["decoy:{}", "{}", ":/usr/bin", "/usr/bin:", "/usr/bin::/bin", "bin"])
def test_program_is_found_as_the_shell_finds_it(server, path):
    """A folder of that name is none, and an empty element is the current folder."""
    (server.folder / "decoy" / "prefork").mkdir(parents=True)
    (server.folder / "bin").mkdir()
    for place in ("prefork", "bin/prefork"):
        (server.folder / place).symlink_to(BINARY)
    path = path.format(server.folder / "bin")
    server.serve(before=("env", f"PATH={path}"))
    server.hot_reload()
    assert server.generation() == 1


@pytest.mark.parametrize("path", ["", "bin"])
def test_program_that_was_found_is_the_one_that_is_reloaded(server, path):
    """By its path and not by its inode: a link to it may lead to another release by then."""
    (server.folder / "bin").mkdir()
    program = server.folder / path / "prefork"
    program.symlink_to(BINARY)
    server.serve(before=("env", f"PATH={path}:/usr/bin"))
    program.unlink()
    program.write_text(f'#!/bin/sh\nexec {BINARY} "$@" --reply two\n')
    program.chmod(0o755)
    server.hot_reload()
    assert server.ask() == (200, "two\n")
