"""drover-herd: reloads that go wrong in every way, and signals at every moment."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from conftest import needs
from support.herds import Herd
from support.processes import alive, eventually, holders, parent
from support.servers import READY, Gunicorn, Load, Nginx, Unicorn, living_children, read_pid

GUNICORN_APP = """
{prologue}


def app(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        import time
        time.sleep(4)
    start_response("200 OK", [("Content-Length", "3")])
    return [b"ok\\n"]
"""


@pytest.fixture
def unicorn(processes):
    needs("unicorn", "wrk")
    return Unicorn(processes)


@pytest.fixture
def gunicorn(processes):
    needs("gunicorn", "wrk")
    server = Gunicorn(processes)
    (server.folder / "app.py").write_text(GUNICORN_APP.format(prologue=""))
    return server


def start_unicorn(server, *options):
    return Herd(server, *options, command=("unicorn", "-c", server.folder / "unicorn.rb"))


def start_gunicorn(server, *options):
    return Herd(server, *options, command=("gunicorn", "-c", server.folder / "gunicorn.conf.py"))


def goes_on(server, herd, before):
    """The old generation serves, whole; nobody of a new one is left."""
    assert set(server.everybody()) == set(before), herd.said()
    assert server.get() == 200
    assert holders(server.lock) == set(before)


@pytest.mark.parametrize(
    "prologue, options",
    [("import time; time.sleep(3); raise RuntimeError('late')", ()),
     ("import time; time.sleep(1000)", ("--ready-timeout", "8s")),
     ("import os; os._exit(9)", ()),
     ("import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); s.accept()",
      ("--ready-timeout", "8s"))],
    ids=["raises after 3 s", "hangs", "workers crash-loop", "listens elsewhere and hangs"],
)  # fmt: skip
def test_release_that_breaks_late(gunicorn, prologue, options):
    """H29: gunicorn loads the application in its workers: all of them are up, and none serves."""
    herd = start_gunicorn(gunicorn, *options)
    before = gunicorn.everybody()
    load = Load(gunicorn)
    (gunicorn.folder / "app.py").write_text(GUNICORN_APP.format(prologue=prologue))
    verdict, line = herd.reload()
    assert verdict == "failed", line
    goes_on(gunicorn, herd, before)
    (gunicorn.folder / "app.py").write_text(GUNICORN_APP.format(prologue=""))
    verdict, line = herd.reload()
    assert verdict == "done", line
    _, failed, words = load.finish()
    assert failed == 0, f"{words}\n{herd.said()}\n{gunicorn.log()}"
    assert herd.stop() == 0


def test_preloaded_release_that_raises_late(unicorn):
    """H29, F6: the new master has written its pidfile when it dies."""
    herd = start_unicorn(unicorn)
    before = unicorn.everybody()
    (unicorn.folder / "config.ru").write_text("sleep 1.5\nraise 'broken'\n")
    verdict, line = herd.reload()
    assert verdict == "failed" and "the successor has ended" in line
    eventually(lambda: read_pid(unicorn.pidfile) in before, "the pidfile to be given back")
    goes_on(unicorn, herd, before)
    assert herd.stop() == 0


@pytest.mark.parametrize("options, status", [((), 200), (("--drain-timeout", "500ms"), 0)],
                         ids=["answered", "cut off at the limit"])  # fmt: skip
def test_slow_request_on_the_old_generation(gunicorn, options, status):
    """H33, F10: 4 s in flight on the old gunicorn."""
    herd = start_gunicorn(gunicorn, *options)
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(gunicorn.get, "/slow")
        worker_is_busy(gunicorn)
        verdict, line = herd.reload()
        assert slow.result() == status
    assert verdict == "done", line
    assert herd.stop() == 0


def worker_is_busy(server):
    """Some worker has a connection open beside its listener."""

    def busy():
        for worker in living_children(server.master()):
            links = [os.readlink(f"/proc/{worker}/fd/{fd}") for fd in os.listdir(f"/proc/{worker}/fd")]
            if sum(link.startswith("socket:") for link in links) > 1:
                return True
        return False

    def looked():
        try:
            return busy()
        except FileNotFoundError:
            return False

    eventually(looked, "a busy worker")


def test_hook_that_retires_the_old_master(unicorn):
    """H30, F7: unicorn's documented before_fork."""
    hook = (
        "before_fork do |server, _worker|\n"
        '  old = "#{server.config[:pid]}.oldbin"\n'
        "  if File.exist?(old) && server.pid != old\n"
        '    begin; Process.kill("QUIT", File.read(old).to_i); rescue Errno::ENOENT, Errno::ESRCH; end\n'
        "  end\n"
        "end\n"
    )
    with open(unicorn.folder / "unicorn.rb", "a") as file:
        file.write(hook)
    herd = start_unicorn(unicorn)
    load = Load(unicorn)
    for _ in range(2):
        verdict, line = herd.reload()
        assert verdict == "done", line
    _, failed, words = load.finish()
    assert failed == 0, words
    assert herd.stop() == 0


def successor_of(server, old):
    """The new master, while the reload waits for it to be ready."""
    suffix = ".2" if server.name == "gunicorn" else ""

    def found():
        pid = read_pid(server.pidfile.with_name(server.pidfile.name + suffix))
        return pid if pid and pid != old and alive(pid) else None

    return eventually(found, "the successor", READY)


def test_new_master_killed_during_the_overlap(unicorn):
    """H38: the old generation goes on."""
    herd = start_unicorn(unicorn, "--overlap", "30s")
    before = unicorn.everybody()
    old = unicorn.master()
    herd.send(signal.SIGHUP)
    new = successor_of(unicorn, old)
    eventually(lambda: living_children(new), "its workers")
    os.kill(new, signal.SIGKILL)
    verdict, line = herd.verdict(1)
    assert verdict == "failed" and "the successor has ended" in line
    goes_on(unicorn, herd, before)
    assert herd.stop() == 0


def test_workers_of_a_killed_new_master(processes):
    """H38: nginx's workers would serve on for ever without their master."""
    needs("nginx")
    nginx = Nginx(processes)
    herd = Herd(nginx, "--overlap", "30s", command=("nginx", "-c", nginx.folder / "nginx.conf"))
    before = nginx.everybody()
    old = nginx.master()
    herd.send(signal.SIGHUP)
    new = successor_of(nginx, old)
    workers = eventually(lambda: len(found := living_children(new)) == 2 and found, "its workers")
    os.kill(new, signal.SIGKILL)
    verdict, line = herd.verdict(1)
    assert verdict == "failed" and "the successor has ended" in line
    assert not any(map(alive, workers)), herd.said()
    assert {*before} == {old, *living_children(old)}
    assert nginx.get() == 200
    assert herd.stop() == 0


def test_old_master_killed_during_the_overlap(unicorn):
    """H38: the new generation takes over."""
    herd = start_unicorn(unicorn, "--overlap", "2s")
    load = Load(unicorn)
    old = unicorn.master()
    herd.send(signal.SIGHUP)
    new = successor_of(unicorn, old)
    eventually(lambda: len(living_children(new)) == 2, "its workers")
    os.kill(old, signal.SIGKILL)
    verdict, line = herd.verdict(1)
    assert verdict == "done", line
    assert unicorn.master() == new
    load.finish()
    assert herd.stop() == 0


@pytest.mark.parametrize("which", ["old", "new"])
def test_workers_whose_master_was_killed_during_the_overlap(processes, which):
    """H38: nginx's serve on for ever without one: those of the generation that has lost go."""
    needs("nginx")
    nginx = Nginx(processes)
    herd = Herd(nginx, "--overlap", "2s", command=("nginx", "-c", nginx.folder / "nginx.conf"))
    old = nginx.master()
    before = {old, *living_children(old)}
    herd.send(signal.SIGHUP)
    new = successor_of(nginx, old)
    eventually(lambda: len(living_children(new)) == 2, "its workers")
    after = {new, *living_children(new)}
    os.kill({"old": old, "new": new}[which], signal.SIGKILL)
    verdict, line = herd.verdict(1)
    assert verdict == {"old": "done", "new": "failed"}[which], line
    left = {"old": after, "new": before}[which]
    assert holders(nginx.lock) == left, herd.said()
    assert nginx.get() == 200
    herd.send(signal.SIGTERM)
    assert herd.result(READY) == 0
    assert not holders(nginx.lock)


def test_old_master_killed_before_the_new_one_has_a_pidfile(processes):
    """H38: the successor comes all the same, and goes on alone, whatever becomes of orphans."""
    needs("gunicorn")
    gunicorn = Gunicorn(processes)
    with open(gunicorn.folder / "gunicorn.conf.py", "a") as file:
        file.write("import os, time\nif 'GUNICORN_FD' in os.environ: time.sleep(1.5)\n")
    herd = Herd(gunicorn, "--orphans", "kill",
                command=("gunicorn", "-c", gunicorn.folder / "gunicorn.conf.py"))  # fmt: skip
    old = gunicorn.master()
    before = living_children(old)
    herd.send(signal.SIGHUP)
    (new,) = eventually(lambda: living_children(old) - before, "the successor")
    eventually(lambda: herd.knows(new), "the herd to see it")
    os.kill(old, signal.SIGKILL)
    verdict, line = herd.verdict(1)
    assert verdict == "done", f"{line}\n{herd.said()}\n{gunicorn.log()}"
    assert alive(new) and gunicorn.get() == 200
    assert holders(gunicorn.lock) == {new, *living_children(new)}
    os.kill(new, signal.SIGKILL)
    herd.await_words("no master lives")
    assert herd.result(READY) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
@pytest.mark.parametrize("moment", ["asked", "seen", "overlap"])
def test_stop_during_a_reload(unicorn, number, moment):
    """H34, F11: both generations end, and it is no failure."""
    herd = start_unicorn(unicorn, "--overlap", "30s")
    old = unicorn.master()
    herd.send(signal.SIGHUP)
    if moment != "asked":
        new = successor_of(unicorn, old)
        if moment == "overlap":
            eventually(lambda: len(living_children(new)) == 2, "its workers")
    herd.send(number)
    assert herd.result(READY) == 0, herd.said()
    assert not holders(unicorn.lock)
    assert not alive(old)


def test_ten_requests_for_a_reload(unicorn):
    """H35: one at a time, at most one more afterwards, none is lost."""
    herd = start_unicorn(unicorn)
    old = unicorn.master()
    herd.send(signal.SIGHUP)
    successor_of(unicorn, old)
    for _ in range(10):
        herd.send(signal.SIGHUP)
    herd.verdict(2)
    assert herd.verdicts() == ["done", "done"]
    assert "one more reload will follow" in herd.said()
    assert herd.stop() == 0
    assert herd.verdicts() == ["done", "done"]


def test_reload_by_an_operator(unicorn):
    """H36: USR2 and QUIT by hand are followed, not fought."""
    herd = start_unicorn(unicorn)
    old, new = unicorn.upgrade()
    assert alive(old) and herd.running()
    unicorn.retire(old)
    herd.await_words(f"master {old} is gone, master {new} goes on")
    verdict, line = herd.reload()
    assert verdict == "done", line
    assert herd.stop() == 0


def test_signals_reach_the_current_master_only(unicorn):
    """H39."""
    herd = start_unicorn(unicorn)
    verdict, line = herd.reload()
    assert verdict == "done", line
    master = unicorn.master()
    for name, workers in (("TTIN", 3), ("TTOU", 2)):
        herd.send(getattr(signal, f"SIG{name}"))
        eventually(lambda: len(living_children(master)) == workers, f"{workers} workers")
        assert f"passed SIG{name} to master {master}" in herd.said()
    assert herd.stop() == 0


def test_check_comes_first(unicorn):
    """--check: nothing is tried when it fails."""
    herd = start_unicorn(unicorn, "--check", "echo not today; test -e allowed")
    before = unicorn.everybody()
    verdict, line = herd.reload()
    assert verdict == "refused" and "not today" in line
    goes_on(unicorn, herd, before)
    (unicorn.folder / "allowed").touch()
    verdict, line = herd.reload()
    assert verdict == "done", line
    assert herd.stop() == 0


def test_probe_has_to_pass(unicorn):
    """H42: fails, and succeeds late; the command knows the new master."""
    herd = start_unicorn(
        unicorn, "--ready-timeout", "6s", "--probe", "exec:test -e allowed && test $DROVER_MASTER -gt 1",
        "--probe", f"tcp:127.0.0.1:{unicorn.port}", "--probe", f"http://127.0.0.1:{unicorn.port}/",
    )  # fmt: skip
    before = unicorn.everybody()
    verdict, line = herd.reload()
    assert verdict == "failed" and "probe 'exec:test -e allowed" in line
    goes_on(unicorn, herd, before)
    herd.send(signal.SIGHUP)
    successor_of(unicorn, unicorn.master())
    (unicorn.folder / "allowed").touch()
    verdict, line = herd.verdict(2)
    assert verdict == "done", line
    assert herd.stop() == 0


def test_old_workers_leave_one_by_one(unicorn):
    herd = start_unicorn(unicorn, "--retire", "one-by-one")
    load = Load(unicorn)
    verdict, line = herd.reload()
    assert verdict == "done", line
    _, failed, words = load.finish()
    assert failed == 0, words
    assert herd.stop() == 0


def test_release_that_was_deleted(unicorn, folder):
    """H40: the start folder is a link to a release; the next one is used, the old one may be gone."""
    for name in ("1", "2"):
        release = folder / "releases" / name
        release.mkdir(parents=True)
        (release / "config.ru").write_text(f'run ->(_) {{ [200, {{}}, ["release {name}\\n"]] }}\n')
    current = folder / "current"
    current.symlink_to(folder / "releases" / "1")
    unicorn.edit("unicorn.rb", f'working_directory "{unicorn.folder}"', f'working_directory "{current}"')
    herd = start_unicorn(unicorn)
    assert unicorn.ask()[1] == "release 1\n"
    current.unlink()
    current.symlink_to(folder / "releases" / "2")
    (folder / "releases" / "1" / "config.ru").unlink()
    (folder / "releases" / "1").rmdir()
    verdict, line = herd.reload()
    assert verdict == "done", line
    assert unicorn.ask()[1] == "release 2\n"
    assert herd.stop() == 0


def test_stopped_herd_and_a_recycled_number(unicorn):
    """H47: what happens while the herd is stopped does not fool it."""
    herd = start_unicorn(unicorn)
    os.kill(herd.pid, signal.SIGSTOP)
    master = unicorn.master()
    stranger = unicorn.processes.start("sleep", "1000")
    unicorn.kill_everything()
    unicorn.pidfile.write_text(f"{stranger.pid}\n")
    herd.send(signal.SIGTERM)
    os.kill(herd.pid, signal.SIGCONT)
    herd.result(READY)
    assert not alive(master)
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_new_master_is_a_child_of_the_herd_when_the_old_one_has_gone(unicorn):
    """The subreaper adopts it: its end is noticed and reaped."""
    herd = start_unicorn(unicorn)
    verdict, line = herd.reload()
    assert verdict == "done", line
    assert parent(unicorn.master()) == herd.pid
    assert herd.stop() == 0
