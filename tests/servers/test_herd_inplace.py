"""drover-herd over the servers that reload in place: puma, haproxy, php-fpm and uWSGI. A verdict is
true: "done" when the new image serves with new workers, else "failed"."""

import os
import signal

import pytest

from conftest import needs
from support.herds import Herd
from support.inplace import HAPROXY, PHP_FPM, Haproxy, PhpFpm, Uwsgi
from support.processes import alive, eventually, holders
from support.servers import READY, Load, Puma, Waiter, can_bind, free_port, living_children

ENOUGH = 20


class HaproxyHerd(Haproxy):
    program = "haproxy"
    keeps_lock = True
    check = "haproxy -c -f haproxy.cfg"
    mode = "-W"
    CONFIG = HAPROXY.replace("status 200", 'status 200 content-type text/plain string "release RELEASE"')

    def command(self):
        return ("haproxy", self.mode, "-f", self.folder / "haproxy.cfg")

    def release(self, name):
        self.write("haproxy.cfg", self.CONFIG.replace("RELEASE", str(name)))

    def release_broken(self):
        self.write("haproxy.cfg", self.CONFIG + "this release is broken\n")


class HaproxyNotifyHerd(HaproxyHerd):
    """It says READY=1, also when the new configuration was refused."""

    mode = "-Ws"


class PhpFpmHerd(PhpFpm):
    """Behind an nginx, which is none of the herd's."""

    keeps_lock = True
    check = "php-fpm8.2 --test --fpm-config php-fpm.conf"
    CONFIG = (
        PHP_FPM.replace("{port}", "{fpm_port}")
        .replace("{folder}/php-fpm.log", "/dev/stderr\nprocess_control_timeout = 20s")
        + "env[RELEASE] = RELEASE\n"
    )
    FRONT = """
daemon off;
master_process off;
pid {folder}/front.pid;
error_log {folder}/front.log;
events {}
http {
  access_log off;
  server {
    listen 127.0.0.1:{port};
    location / {
      fastcgi_pass 127.0.0.1:{fpm_port};
      fastcgi_param SCRIPT_FILENAME {folder}/index.php;
      fastcgi_param REQUEST_METHOD GET;
    }
  }
}
"""

    def __init__(self, processes):
        super().__init__(processes)
        self.fpm_port = free_port()
        self.folder.chmod(0o755)
        self.folder.parent.chmod(0o755)
        self.write("index.php", "release <?php echo getenv('RELEASE');")
        config = self.write("front.conf", self.FRONT)
        self.front = processes.start("nginx", "-c", config)

    def write(self, name, text):
        return super().write(name, text.replace("{fpm_port}", str(self.fpm_port)))

    def command(self):
        return (self.program, "--nodaemonize", "--fpm-config", self.folder / "php-fpm.conf")

    def ask(self, path="/"):
        return super(PhpFpm, self).ask(path)

    def get(self, path="/"):
        return super(PhpFpm, self).get(path)

    def release(self, name):
        self.write("php-fpm.conf", self.CONFIG.replace("= RELEASE", f"= {name}"))

    def release_broken(self):
        self.write("php-fpm.conf", self.CONFIG + "this release is broken\n")

    def close(self):
        self.front.terminate()
        self.front.wait()


class UwsgiHerd(Uwsgi):
    program = "uwsgi_python3"
    keeps_lock = False
    check = "python3 -B -c 'import app'"
    APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Length", "9"), ("Connection", "close")])
    return [b"release RELEASE"]
