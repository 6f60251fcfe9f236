"""drover-wait --relay: each signal reaches the true master, once."""

import os
import signal

import pytest

from conftest import needs
from support.flocks import as_nobody, end, finish, still_blocked, watches_folder
from support.processes import alive, eventually, in_flock, kernel_tells_exit_status
from support.relays import Relay, Server, pidfile, relay, serve  # noqa: F401

RELAYED = [
    signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP,
    signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU,
]  # fmt: skip
STOPS = [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT]


def test_each_signal_once_and_in_order(serve, relay):
    server, waiter = serve(), relay()
    for number in RELAYED:
        waiter.send(number)
        server.gets(number.name)
        waiter.says("passed", number.name, str(server.process.pid))
    assert server.signals() == [number.name for number in RELAYED]
    assert still_blocked(waiter.process)
    end(server.process, waiter.process)


def test_lock_may_be_named_too(serve, start, pidfile):
    server = serve()
    waiter = Relay(start, "--relay", pidfile, f"{pidfile}.lock")
    waiter.send(signal.SIGHUP)
    server.gets("SIGHUP")
    end(server.process)
    assert waiter.finish()[0] == 0


def test_winch_is_not_relayed(serve, relay):
    server, waiter = serve(), relay()
    waiter.send(signal.SIGWINCH)
    waiter.send(signal.SIGHUP)
    server.gets("SIGHUP")
    assert server.signals() == ["SIGHUP"]
    end(server.process, waiter.process)


def test_winch_on_request(serve, relay):
    server, waiter = serve(), relay("--winch")
    waiter.send(signal.SIGWINCH)
    server.gets("SIGWINCH")
    end(server.process, waiter.process)


@pytest.mark.parametrize("name", ["QUIT", "SIGQUIT", "quit", "3"])
def test_stop_signal_replaces_term_only(serve, relay, name):
    server, waiter = serve(), relay("--stop-signal", name)
    for number, becomes in [(signal.SIGTERM, "SIGQUIT"), (signal.SIGINT, "SIGINT")]:
        waiter.send(number)
        server.gets(becomes)
    assert server.signals() == ["SIGQUIT", "SIGINT"]
    end(server.process, waiter.process)


@pytest.mark.parametrize("name, becomes", [("RTMAX", "SIGRTMAX"), ("rtmax-14", "SIGRTMIN+16"),
                                           ("IOT", "SIGABRT")])  # fmt: skip
def test_other_names_of_signals(serve, relay, name, becomes):
    server, waiter = serve(), relay("--stop-signal", name)
    waiter.send(signal.SIGTERM)
    server.gets(becomes)
    end(server.process, waiter.process)


@pytest.mark.parametrize("name", ["", "FOO", "0", "65", "-9", "TERM "])
def test_bad_stop_signal_is_64(run, pidfile, name):
    done = run("drover-wait", "--relay", pidfile, f"--stop-signal={name}")
    assert done.returncode == 64
    assert done.stderr.startswith("drover-wait: ")


@pytest.mark.parametrize("words", [["--winch"], ["--stop-signal", "QUIT"]])
def test_options_of_the_relay_need_it(run, lock, words):
    assert run("drover-wait", *words, lock).returncode == 64


def test_relay_goes_with_one_lock(run, folder):
    words = ["--relay", "a.pid", folder / "a.lock", folder / "b.lock"]
    assert run("drover-wait", *words).returncode == 64


def test_stop_ends_server_and_wait(serve, relay):
    server, waiter = serve("SIGTERM=exit0"), relay()
    waiter.send(signal.SIGTERM)
    assert waiter.finish()[0] == 0
    assert server.process.wait() == 0


def test_stop_that_comes_at_the_very_end(serve, relay):
    """The service has ended: a stop signal from then on does not change the exit code."""
    server, waiter = serve(), relay()
    server.process.send_signal(signal.SIGKILL)

    def stopped_again():
        waiter.send(signal.SIGTERM)
        return waiter.process.poll() is not None

    eventually(stopped_again, "the end")
    assert waiter.process.returncode == 0
    server.process.wait()


