"""unicorn 6 under drover, by examples/unicorn."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import needs
from support.flocks import command_name
from support.processes import alive, eventually, holders
from support.scenarios import (
    kill_master_only,
    relay_is_a_main_process,
    said_of_the_dead_master,
    three_reloads_under_load,
)
from support.servers import READY, Unicorn, Waiter, living_children

# Answers /held only when the test allows it: by the file "gate", after it made the file "inside".
GATED_APP = """
run lambda { |env|
  if env["PATH_INFO"] == "/held"
    File.write("inside", "")
    sleep 0.01 until File.exist?("gate")
  end
  [200, {"Content-Type" => "text/plain"}, ["done\\n"]]
}
"""


@pytest.fixture
def server(processes):
    needs("unicorn", "wrk")
    return Unicorn(processes)


def launch_low(server):
    server.launch(
        "drover-hold", "--fd", "low", "--pidfile", server.pidfile,
        "unicorn", "-D", "-c", server.folder / "unicorn.rb",
    )  # fmt: skip


def test_three_hot_reloads_under_load(server):
    """S2, S9, S10: by the high descriptor alone, with no line of Ruby. There is always a request in
    flight: a quick stop of the old master (INT) fails this test."""
    server.edit("config.ru", "[200,", "sleep 0.02; [200,")
    three_reloads_under_load(server)


def test_relay_reloads_and_stops(server):
    relay_is_a_main_process(server, "SIGQUIT")


def test_stop_while_a_reload_is_under_way(server):
    """The successor has yet to write its pidfile, and is stopped as well."""
    server.launch()
    waiter = Waiter(server, "--relay", server.pidfile, "--stop-signal", "QUIT")
    oldbin = server.pidfile.with_name(server.pidfile.name + ".oldbin")
    waiter.signal(signal.SIGUSR2)
    eventually(oldbin.exists, "the reload to begin")
    waiter.signal(signal.SIGTERM)
    assert waiter.result(READY) == 0
    assert not holders(server.lock)


def test_killed_master_takes_its_workers_along(server):
    server.launch()
    _, workers, waiters = kill_master_only(server)
    assert [waiter.result() for waiter in waiters] == [0, 0]
    assert not any(map(alive, workers))


def test_request_in_flight_outlives_a_killed_master(server):
    """S8: the request gets its answer, then the death is reported."""
    (server.folder / "config.ru").write_text(GATED_APP)
    # An idle worker may have a busy sibling that keeps its pipe open: then it looks after half of it.
    server.edit("unicorn.rb", "timeout 30", "timeout 20")
    server.launch()
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(server.get, "/held")
        try:
            eventually((server.folder / "inside").exists, "the request to arrive")
            master, workers, waiters = kill_master_only(server)
            assert 1 <= said_of_the_dead_master(server, waiters[1], master) <= len(workers)
            busy = eventually(lambda: only_one(workers), "the idle worker to leave")
            assert holders(server.lock) == {busy}
            assert all(waiter.waiting() for waiter in waiters)
            assert not answer.done()
        finally:
            (server.folder / "gate").touch()
        assert answer.result() == 200
    assert [waiter.result() for waiter in waiters] == [0, 0]


def only_one(pids):
    living = [pid for pid in pids if alive(pid)]
    return living[0] if len(living) == 1 else None


def test_low_descriptor_is_lost_and_said(server):
    """S3: the lock is free after a reload, and it is no false death: the relay goes on by the pidfd."""
    launch_low(server)
    relay = Waiter(server, "--relay", server.pidfile)
    new = server.hot_reload(relay)
    eventually(lambda: "hint: take the lock with 'drover-hold --fd high'" in relay.said(), "the cure")
    assert f"process {new}, lives" in relay.said() and "drover.rb" in relay.said()
    assert holders(server.lock) == set()
    assert relay.waiting()
    assert server.get() == 200
    server.kill_everything()
    assert relay.result() == 0


def test_low_descriptor_lost_again_and_again(server):
    """S3: each later master descends from a verified one, and is followed."""
    launch_low(server)
    relay = Waiter(server, "--relay", server.pidfile)
    for _ in range(3):
        server.hot_reload(relay)
        assert relay.waiting(), relay.said()
    relay.signal(signal.SIGQUIT)
    assert relay.result(READY) == 0
    assert server.master() is None


def test_plain_wait_knows_the_lock_only(server):
    """S3 without --relay: a lost lock is free, and --grace is only a delay."""
    launch_low(server)
    plain = Waiter(server, "--grace", "500ms", server.lock)
    server.hot_reload()
    assert plain.result() == 0
    assert server.get() == 200
    server.stop()


@pytest.mark.parametrize("start_file", ["unicorn.rb", "unicorn-hook.rb"])
def test_worker_exec(server, start_file):
    """Workers that are executed, not only forked, hold too: under drover-hold, or by the hook."""
    # A worker that is executed reads the configuration, too, and must not claim the pidfile.
    pidfile = f'pid "{server.pidfile}"'
    server.edit("unicorn.rb", pidfile, f'{pidfile} unless ENV["UNICORN_WORKER"]')
    server.edit("unicorn.rb", "preload_app true", "worker_exec true")
    prefix = ["drover-hold", server.lock] if start_file == "unicorn.rb" else []
    server.launch(*prefix, "unicorn", "-D", "-c", server.folder / start_file)
    waiter = Waiter(server, server.lock)
    for _ in range(2):
        new = server.hot_reload()
        assert holders(server.lock) >= {new, *living_children(new)}
    os.kill(server.master(), signal.SIGKILL)
    assert waiter.result() == 0


def test_leaked_child_holds(server):
    """S16: a daemon that the application started is found; drover-wait's limit fires."""
    server.edit("config.ru", "run ->", '$daemon = spawn("sleep 1000")\nrun ->')
    server.launch()
    everybody = server.everybody()
    leaked = eventually(lambda: named(everybody, "sleep"), "the leaked process")
    assert leaked
    os.kill(server.master(), signal.SIGQUIT)
    eventually(lambda: not any(alive(pid) for pid in everybody if pid != leaked), "unicorn to stop")

    waited = server.processes.run("drover-wait", "-w", "200ms", server.lock)
    assert waited.returncode == 1 and "still held" in waited.stderr
    assert holders(server.lock) == {leaked}
    shown = server.processes.run("drover-ls", "--pids", server.lock)
    assert shown.stdout.split() == [str(leaked)]
    os.kill(leaked, signal.SIGKILL)
    eventually(lambda: not alive(leaked), "the leaked process to end")


def named(pids, name):
    return next((pid for pid in pids if command_name(pid) == name), None)