"""

    def command(self, *options):
        return super().command("--disable-logging", *options)

    def release(self, name):
        self.write("app.py", self.APP.replace("RELEASE", str(name)))

    def release_broken(self):
        self.write("app.py", "raise RuntimeError('this release is broken')\n")


class UwsgiSafeHerd(UwsgiHerd):
    """uWSGI spares the lock when it is told its number."""

    keeps_lock = True

    def command(self):
        return super().command("--safe-fd", "$(DROVER_LOCK_FD)")


class PumaHerd(Puma):
    program = "puma"
    keeps_lock = False
    check = "ruby -c puma.rb"
    cluster = 2

    def __init__(self, processes):
        super().__init__(processes)
        self.edit("puma.rb", "workers 2", f"workers {self.cluster}")
        self.good = (self.folder / "puma.rb").read_text()

    def command(self):
        return ("puma", "-C", self.folder / "puma.rb")

    def release(self, name):
        (self.folder / "puma.rb").write_text(self.good)
        text = f'run ->(_) {{ [200, {{"Content-Type" => "text/plain"}}, ["release {name}"]] }}\n'
        (self.folder / "config.ru").write_text(text)

    def release_broken(self):
        (self.folder / "puma.rb").write_text("raise 'this release is broken' if\n")


class PumaSingleHerd(PumaHerd):
    cluster = 0


KINDS = {
    "haproxy": HaproxyHerd,
    "haproxy -Ws": HaproxyNotifyHerd,
    "php-fpm": PhpFpmHerd,
    "uwsgi": UwsgiHerd,
    "uwsgi --safe-fd": UwsgiSafeHerd,
    "puma": PumaHerd,
    "puma single": PumaSingleHerd,
}
HAPROXIES = ["haproxy", "haproxy -Ws"]
ONES_THAT_DIE = [kind for kind in KINDS if kind not in HAPROXIES]
FORGETFUL = ["uwsgi", "puma", "puma single"]


def make(kind, processes):
    needs(KINDS[kind].program, "wrk", "nginx")
    server = KINDS[kind](processes)
    server.release(0)
    return server


@pytest.fixture
def server(request, processes):
    server = make(request.param, processes)
    yield server
    if hasattr(server, "close"):
        server.close()


def of(*kinds):
    return pytest.mark.parametrize("server", kinds, indirect=True)


def start_herd(server, *options, **more):
    return Herd(server, *options, command=server.command(), env={"PYTHONDONTWRITEBYTECODE": "1"}, **more)


def family(server):
    """The master and its living workers."""
    master = server.master()
    return {master, *living_children(master)}


def awaiting(server, name):
    """The release answers, by each of its workers."""
    answers = [server.ask() for _ in range(ENOUGH)]
    assert answers == [(200, f"release {name}")] * ENOUGH, f"{answers}\n{server.log()}"


def put_out(server, herd, name):
    server.release(name)
    before = living_children(server.master())
    verdict, line = herd.reload()
    assert verdict == "done", f"{line}\n{herd.said()}\n{server.log()}"
    awaiting(server, name)
    if server.program == "puma" or "uwsgi" in server.program:  # their workers leave before the exec
        assert not living_children(server.master()) & before


def lost_none(server, result, herd):
    """puma 5.6 itself loses a request or two in five hot restarts, also without drover: one that each
    client has in flight at most, each time. A worker of uWSGI ends in its signal handler when it has just
    accepted a connection and has not noted yet that it is in a request (gracefully_kill() of 2.0.21)."""
    done, failed, words = result
    may_lose = {"puma": 4, "uwsgi_python3": 2}.get(server.program, 0) * len(herd.verdicts())
    assert failed <= may_lose < done, f"{failed} of {done} failed:\n{words}\n{herd.said()}\n{server.log()}"


@of(*KINDS)
def test_three_reloads_under_load(server):
    """H28, S4, S5: no failed request, the lock is held throughout, and the verdict comes when the new
    release answers."""
    herd = start_herd(server)
    waiter = Waiter(server, server.lock)
    master = server.master()
    load = Load(server)
    for number in range(1, 4):
        put_out(server, herd, number)
        assert server.master() == master
        assert waiter.waiting()
        assert (holders(server.lock) >= family(server)) == server.keeps_lock
    lost_none(server, load.finish(), herd)
    assert herd.stop() == 0, herd.said()
    assert waiter.result(READY) == 0
    assert not holders(server.lock)


@of(*ONES_THAT_DIE)
def test_broken_release_ends_the_server(server):
    """H29: it has no way back, and that is said: a verdict, and status 1."""
    herd = start_herd(server)
    put_out(server, herd, 1)
    server.release_broken()
    verdict, line = herd.reload()
    assert verdict == "failed" and "no master lives" in line, line
    assert herd.result(READY) == 1
    assert "the server has ended by itself" in herd.said()
    if not isinstance(server, PumaHerd):  # it writes to its own log
        assert "the successor wrote: " in herd.said()
    assert not holders(server.lock)


@of("puma")
def test_release_that_breaks_in_the_workers(server):
    """puma's master lives on and starts them again and again: failed, and a good release cures it."""
    herd = start_herd(server)
    (server.folder / "config.ru").write_text("raise 'this release is broken'\n")
    verdict, line = herd.reload()
    assert verdict == "failed" and "its workers do not stay" in line, line
    put_out(server, herd, 1)
    assert herd.stop() == 0


