"""prefork: the hot reload, and what happens when it goes wrong."""

import os
import signal
import socket

import pytest

from conftest import BUILD, needs
from support.prefork import PlainLoad, is_pending, read_all, request, server, title  # noqa: F401
from support.processes import LIMIT, alive, holders, parent
from support.scenarios import kill_master_only, relay_is_a_main_process, three_reloads_under_load
from support.servers import can_bind, free_port, read_pid

BINARY = BUILD / "examples" / "prefork" / "prefork"


def oldbin(server):
    return server.pidfile.with_name(server.pidfile.name + ".oldbin")


def failed_reload(server):
    """USR2 that comes to nothing: the old master has its place again."""
    old = server.process.pid
    server.tell(signal.SIGUSR2)
    server.await_line(": going on")
    assert_restored(server, old)


def assert_restored(server, old):
    server.until(lambda: read_pid(server.pidfile) == old, "the pidfile to name the old master")
    server.until(lambda: title(old) == "prefork master", "the old master's title")
    assert not oldbin(server).exists()
    assert server.generation() == 0


def test_three_reloads_under_load(server):
    """S2, S9, S10"""
    needs("wrk")
    three_reloads_under_load(server)


def test_relay_reloads_and_stops(server):
    relay_is_a_main_process(server, "SIGQUIT")


def test_every_answer_during_reloads_under_heavy_load(server):
    needs("wrk")
    server.serve("--workers", "4")
    load = PlainLoad(server, connections=16)
    for _ in range(3):
        server.hot_reload()
    done, failed, words = load.finish()
    assert failed == 0, f"{words}"
    assert done >= 100


def test_kept_connections_survive_a_reload(server):
    """No request that was sent goes without an answer, as the client is told "close" in time."""
    needs("wrk")
    server.serve("--keep-alive", "--workers", "4")
    load = PlainLoad(server, connections=4)
    for _ in range(3):
        server.hot_reload()
    done, failed, words = load.finish()
    assert failed == 0, f"{words}\n{server.log()}"
    assert done >= 100


def test_two_masters_side_by_side(server):
    server.serve()
    old, new = server.upgrade()
    assert old == server.process.pid
    assert parent(new) == old
    assert read_pid(oldbin(server)) == old
    assert read_pid(server.pidfile) == new
    server.until(lambda: title(old) == "prefork master (old)", "the old master's new title")
    assert title(new) == "prefork master"
    assert len(server.workers_of(old)) == len(server.workers_of(new)) == 2
    server.retire(old)
    assert not oldbin(server).exists()
    assert read_pid(server.pidfile) == new
    assert server.generation() == 1
    server.tell(signal.SIGQUIT)
    server.until(lambda: not alive(new), "the new master to leave")
    assert not server.pidfile.exists()


def test_listeners_are_the_same_sockets(server):
    """TCP with a port that the kernel chose, and UNIX: a new socket would be another one."""
    path = server.folder / "app.sock"
    server.serve("--listen", "127.0.0.1:0", "--listen", f"unix:{path}")
    server.port = int(server.log().split("listening on 127.0.0.1:")[1].split("\n")[0])
    server.hot_reload()
    assert server.generation() == 1
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(request())
        assert "generation 1" in read_all(connection).decode()


def test_ipv6_listener_over_a_reload(server):
    server.serve("--listen", "[::1]:0")
    port = int(server.log().split("listening on [::1]:")[1].split("\n")[0])
    server.hot_reload()
    with socket.create_connection(("::1", port)) as connection:
        connection.sendall(request())
        assert "generation 1" in read_all(connection).decode()


def test_new_release_under_the_old_name(server):
    """The launch path and the launch folder go through a link, as deployments have it."""
    for release in ("one", "two"):
        (server.folder / release).mkdir()
    (server.folder / "one" / "serve").symlink_to(BINARY)
    (server.folder / "two" / "serve").write_text(
        f'#!/bin/sh\nexec {BINARY} "$@" --reply "two in $(pwd -P)"\n'
    )
    (server.folder / "two" / "serve").chmod(0o755)
    current = server.folder / "current"
    current.symlink_to("one")
    enter = ("sh", "-c", f'cd {current} && exec "$@"', "sh")
    server.serve(before=enter, program="./serve")
    assert server.generation() == 0
    current.unlink()
    current.symlink_to("two")
    server.hot_reload()
    assert server.ask() == (200, f"two in {server.folder}/two\n")


def test_listen_addresses_may_change(server):
    """A socket that the new release does not want is closed, one that it lacks is opened."""
    program = server.folder / "serve"
    program.symlink_to(BINARY)
    server.serve(program=program)
    first = server.port
    server.port = free_port()
    program.unlink()
    program.write_text(f"#!/bin/sh\nexec {' '.join(map(str, server.command(program=BINARY)))}\n")
    program.chmod(0o755)
    server.hot_reload()
    assert server.generation() == 1
    assert "inherited" not in server.log()
    assert can_bind(first)


def test_second_usr2_is_refused(server):
    """At the old master and at the new one, as long as both live."""
    server.serve()
    old, new = server.upgrade()
    for master in (old, new):
        server.tell(signal.SIGUSR2, master)
        server.until(
            lambda asked=master: f"[{asked}] master: no reload: the one before is under way" in server.log(),
            f"master {master} to refuse",
        )
    assert read_pid(server.pidfile) == new
    assert read_pid(oldbin(server)) == old
    server.retire(old)
    assert server.upgrade()[0] == new


@pytest.mark.parametrize("fault", ["reload-failure", "boot-failure@1", "worker-failure@1"])
def test_failed_boot_of_the_new_release(server, fault):
    server.serve("--fault", fault)
    failed_reload(server)


