"""lib/hooks inside the real servers, and the recipes that do not work beside them."""

import os
import signal

import pytest

from conftest import needs
from support.processes import eventually, holders
from support.servers import HOOKS, READY, Gunicorn, Load, Unicorn, Waiter

# What an application does anyway from time to time, here in each request and all the time in a master.
COLLECTING_APP = """
run lambda { |_env|
  GC.start
  [200, {"Content-Type" => "text/plain"}, ["collected\\n"]]
}
"""
COLLECTING_MASTER = """
Thread.new { loop { GC.start; sleep 0.02 } }
"""
LOCAL_VARIABLE = """
before_fork do |server, _worker|
  file = File.open("#{server.config[:pid]}.lock", File::RDWR | File::CREAT)
  file.flock(File::LOCK_SH)
end
"""
LOCAL_FILE = """
def on_starting(server):
    file = open(server.cfg.pidfile + ".lock", "w")
    fcntl.flock(file, fcntl.LOCK_SH)
"""


@pytest.fixture
def unicorn(processes):
    needs("unicorn", "wrk")
    server = Unicorn(processes)
    (server.folder / "config.ru").write_text(COLLECTING_APP)
    return server


@pytest.fixture
def gunicorn(processes):
    needs("gunicorn")
    return Gunicorn(processes)


def append(server, file, text):
    with open(server.folder / file, "a") as config:
        config.write(text)


def launch_unicorn(server, config, *prefix):
    append(server, config, COLLECTING_MASTER)
    server.launch(*prefix, "unicorn", "-D", "-c", server.folder / config)


def requests(server, count=10):
    for _ in range(count):
        assert server.get() == 200


def test_unicorn_hook_outlives_garbage_collection(unicorn):
    """The hook alone, three generations under load, GC.start in every request and in the masters."""
    launch_unicorn(unicorn, "unicorn-hook.rb")
    waiter = Waiter(unicorn, unicorn.lock)
    load = Load(unicorn, connections=2)
    for _ in range(3):
        old, new = unicorn.upgrade()
        requests(unicorn)
        assert holders(unicorn.lock) >= set(unicorn.everybody()) >= {old, new}
        unicorn.retire(old)
        requests(unicorn)
        assert holders(unicorn.lock) >= set(unicorn.everybody())
        assert waiter.waiting()
    done, failed, words = load.finish()
    assert failed == 0, f"{failed} of {done} requests failed:\n{words}\n{unicorn.log()}"
    assert one_descriptor_each(unicorn)
    unicorn.kill_everything()
    assert waiter.result() == 0


def one_descriptor_each(server):
    """Generations and respawned workers do not pile descriptors up."""
    for pid in server.everybody():
        folder = f"/proc/{pid}/fd"
        names = [os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)]
        assert names.count(str(server.lock)) == 1, (pid, names)
    return True


def test_unicorn_local_variable_loses_the_lock(unicorn):
    """The control: a File in a local variable of before_fork is closed by the collector."""
    append(unicorn, "unicorn.rb", LOCAL_VARIABLE)
    launch_unicorn(unicorn, "unicorn.rb")

    def lost():
        requests(unicorn)
        return not holders(unicorn.lock)

    eventually(lost, "the garbage collector to take the lock away", READY)
    assert unicorn.get() == 200
    unicorn.stop()


def test_unicorn_hook_under_drover_hold_takes_no_second_lock(unicorn):
    launch_unicorn(unicorn, "unicorn-hook.rb", "drover-hold", unicorn.lock)
    waiter = Waiter(unicorn, unicorn.lock)
    unicorn.hot_reload()
    assert one_descriptor_each(unicorn)
    os.kill(unicorn.master(), signal.SIGQUIT)
    assert waiter.result() == 0


def test_unicorn_hook_with_a_low_limit_takes_the_lock_anew(unicorn):
    """No descriptor above 1024 to be had: each master takes its own while the one before holds."""
    needs("prlimit")
    launch_unicorn(unicorn, "unicorn-hook.rb", "prlimit", "--nofile=512:512")
    waiter = Waiter(unicorn, unicorn.lock)
    for _ in range(2):
        unicorn.hot_reload()
        assert holders(unicorn.lock) >= set(unicorn.everybody())
        assert waiter.waiting()
    unicorn.kill_everything()
    assert waiter.result() == 0


KEEPING = """
before_exec do |_server|
  IO.for_fd(ENV["DROVER_LOCK_FD"].to_i, autoclose: false).close_on_exec = false
end
"""
TAKING = f"""
require "{HOOKS}/drover"
before_exec {{ |server| Drover.hold("#{{server.config[:pid]}}.lock") }}
"""


@pytest.mark.parametrize("limit", ["512:512", "512:4096"])
@pytest.mark.parametrize("hook", [KEEPING, TAKING], ids=["keeps", "takes"])
def test_unicorn_before_exec(unicorn, hook, limit):
    """S2: the lock of a low descriptor, which unicorn closes, goes to the new master all the same."""
    needs("prlimit")
    append(unicorn, "unicorn.rb", hook)
    hold = ("prlimit", f"--nofile={limit}", "drover-hold", "--fd", "low", unicorn.lock)
    launch_unicorn(unicorn, "unicorn.rb", *hold)
    waiter = Waiter(unicorn, unicorn.lock)
    for _ in range(2):
        old, new = unicorn.upgrade()
        assert holders(unicorn.lock) >= {old, new}
        unicorn.retire(old)
        assert holders(unicorn.lock) >= set(unicorn.everybody())
        assert waiter.waiting()
    unicorn.kill_everything()
    assert waiter.result() == 0


def test_unicorn_hook_holds_before_the_start_returns(unicorn):
    launched = unicorn.processes.run("unicorn", "-D", "-c", unicorn.folder / "unicorn-hook.rb")
    assert launched.returncode == 0
    assert unicorn.master() in holders(unicorn.lock)
    unicorn.await_service()
    unicorn.stop()


def test_gunicorn_hook(gunicorn):
    """on_starting, through HUP and three times USR2 with TERM."""
    gunicorn.launch("gunicorn", "-c", gunicorn.folder / "gunicorn_hook.conf.py")
    waiters = [Waiter(gunicorn, gunicorn.lock), Waiter(gunicorn, "--relay", gunicorn.pidfile)]
    os.kill(gunicorn.master(), signal.SIGHUP)
    for _ in range(3):
        old, new = gunicorn.upgrade()
        assert holders(gunicorn.lock) >= {old, new}
        gunicorn.retire(old)
        eventually(lambda: gunicorn.master() == new, "the pidfile to name the new master")
        assert holders(gunicorn.lock) >= set(gunicorn.everybody())
        assert gunicorn.get() == 200
        assert all(waiter.waiting() for waiter in waiters)
    assert one_descriptor_each(gunicorn)
    gunicorn.kill_everything()
    assert [waiter.result() for waiter in waiters] == [0, 0]


def test_gunicorn_local_file_holds_nothing(gunicorn):
    """The control: Python closes the file when the hook returns."""
    append(gunicorn, "gunicorn.conf.py", f"\nimport fcntl\n{LOCAL_FILE}")
    gunicorn.launch("gunicorn", "-c", gunicorn.folder / "gunicorn.conf.py")
    assert gunicorn.lock.exists() and holders(gunicorn.lock) == set()
    gunicorn.stop()