def test_signals_that_come_at_once_all_arrive(serve, relay):
    server, waiter = serve(), relay()
    waiter.send(*RELAYED)
    eventually(lambda: len(server.signals()) == len(RELAYED), "all of them")
    assert sorted(server.signals()) == sorted(number.name for number in RELAYED)
    end(server.process, waiter.process)


@pytest.mark.parametrize("number", STOPS)
def test_stop_before_the_first_holder(start, pidfile, number):
    waiter = start("drover-wait", "--relay", pidfile, "--start", "1000")
    eventually(lambda: watches_folder(waiter.pid), "the waiter to watch the folder")
    waiter.send_signal(number)
    code, _, err = finish(waiter)
    assert code == 128 + number
    assert number.name in err and "before anybody held" in err


def test_other_signals_before_the_first_holder(start, serve, pidfile):
    process = start("drover-wait", "--relay", pidfile, "--start", "1000")
    eventually(lambda: watches_folder(process.pid), "the waiter to watch the folder")
    for number in (signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN):
        process.send_signal(number)
        assert number.name in process.stderr.readline()
    server = serve("SIGTERM=exit0")
    eventually(lambda: still_blocked(process) and not watches_folder(process.pid), "the holder")
    process.terminate()
    assert finish(process)[0] == 0
    assert server.signals() == ["SIGTERM"]


def test_limit_leaves_the_master_alone(serve, run, pidfile):
    server = serve()
    assert run("drover-wait", "--relay", pidfile, "-w", "300ms").returncode == 1
    assert server.got_nothing()
    end(server.process)


def test_killed_relay_leaves_the_master_alone(serve, relay):
    server, waiter = serve(), relay()
    end(waiter.process)
    assert server.got_nothing()
    end(server.process)


def reaped_at_once(start, folder, pidfile, *actions):
    """A server whose parent waits for it, as init does."""
    script = '"$@" & wait'
    launcher = ("sh", "-c", script, "sh", "drover-hold", "--pidfile", pidfile)
    return Server(start, folder, "server", pidfile, *actions, launcher=launcher)


@pytest.mark.parametrize(
    ("actions", "number", "words"),
    [
        (["SIGTERM=exit3"], signal.SIGTERM, "exited with status 3"),
        (["SIGTERM=exit0"], signal.SIGTERM, "exited with status 0"),
        ([], signal.SIGKILL, "was killed by SIGKILL"),
    ],
)
def test_says_how_the_master_ended(start, folder, pidfile, relay, actions, number, words):
    """locks 55: pidfd, PIDFD_GET_INFO"""
    if not kernel_tells_exit_status():
        pytest.skip("only Linux 6.15 and later tell how a process ended")
    server = reaped_at_once(start, folder, pidfile, *actions)
    waiter = relay()
    master = int(pidfile.read_text())
    os.kill(master, number)
    code, err = waiter.finish()
    assert code == 0
    assert f"master {master} {words}" in err
    server.process.wait()


def test_master_that_nobody_reaps_is_unknown_not_0(serve, relay):
    """locks 55"""
    server, waiter = serve(), relay()
    server.process.send_signal(signal.SIGKILL)
    code, err = waiter.finish()
    assert code == 0
    assert "exited" not in err and "was killed" not in err
    server.process.wait()


def test_server_of_another_user_cannot_be_verified(serve, start, folder, pidfile):
    """Its descriptors cannot be seen, so it gets nothing."""
    folder.chmod(0o755)
    server = serve()
    lock = folder / "app.pid.lock"
    lock.chmod(0o644)
    process = start(*as_nobody("drover-wait", "--relay", pidfile))
    eventually(lambda: not alive(process.pid) or still_blocked(process), "the waiter")
    process.send_signal(signal.SIGHUP)
    reason = f"'{pidfile}' names process {server.process.pid}, which is not seen to hold '{lock}'"
    line = process.stderr.readline()
    if line.startswith("drover-wait: no master is known yet"):
        line = process.stderr.readline()
    assert line == f"drover-wait: cannot relay SIGHUP: {reason}: it cannot be looked into\n"
    assert still_blocked(process)
    assert server.got_nothing()
    end(server.process)
    assert finish(process)[0] == 0