@of(*HAPROXIES)
def test_broken_release_of_haproxy(server):
    """Its master keeps the old workers, and is seen to: they serve on."""
    herd = start_herd(server)
    put_out(server, herd, 1)
    master = server.master()
    load = Load(server)
    server.release_broken()
    for _ in range(2):
        verdict, line = herd.reload()
        assert verdict == "failed" and f"master {master} goes on" in line, line
        assert "the server refused its new configuration" in line
        herd.await_words("the successor wrote: .*unknown keyword 'this'")
    awaiting(server, 1)
    put_out(server, herd, 2)
    _, failed, words = load.finish()
    assert failed == 0, f"{words}\n{herd.said()}"
    assert herd.stop() == 0


@of(*KINDS)
def test_check_comes_first(server):
    """What cannot be rolled back can be refused."""
    herd = start_herd(server, "--check", server.check)
    server.release_broken()
    before = family(server)
    verdict, line = herd.reload()
    assert verdict == "refused" and f"'{server.check}' exited with status" in line, line
    assert family(server) == before
    awaiting(server, 0)
    put_out(server, herd, 1)
    assert herd.stop() == 0


@pytest.mark.parametrize("reloaded", [False, True], ids=["at first", "after a reload"])
@of(*KINDS)
def test_killed_server(server, reloaded):
    """S9: everything at once is noticed at once, whoever has the lock."""
    herd = start_herd(server)
    waiter = Waiter(server, server.lock)
    if reloaded:
        put_out(server, herd, 1)
    killed = server.kill_everything()
    assert herd.result() == 1, herd.said()
    assert waiter.result() == 0
    assert not any(map(alive, killed))


@of(*KINDS)
def test_killed_master(server):
    """S6: workers that live on are seen to, also when they do not hold the lock."""
    herd = start_herd(server, "--orphans", "kill")
    put_out(server, herd, 1)
    everybody = server.everybody()
    os.kill(server.master(), signal.SIGKILL)
    assert herd.result(READY) == 1, herd.said()
    assert not any(map(alive, everybody))
    assert not holders(server.lock)


@of("php-fpm", "puma single")
def test_orphans_are_waited_for(server):
    """php-fpm's workers live on; a child that puma's application has left does, too, and it has no lock."""
    herd = start_herd(server)
    put_out(server, herd, 1)
    if server.program == "puma":
        with open(server.folder / "config.ru", "a") as file:
            file.write("spawn 'exec sleep 1000'\n")
        verdict, line = herd.reload()
        assert verdict == "done", line
    master = server.master()
    orphans = living_children(master)
    os.kill(master, signal.SIGKILL)
    herd.await_words("no master lives")
    waiter = Waiter(server, server.lock)
    assert orphans and all(map(alive, orphans))
    assert herd.running() and waiter.waiting()
    for orphan in orphans:
        os.kill(orphan, signal.SIGKILL)
    assert herd.result(READY) == 1
    assert waiter.result() == 0


