"""prefork: each signal that the master takes."""

import os
import pty
import signal

import pytest

from conftest import needs
from support.prefork import PlainLoad, clients, is_pending, server, title  # noqa: F401
from support.processes import LIMIT, PAUSE, alive
from support.servers import can_bind, read_pid


def has_ended(server):
    assert not server.pidfile.exists()
    assert can_bind(server.port)
    return True


def test_quit_finishes_the_request_in_flight(server):
    server.serve("--timeout", "300s")
    answer = server.begin_request()
    server.tell(signal.SIGQUIT)
    (busy,) = server.await_workers(1)
    assert server.process.poll() is None
    assert answer.finish() == (200, busy)
    assert server.process.wait(LIMIT) == 0
    assert has_ended(server)


def test_quit_is_bounded_by_the_timeout(server, clients):
    server.serve("--timeout", "3s")
    answer = clients.submit(server.ask, "/slow?ms=600000")
    server.busy_worker()
    server.tell(signal.SIGQUIT)
    assert server.process.wait(LIMIT) == 0
    assert answer.result()[0] == 0
    assert "is overdue" in server.log()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_term_and_int_do_not_wait(server, clients, number):
    server.serve("--timeout", "300s")
    answer = clients.submit(server.ask, "/hang")
    server.busy_worker(call=PAUSE)
    server.tell(number)
    assert server.process.wait(LIMIT) == 0
    assert answer.result()[0] == 0
    assert "is overdue" not in server.log()
    assert has_ended(server)


def test_term_cuts_a_graceful_stop_short(server, clients):
    server.serve("--timeout", "300s")
    answer = clients.submit(server.ask, "/hang")
    server.busy_worker(call=PAUSE)
    server.tell(signal.SIGQUIT)
    server.await_line("SIGQUIT")
    server.tell(signal.SIGTERM)
    assert server.process.wait(LIMIT) == 0
    assert answer.result()[0] == 0


def test_ttin_and_ttou(server, clients):
    server.serve()
    master = server.process.pid
    server.tell(signal.SIGTTIN)
    server.await_workers(3)
    server.tell(signal.SIGTTIN)
    workers = server.await_workers(4)
    assert sorted(map(title, workers)) == [f"prefork worker[{number}]" for number in range(4)]
    for left in (3, 2, 1, 0):
        server.tell(signal.SIGTTOU)
        server.await_workers(left)
    server.tell(signal.SIGTTOU)
    # Taken before the next one is sent: the kernel hands out pending signals by their number.
    server.until(lambda: server.log().count("SIGTTOU") == 5, "the fifth SIGTTOU")
    answer = clients.submit(server.ask)
    server.tell(signal.SIGTTIN)
    assert answer.result()[0] == 200, "a client waits while there is no worker"
    assert len(server.await_workers(1)) == 1
    assert alive(master)


def test_ttou_finishes_the_request_in_flight(server):
    server.serve("--timeout", "300s", "--workers", "1")
    answer = server.begin_request()
    (busy,) = server.workers_of(server.process.pid)
    server.tell(signal.SIGTTOU)
    server.until(lambda: is_pending(busy, signal.SIGQUIT), "the worker to be told")
    assert answer.finish() == (200, busy)
    server.await_workers(0)


def test_usr1_reopens_the_log_everywhere(server):
    log = server.folder / "app.log"
    server.launch("--log", log)
    everybody = server.everybody()
    assert len(everybody) == 3
    rotated = server.folder / "app.log.1"
    log.rename(rotated)

    def all_write_to(path):
        return all(os.readlink(f"/proc/{pid}/fd/2") == str(path) for pid in everybody)

    assert all_write_to(rotated)
    server.tell(signal.SIGUSR1)
    server.until(lambda: log.exists() and all_write_to(log), "everybody to write to the new log")
    before = rotated.read_text()
    server.stop()
    assert "stopped" in log.read_text()
    assert "worker[1]: left" in log.read_text()
    assert rotated.read_text() == before