def test_signal_that_the_kernel_refuses_is_said(start, folder, pidfile):
    """The server is verified, as root may see everything; this root may not send it a signal."""
    folder.chmod(0o777)
    server = Server(start, folder, "server", pidfile, launcher=as_nobody("drover-hold", "--pidfile", pidfile))
    no_kill = ("setpriv", "--bounding-set=-kill", "--inh-caps=-kill")
    process = start(*no_kill, "drover-wait", "--relay", pidfile)
    eventually(lambda: not alive(process.pid) or still_blocked(process), "the waiter")
    for number in (signal.SIGHUP, signal.SIGTERM):
        process.send_signal(number)
        refused = f"cannot send {number.name} to process '{server.process.pid}'"
        assert process.stderr.readline() == f"drover-wait: {refused}: Operation not permitted\n"
    assert still_blocked(process)
    assert server.got_nothing()
    end(server.process)
    assert finish(process)[0] == 0


def test_full_queue_of_signals_ends_nothing(serve, start, folder, pidfile):
    """Names that appear in the pidfile's folder are told by a signal: one, however many come."""
    needs("prlimit")
    server = serve()
    limited = ("prlimit", "--sigpending=0:0")
    process = start(*limited, "drover-wait", "--relay", pidfile)
    eventually(lambda: not alive(process.pid) or still_blocked(process), "the waiter")
    for number in range(200):
        (folder / f"file{number}").touch()
    assert still_blocked(process)
    process.send_signal(signal.SIGHUP)
    server.gets("SIGHUP")
    end(server.process)
    assert finish(process)[0] == 0


def test_stop_reaches_a_master_that_comes_later(serve, relay):
    """The stop came while a hot reload was under way."""
    old, waiter = serve(), relay()
    waiter.send(signal.SIGTERM)
    old.gets("SIGTERM")
    new = serve(name="new")
    new.gets("SIGTERM")
    end(old.process, new.process)
    assert waiter.finish()[0] == 0


def test_only_a_stop_is_kept_for_later_masters(serve, relay):
    old, waiter = serve(), relay()
    waiter.send(signal.SIGUSR2)
    old.gets("SIGUSR2")
    new = serve(name="new")
    waiter.send(signal.SIGHUP)
    new.gets("SIGHUP")
    assert (old.signals(), new.signals()) == (["SIGUSR2"], ["SIGHUP"])
    waiter.send(signal.SIGTERM)
    for server in (old, new):
        server.gets("SIGTERM")
    end(old.process, new.process)
    assert waiter.finish()[0] == 0


def test_translated_stop_reaches_both_masters(serve, relay, pidfile):
    """haproxy's soft stop is USR1."""
    old = serve()
    pidfile.rename(f"{pidfile}.oldbin")
    new = serve(name="new")
    waiter = relay("--stop-signal", "USR1")
    waiter.send(signal.SIGTERM)
    for server in (old, new):
        server.gets("SIGUSR1")
    end(old.process, new.process)
    assert waiter.finish()[0] == 0


def test_child_of_a_holder_is_no_master(start, relay, pidfile):
    """It has closed the lock, and nobody has vouched for it: a stranger in a container of ours."""
    script = 'sleep 1000 1025>&- & echo $! >"$1.draft"; mv "$1.draft" "$1"; wait'
    holder = start("drover-hold", "--pidfile", pidfile, "bash", "-c", script, "bash", pidfile)
    child = int(eventually(lambda: pidfile.exists() and pidfile.read_text(), "the pidfile"))
    waiter = relay()
    waiter.send(signal.SIGTERM)
    waiter.says("cannot relay SIGTERM", str(child), "does not hold")
    assert alive(child)
    os.kill(child, signal.SIGKILL)
    holder.wait()
    assert waiter.finish()[0] == 0


@pytest.mark.parametrize("kind", ["folder", "link", "fifo"])
def test_something_else_at_the_path_ends_no_wait(serve, relay, pidfile, kind):
    """S13: the master dies, its worker holds on to the file that was there."""
    path = pidfile.with_name("app.pid.lock")
    server = serve("SIGHUP=successor")
    waiter = relay()
    waiter.send(signal.SIGHUP)
    first = f"{server.process.pid}\n"
    worker = int(eventually(lambda: pidfile.read_text().replace(first, ""), "the worker"))
    path.rename(f"{path}.moved")
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("nowhere")
    else:
        os.mkfifo(path)
    end(server.process)
    assert still_blocked(waiter.process)
    os.kill(worker, signal.SIGKILL)
    assert waiter.finish()[0] == 0


