"""drover-wait --relay: a pidfile is a hint. Nobody outside of the flock gets a signal."""

import os
import signal
import subprocess

import pytest

from conftest import needs
from support.flocks import PYTHON, SUPPORT, as_nobody, complains, end, finish, still_blocked
from support.processes import eventually
from support.relays import Relay, Server, pidfile, relay, serve, stranger  # noqa: F401

# Ignored by default: harmless even if it reached somebody.
PROBE = signal.SIGWINCH

BAD = {
    "empty": ("", "it is empty"),
    "blank": (" \n\n", "no process number"),
    "huge": ("1" * 100_000, "too long"),
    "huge and blank": ("{pid}" + " " * 100_000, "too long"),
    "number too large": ("99999999999999999999", "no process number"),
    "number above every pid": ("4194305", "no process number"),
    "wraps to the pid": ("{wrapped}", "no process number"),
    "garbage": ("\x00\xff\xfe{pid}", "no process number"),
    "garbage after": ("{pid}x", "no process number"),
    "two numbers": ("{pid} {pid}", "no process number"),
    "negative": ("-{pid}", "no process number"),
    "minus one": ("-1", "no process number"),
    "zero": ("0", "no process number"),
    "plus": ("+{pid}", "no process number"),
    "hexadecimal": ("0x1", "no process number"),
    "fraction": ("{pid}.0", "no process number"),
    "init": ("1", "hold '"),
}


def refuses(waiter, server, *words):
    """The probe is not passed on; the reason is said; the wait goes on; the server got nothing."""
    waiter.send(PROBE)
    line = waiter.says("cannot relay SIGWINCH")
    for word in words:
        assert word in line, line
    assert still_blocked(waiter.process)
    assert server.got_nothing()
    return True


@pytest.mark.parametrize("kind", BAD)
def test_bad_pidfile(serve, relay, pidfile, kind):
    server = serve(names_itself_in="-")
    text, reason = BAD[kind]
    text = text.format(pid=server.process.pid, wrapped=server.process.pid + 2**32)
    pidfile.write_bytes(text.encode("latin-1"))
    waiter = relay("--winch")
    assert refuses(waiter, server, str(pidfile), reason)
    end(server.process)
    assert waiter.finish()[0] == 0


def test_missing_pidfile(serve, relay):
    server = serve(names_itself_in="-")
    waiter = relay("--winch")
    assert refuses(waiter, server, "No such file")
    end(server.process, waiter.process)


def test_directory_as_pidfile(serve, relay, pidfile):
    server = serve(names_itself_in="-")
    pidfile.mkdir()
    waiter = relay("--winch")
    assert refuses(waiter, server, "not a regular file")
    end(server.process, waiter.process)


def test_fifo_as_pidfile_does_not_block(serve, relay, pidfile):
    server = serve(names_itself_in="-")
    os.mkfifo(pidfile)
    waiter = relay("--winch")
    assert refuses(waiter, server, "not a regular file")
    end(server.process, waiter.process)


def test_unreadable_pidfile(start, folder, pidfile):
    """Server and waiter belong to nobody, the pidfile to root."""
    folder.chmod(0o777)
    launcher = as_nobody("drover-hold", "--pidfile", pidfile)
    server = Server(start, folder, "server", "-", launcher=launcher)
    pidfile.write_text(f"{server.process.pid}\n")
    pidfile.chmod(0o600)
    process = start(*as_nobody("drover-wait", "--winch", "--relay", pidfile))
    eventually(lambda: still_blocked(process), "the waiter")
    process.send_signal(PROBE)
    assert "Permission denied" in process.stderr.readline()
    assert server.got_nothing()
    end(server.process, process)


def test_own_pid(serve, relay, pidfile):
    server = serve(names_itself_in="-")
    waiter = relay("--winch")
    pidfile.write_text(f"{waiter.process.pid}\n")
    assert refuses(waiter, server, str(waiter.process.pid), "does not hold")
    end(server.process, waiter.process)


def test_dead_pid(serve, relay, pidfile):
    server = serve(names_itself_in="-")
    dead = subprocess.Popen(["true"])
    dead.wait()
    pidfile.write_text(f"{dead.pid}\n")
    waiter = relay("--winch")
    assert refuses(waiter, server, str(dead.pid), "does not live")
    end(server.process, waiter.process)


def test_live_stranger(serve, relay, stranger, pidfile):
    """The promise of the relay: a stale number that now names somebody else is not signalled."""
    server = serve(names_itself_in="-")
    pidfile.write_text(f"{stranger.process.pid}\n")
    waiter = relay("--winch")
    for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR2):
        waiter.send(number)
        waiter.says("cannot relay", number.name, str(stranger.process.pid), "does not hold")
    assert stranger.got_nothing()
    assert refuses(waiter, server)
    end(server.process, stranger.process, waiter.process)