def test_fault_file_breaks_the_next_generation_only(server):
    faults = server.folder / "faults"
    server.serve("--fault-file", faults)
    faults.write_text("boot-failure\n")
    failed_reload(server)
    faults.unlink()
    server.hot_reload()
    assert server.generation() == 1


def test_faults_of_the_environment(server):
    server.serve(env={"PREFORK_FAULT": "reload-failure"})
    failed_reload(server)


@pytest.mark.parametrize("how", ["missing", "not executable"])
def test_program_that_cannot_be_executed(server, how):
    program = server.folder / "serve"
    program.symlink_to(BINARY)
    server.serve(program=program)
    program.unlink()
    if how == "not executable":
        program.write_text("")
    server.tell(signal.SIGUSR2)
    server.await_line("no reload: cannot run")
    assert_restored(server, server.process.pid)
    program.unlink(missing_ok=True)
    program.symlink_to(BINARY)
    server.hot_reload()
    assert server.generation() == 1


def test_hanging_successor_is_killed_by_hand(server):
    server.serve("--fault", "hang-boot@1")
    old = server.process.pid
    server.tell(signal.SIGUSR2)
    new = server.until(lambda: server.successor(old), "the new master")
    assert server.generation() == 0
    server.tell(signal.SIGKILL, new)
    server.await_line("was killed by SIGKILL: going on")
    assert_restored(server, old)


def test_signals_wait_for_a_slow_boot(server):
    """None is lost, and none ends the new master by its default. Its boot waits at the FIFO."""
    faults = server.folder / "faults"
    server.serve("--fault-file", faults)
    os.mkfifo(faults)
    server.tell(signal.SIGUSR2)
    server.await_line("the successor is process")
    new = int(server.log().split("the successor is process ")[1].split()[0])
    for number in (signal.SIGTTIN, signal.SIGHUP, signal.SIGUSR1):
        server.tell(number, new)
        assert is_pending(new, number)
    assert not server.workers_of(new)
    faults.write_text("slow-boot=0.1\n")
    server.await_workers(3, new)


def test_old_master_killed_during_the_overlap(server):
    server.serve()
    old, new = server.upgrade()
    server.tell(signal.SIGKILL, old)
    server.until(lambda: parent(new) != old, "the new master to be nobody's")
    server.until(lambda: server.generation() == 1, "the old workers to leave")
    server.process.wait(LIMIT)
    assert oldbin(server).exists()
    server.hot_reload()
    assert server.generation() == 2
    assert not oldbin(server).exists()


def test_rollback_by_hand(server):
    """The new master is told to quit: the old one has its place again."""
    server.serve()
    old, new = server.upgrade()
    server.tell(signal.SIGQUIT, new)
    server.until(lambda: not alive(new), "the new master to leave")
    assert_restored(server, old)


def test_winch_keeps_the_way_back_open(server):
    """nginx's recipe: the old master rests while the new one is on trial, and HUP brings it back."""
    server.serve()
    old, new = server.upgrade()
    server.tell(signal.SIGWINCH, old)
    server.await_workers(0, old)
    assert server.generation() == 1
    server.tell(signal.SIGHUP, old)
    server.await_workers(2, old)
    server.tell(signal.SIGQUIT, new)
    server.until(lambda: not alive(new), "the new master to leave")
    assert_restored(server, old)


def test_pidfile_that_names_somebody_else_is_not_taken_back(server):
    server.serve("--fault", "hang-boot@1")
    server.tell(signal.SIGUSR2)
    new = server.until(lambda: server.successor(server.process.pid), "the new master")
    server.pidfile.write_text("1\n")
    server.tell(signal.SIGKILL, new)
    server.await_line("names process 1: left as it is")
    assert server.pidfile.read_text() == "1\n"
    assert server.generation() == 0


def held_by_successor(server, placement, *options):
    hold = ("drover-hold", "--fd", placement, server.lock)
    server.serve(*options, before=hold)
    old, new = server.upgrade()
    workers = server.workers_of(new)
    assert {old, *server.workers_of(old)} <= holders(server.lock)
    held = {pid for pid in (new, *workers) if pid in holders(server.lock)}
    assert held in (set(), {new, *workers})
    return bool(held)


@pytest.mark.parametrize(
    "placement, fault, survives",
    [
        ("low", None, True),
        ("high", None, True),
        ("low", "close-descriptors", False),
        ("high", "close-descriptors", True),
        ("low", "close-all-descriptors", False),
        ("high", "close-all-descriptors", False),
    ],
)
def test_lock_over_a_reload(server, placement, fault, survives):
    """S3: descriptors that are not prefork's stay open, unless the fault asks otherwise."""
    options = ("--fault", fault) if fault else ()
    assert held_by_successor(server, placement, *options) is survives


def test_waiter_outlives_the_master_alone(server):
    """The workers finish and leave; then, and not before, the service is gone."""
    server.launch()
    _, workers, waiters = kill_master_only(server)
    assert [waiter.result() for waiter in waiters] == [0, 0]
    assert not any(map(alive, workers))


def test_ignored_quit(server):
    """Only TERM ends it."""
    server.serve("--fault", "ignore-quit")
    old, new = server.upgrade()
    server.tell(signal.SIGQUIT, old)
    server.await_line(f"[{old}] master: SIGQUIT")
    workers = server.workers_of(old)
    for worker in workers:
        server.tell(signal.SIGQUIT, worker)
    server.tell(signal.SIGTTIN, old)  # taken after it
    assert set(server.await_workers(3, old)) > set(workers)
    server.tell(signal.SIGTERM, old)
    server.until(lambda: not alive(old), "the old master to leave")
    assert os.path.exists(f"/proc/{new}")