def test_messages_that_nobody_reads_stop_nothing(serve, start, folder, pidfile):
    fifo = folder / "log"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(fifo, os.O_WRONLY)
    server = serve()
    process = start("drover-wait", "--relay", pidfile, stderr=writer)
    eventually(lambda: still_blocked(process), "the waiter")
    os.set_blocking(writer, False)
    try:
        while os.write(writer, b"x" * 4096):
            pass
    except BlockingIOError:
        os.set_blocking(writer, True)
    process.send_signal(signal.SIGHUP)
    server.gets("SIGHUP")
    process.send_signal(signal.SIGTERM)
    server.gets("SIGHUP", "SIGTERM")
    end(server.process)
    assert process.wait(20) == 0
    os.close(reader)
    os.close(writer)


def test_quiet_relay_still_warns(serve, relay, pidfile):
    server, other = serve(), serve(name="other", names_itself_in="-")
    waiter = relay("-q")
    waiter.send(signal.SIGHUP)
    server.gets("SIGHUP")
    end(server.process)
    pidfile.write_text("1\n")
    waiter.send(signal.SIGTERM)
    assert "cannot relay SIGTERM" in waiter.process.stderr.readline()
    end(other.process)
    assert waiter.finish() == (0, "")


def test_stop_before_the_first_master_is_known(serve, relay, folder, pidfile):
    """The server holds the lock and has yet to write its pidfile."""
    server = serve(names_itself_in="-")
    waiter = relay()
    waiter.send(signal.SIGTERM)
    waiter.says("cannot relay SIGTERM")
    draft = folder / "draft"
    draft.write_text(f"{server.process.pid}\n")
    draft.rename(pidfile)
    server.gets("SIGTERM")
    end(server.process)
    assert waiter.finish()[0] == 0


def test_no_grace_after_a_stop(serve, relay):
    """Nobody is expected; a supervisor that waits for the stop would kill."""
    serve("SIGTERM=exit0")
    waiter = relay("--grace", "1000")
    waiter.send(signal.SIGTERM)
    assert waiter.finish()[0] == 0


def test_stop_in_the_time_of_grace_is_for_the_successor(start, serve, relay, folder, pidfile):
    """Nobody had been asked to stop, so the grace goes on, and a successor is what is to stop."""
    old = serve()
    waiter = relay("--grace", "1000")
    end(old.process)
    eventually(lambda: watches_folder(waiter.process.pid), "the waiter to wait for a successor")
    waiter.send(signal.SIGTERM)
    waiter.says("cannot relay SIGTERM")
    launcher = ("drover-hold", "--pidfile", pidfile)
    new = Server(start, folder, "new", pidfile, "SIGTERM=exit0", launcher=launcher)
    new.gets("SIGTERM")
    assert waiter.finish()[0] == 0


def test_stop_is_not_for_a_generation_that_queued(start, folder, pidfile):
    """drover-hold --new waited for the end of the one that was stopped."""
    launcher = ("drover-hold", "--new", "--pidfile", pidfile)
    for number in range(10):
        old = Server(start, folder, f"old{number}", pidfile, "SIGTERM=exit0", launcher=launcher)
        words = ("drover-wait", "--relay", pidfile)
        process = start(*words)
        eventually(lambda: still_blocked(process), "the waiter")  # noqa: B023
        queued = start(*launcher, "/usr/bin/python3", "-I", "-S", "-B", folder / "recorder.py",
                       folder / f"new{number}.record", pidfile)  # fmt: skip
        eventually(lambda: in_flock(queued.pid), "the next one to queue")  # noqa: B023
        process.send_signal(signal.SIGTERM)
        old.process.wait()
        assert finish(process)[0] == 0
        record = folder / f"new{number}.record"
        eventually(lambda: record.exists() and record.read_text(), "the next one")  # noqa: B023
        assert record.read_text().split() == ["ready"]
        end(queued)