@pytest.mark.parametrize("suffix", [".oldbin", ".2"])
def test_live_stranger_in_the_names_of_a_reload(serve, relay, stranger, pidfile, suffix):
    server = serve()
    (pidfile.parent / (pidfile.name + suffix)).write_text(f"{stranger.process.pid}\n")
    waiter = relay()
    waiter.send(signal.SIGTERM, signal.SIGHUP)
    eventually(lambda: len(server.signals()) == 2, "both signals")
    assert stranger.got_nothing()
    end(server.process, stranger.process, waiter.process)


def test_stranger_that_only_has_the_file_open(serve, relay, start, folder, pidfile):
    """An editor, a backup: open is not locked."""
    server = serve(names_itself_in="-")
    launcher = ("bash", "-c", 'exec "$@" 9<app.pid.lock', "bash")
    reader = Server(start, folder, "reader", pidfile, launcher=launcher)
    waiter = relay("--winch")
    assert refuses(waiter, reader, str(reader.process.pid), "does not hold")
    end(server.process, reader.process, waiter.process)


def test_another_waiter_is_a_stranger(serve, relay, wait_beside, pidfile):
    server = serve(names_itself_in="-")
    other = wait_beside(f"{pidfile}.lock")
    pidfile.write_text(f"{other.pid}\n")
    waiter = relay("--winch")
    assert refuses(waiter, server, str(other.pid), "does not hold")
    end(server.process, waiter.process)
    assert other.wait() == 0


@pytest.fixture
def wait_beside(start):
    def begin(lock):
        return Relay(start, lock).process

    return begin


def test_holder_of_another_lock_is_a_stranger(serve, relay, start, folder, pidfile):
    server = serve(names_itself_in="-")
    launcher = ("drover-hold", folder / "other.lock")
    other = Server(start, folder, "other", pidfile, launcher=launcher)
    waiter = relay("--winch")
    assert refuses(waiter, other, "does not hold")
    end(server.process, other.process, waiter.process)


def test_pidfile_that_becomes_right_later(serve, relay, pidfile):
    server = serve(names_itself_in="-")
    pidfile.write_text("")
    waiter = relay()
    waiter.send(signal.SIGHUP)
    waiter.says("cannot relay SIGHUP")
    pidfile.write_text(f"{server.process.pid}\n")
    waiter.send(signal.SIGUSR1)
    server.gets("SIGUSR1")
    assert server.signals() == ["SIGUSR1"]
    end(server.process, waiter.process)


@pytest.mark.parametrize("text", [" 0{pid}\n", "\t{pid}", "{pid}\r\n\n"])
def test_odd_but_clear_pidfile(serve, relay, pidfile, text):
    server = serve(names_itself_in="-")
    pidfile.write_text(text.format(pid=server.process.pid))
    waiter = relay()
    waiter.send(signal.SIGHUP)
    server.gets("SIGHUP")
    end(server.process, waiter.process)


@pytest.mark.parametrize("known", ["known", "unknown"])
def test_recycled_pid(start, folder, known):
    """The master dies, a stranger gets its very number, a worker keeps the lock."""
    needs("unshare")
    words = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    scenario = start(*words, *PYTHON, SUPPORT / "recycled_pid.py", folder, known)
    out, err = scenario.communicate(timeout=60)
    assert (scenario.returncode, out) == (0, "the stranger got nothing\n"), err


def test_proc_of_another_namespace(serve, run, pidfile):
    """Its numbers are not those that a signal goes to."""
    needs("unshare")
    server = serve()
    words = ("unshare", "--pid", "--fork", "--kill-child", "drover-wait", "-w", "5", "--relay", pidfile)
    done = run(*words)
    assert done.returncode == 78
    assert complains(done.stderr, "drover-wait", "/proc does not show", "hint: mount a /proc")
    assert server.got_nothing()
    end(server.process)


@pytest.mark.parametrize(
    "answer, reason",
    [("EPERM", "Operation not permitted"), ("ENOSYS", "Function not implemented"),
     ("EMFILE", "Too many open files")],
)  # fmt: skip
def test_master_that_cannot_be_opened_is_not_called_dead(serve, start, pidfile, answer, reason):
    """A container's seccomp filter, an old kernel."""
    needs("strace")
    server = serve()
    inject = ("-e", "trace=pidfd_open", "-e", f"inject=pidfd_open:error={answer}")
    words = ("strace", "-f", "-qq", "-o", "trace", *inject, "drover-wait", "--relay", pidfile)
    waiter = start(*words, env={"ASAN_OPTIONS": "detect_leaks=0"})
    assert f"process {server.process.pid}, which cannot be opened: {reason}" in waiter.stderr.readline()
    end(server.process)
    assert finish(waiter)[0] == 0
