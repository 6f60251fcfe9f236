"""What drover-wait --relay says without being asked."""

import contextlib
import os
import signal

from support.flocks import end, start_waiter
from support.processes import eventually
from support.relays import Relay, pidfile, relay, serve, stranger  # noqa: F401


def test_pidfile_that_never_comes_is_said_at_the_start(serve, relay):
    """Not only when the first stop fails: the server's configuration may lack its pid line."""
    server = serve(names_itself_in="-")
    waiter = relay()
    assert "No such file" in waiter.says("no master is known yet")
    end(server.process)
    assert waiter.finish()[0] == 0


def test_pidfile_in_time_is_not_worth_a_word(serve, relay):
    server = serve()
    waiter = relay()
    waiter.send(signal.SIGTERM)
    server.gets("SIGTERM")
    end(server.process)
    code, said = waiter.finish()
    assert code == 0 and "no master is known" not in said


def test_end_that_nobody_asked_for(serve, relay, pidfile):
    server = serve()
    waiter = relay()
    end(server.process)
    code, said = waiter.finish()
    assert code == 0
    assert f"the last process of '{pidfile}.lock' is gone; no stop was passed on" in said


def test_end_that_was_asked_for(serve, relay):
    server = serve("SIGTERM=exit0")
    waiter = relay()
    waiter.send(signal.SIGTERM)
    server.process.wait()
    code, said = waiter.finish()
    assert code == 0 and "no stop was passed on" not in said


def test_process_of_another_user_is_not_slandered(start, serve, folder, pidfile):
    """It may well hold the lock: only it cannot be seen."""
    folder.chmod(0o777)
    server = serve()
    os.chmod(f"{pidfile}.lock", 0o666)
    nobody = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    process = start(*nobody, "drover-wait", "--relay", pidfile)
    waiter = Relay.__new__(Relay)
    waiter.process = process
    assert "cannot be looked into" in waiter.says("no master is known yet")
    process.send_signal(signal.SIGTERM)
    line = waiter.says("cannot relay SIGTERM")
    assert "is not seen to hold" in line and "does not hold" not in line
    assert server.got_nothing()
    end(server.process)
    eventually(lambda: process.poll() is not None, "its end")


def test_storm_of_signals_does_not_hide_the_end(start, serve, pidfile):
    """Each warning may wait a second for room in a log that nobody reads."""
    server = serve(names_itself_in="-")
    pidfile.write_text("1\n")
    reader, writer = os.pipe()
    waiter = start_waiter(start, "--relay", pidfile, stderr=writer)
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(writer, b"x" * 4096):
            pass
    waiter.send_signal(signal.SIGTERM)
    end(server.process)

    def ended_by_now():
        waiter.send_signal(signal.SIGTERM)
        return waiter.poll() is not None

    eventually(ended_by_now, "the end")
    assert waiter.returncode == 0
    os.close(reader)
    os.close(writer)