def test_usr1_keeps_the_log_when_there_is_no_new_one(server):
    folder = server.folder / "logs"
    folder.mkdir()
    server.launch("--log", folder / "app.log")
    moved = server.folder / "moved"
    folder.rename(moved)
    server.tell(signal.SIGUSR1)
    server.until(lambda: "cannot open log" in (moved / "app.log").read_text(), "the complaint")
    assert server.get() == 200
    server.stop()


def test_winch_and_hup(server):
    """WINCH sends the workers home and keeps master and socket; HUP calls new ones."""
    server.serve()
    before = server.workers_of(server.process.pid)
    server.tell(signal.SIGWINCH)
    server.await_workers(0)
    with server.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        server.tell(signal.SIGHUP)
        assert connection.recv(100).startswith(b"HTTP/1.1 200"), "the connection has waited in the queue"
    assert not set(server.await_workers(2)) & set(before)


def test_ttin_ends_winch_and_ttou_does_not(server):
    server.serve("--workers", "3")
    server.tell(signal.SIGWINCH)
    server.await_workers(0)
    server.tell(signal.SIGTTOU)
    server.await_line("SIGTTOU")
    server.tell(signal.SIGTTIN)
    server.await_workers(3)
    assert server.log().count(": up") == 6


def test_winch_of_a_terminal_is_no_order(server):
    """A terminal sends it to its foreground processes whenever its window changes."""
    ours, theirs = pty.openpty()
    try:
        server.serve(stdin=theirs)
        before = server.workers_of(server.process.pid)
        server.tell(signal.SIGWINCH)
        server.await_line("SIGWINCH")
        server.tell(signal.SIGTTIN)  # taken after it
        assert set(server.await_workers(3)) > set(before)
    finally:
        os.close(ours)
        os.close(theirs)


def test_hup_replaces_one_by_one_under_load(server):
    needs("wrk")
    server.serve("--workers", "3")
    master = server.process.pid
    before = set(server.workers_of(master))
    load = PlainLoad(server, connections=4)
    server.tell(signal.SIGHUP)
    fewest = 3

    def all_new():
        nonlocal fewest
        workers = server.workers_of(master)
        fewest = min(fewest, len(workers))
        return len(workers) == 3 and not set(workers) & before

    server.until(all_new, "three new workers")
    done, failed, words = load.finish()
    assert failed == 0, words
    assert done > 0
    assert fewest >= 2
    order = [line.split("] ")[1] for line in server.log().splitlines() if "worker[" in line]
    assert order[3:] == [f"worker[{number}]: {what}" for number in range(3) for what in ("left", "up")]


def test_signals_that_no_worker_needs_do_it_no_harm(server):
    """Sent to a process group, they reach the workers as well."""
    server.serve()
    workers = server.workers_of(server.process.pid)
    for number in (signal.SIGHUP, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH):
        for worker in workers:
            server.tell(number, worker)
    assert server.get() == 200
    assert server.workers_of(server.process.pid) == workers


def test_ignored_signals_are_inherited_and_taken_all_the_same(server, clients):
    """What nohup or a careless parent leaves behind."""
    server.serve(before=("sh", "-c", "trap '' CHLD HUP TERM QUIT; exec \"$@\"", "sh"))
    workers = server.workers_of(server.process.pid)
    server.tell(signal.SIGHUP)
    server.until(lambda: not set(server.workers_of(server.process.pid)) & set(workers), "HUP to work")
    answer = clients.submit(server.ask, "/hang")
    server.busy_worker(call=PAUSE)
    server.tell(signal.SIGTERM)
    assert server.process.wait(LIMIT) == 0
    assert answer.result()[0] == 0
    assert "overdue" not in server.log()


def test_pidfile_of_somebody_else_is_left(server):
    server.serve()
    assert read_pid(server.pidfile) == server.process.pid
    server.pidfile.write_text("1\n")
    server.process.send_signal(signal.SIGQUIT)
    assert server.process.wait(LIMIT) == 0
    assert server.pidfile.read_text() == "1\n"