@of(*KINDS)
def test_killed_herd_is_followed_by_another(server):
    """H37: also where the lock died with the herd."""
    first = start_herd(server)
    put_out(server, first, 1)
    master = server.master()
    load = Load(server)
    first.process.kill()
    first.result()
    assert bool(holders(server.lock)) == server.keeps_lock
    second = start_herd(server)
    assert f"took over the running server, master {master}" in second.said()
    waiter = Waiter(server, server.lock)
    assert waiter.waiting()
    put_out(server, second, 2)
    put_out(server, second, 3)
    assert server.master() == master
    lost_none(server, load.finish(), second)
    assert second.stop() == 0
    assert waiter.result(READY) == 0
    assert not holders(server.lock)


@pytest.mark.parametrize("hours", [-1, 1])
@of(*FORGETFUL, "haproxy")
def test_clock_was_set_before_another_herd_follows(server, hours):
    """The pidfile looks older, or younger, than the process that wrote it."""
    first = start_herd(server)
    put_out(server, first, 1)
    master = server.master()
    first.process.kill()
    first.result()
    was = server.pidfile.stat().st_mtime
    os.utime(server.pidfile, (was, was - hours * 3600))
    second = start_herd(server)
    assert f"took over the running server, master {master}" in second.said()
    put_out(server, second, 2)
    assert second.stop() == 0


def test_adopted_server_that_is_killed(processes):
    """The lock is the second herd's, the server no process below it: its end is seen all the same."""
    server = make("puma", processes)
    first = start_herd(server)
    put_out(server, first, 1)
    first.process.kill()
    first.result()
    second = start_herd(server)
    killed = server.kill_everything()
    assert second.result() == 1
    assert not any(map(alive, killed))


@of(*FORGETFUL)
def test_running_server_without_its_lock(server):
    """H50: refused or replaced, and never is a second one started beside it."""
    first = start_herd(server)
    put_out(server, first, 1)
    master = server.master()
    first.process.kill()
    first.result()
    refused = server.processes.run(
        "drover-herd", "--if-running", "refuse", "--pidfile", server.pidfile, *server.command()
    )
    assert refused.returncode == 1
    assert f"names process {master}, which is the server: it runs already" in refused.stderr
    assert alive(master)
    second = start_herd(server, "--if-running", "replace")
    assert not alive(master)
    assert second.stop() == 0


@of(*FORGETFUL)
def test_recycled_number(server):
    """H31: a stranger with the number of the pidfile is no reason not to start, not even one of the
    same program that was started later."""
    server.pidfile.write_text("1")
    os.utime(server.pidfile, (1, 1))
    for words in (["sleep", "1000"], ["sh", "-c", "exec sleep 1000", server.program]):
        stranger = server.processes.start(*words)
        server.pidfile.write_text(f"{stranger.pid}\n")
        if server.program in words:
            os.utime(server.pidfile, (1, 1))
        herd = start_herd(server)
        assert herd.stop() == 0
        assert stranger.poll() is None
        stranger.kill()
        stranger.wait()


@of(*KINDS)
def test_stop_during_a_reload(server):
    """H34: nothing is left, and it is no failure."""
    herd = start_herd(server)
    everybody = server.everybody()
    herd.send(signal.SIGHUP)
    herd.await_words("reload 1: asked for")
    herd.send(signal.SIGTERM)
    assert herd.result(READY) == 0, herd.said()
    assert not any(map(alive, everybody))
    assert not holders(server.lock)
    assert can_bind(getattr(server, "fpm_port", server.port))


@of("uwsgi", "puma")
def test_holders_without_the_herd(server):
    """drover-ctl holders names the server's processes, not the one that keeps the lock for it."""
    herd = start_herd(server)
    assert str(herd.pid) not in ask_holders(server).split()
    put_out(server, herd, 1)
    eventually(lambda: holders(server.lock) == {herd.pid}, "the old workers to leave")
    assert str(herd.pid) not in ask_holders(server).split()
    assert herd.stop() == 0


def ask_holders(server):
    done = server.processes.run("drover-ctl", "-p", server.pidfile, "holders")
    assert done.returncode == 0, done.stderr
    return done.stdout
