"""drover-herd: how it starts, ends, and takes over what an earlier herd has left."""

import os
import signal

import pytest

from conftest import needs
from support.flocks import command_name
from support.herds import Herd
from support.prefork import Prefork, is_pending
from support.processes import alive, eventually, holders, stat
from support.servers import READY, Load, Nginx, Unicorn, can_bind, living_children


@pytest.fixture
def unicorn(processes):
    needs("unicorn", "wrk")
    return Unicorn(processes)


def unicorn_command(server, *options):
    return ("unicorn", *options, "-c", server.folder / "unicorn.rb")


@pytest.mark.parametrize(
    "command, status",
    [(("no-such-server",), 127), (("./config",), 126), (("sh", "-c", "exit 7"), 7),
     (("sh", "-c", "kill -9 $$"), 128 + 9), (("true",), 1)],
    ids=["not found", "not executable", "exits", "killed", "nothing"],
)  # fmt: skip
def test_what_cannot_start(run, folder, command, status):
    """H26: each with a status of its own, and nothing is left."""
    (folder / "config").write_text("no program\n")
    done = run("drover-herd", "--pidfile", "app.pid", *command)
    assert done.returncode == status, done.stderr
    assert done.stderr.startswith("drover-herd: ")
    assert {path.name for path in folder.iterdir()} <= {"app.pid.lock", "config"}


def test_boot_that_never_ends(run):
    """H26: what was started is stopped."""
    done = run("drover-herd", "--pidfile", "app.pid", "--boot-timeout", "300ms", "sleep", "1000")
    assert done.returncode == 1
    assert "no master in 0.3 s" in done.stderr


def test_broken_at_the_first_start(unicorn):
    """H26, F3: the server's own status."""
    (unicorn.folder / "config.ru").write_text("raise 'broken'\n")
    herd = Herd(unicorn, command=unicorn_command(unicorn), ready=False)
    assert herd.result(READY) == 1
    assert "the server did not start" in herd.said()


@pytest.mark.parametrize("daemon", [(), ("-D",)], ids=["foreground", "daemon"])
def test_stop_is_no_failure(unicorn, daemon):
    """H27, F4: 0, and nothing is left."""
    herd = Herd(unicorn, "--stop-signal", "QUIT", command=unicorn_command(unicorn, *daemon))
    assert herd.stop() == 0
    assert "passed SIGQUIT" in herd.said()
    assert can_bind(unicorn.port)


def test_server_that_ends_by_itself(unicorn):
    """H36: an operator's QUIT to the master is no stop of the herd's."""
    herd = Herd(unicorn, command=unicorn_command(unicorn))
    os.kill(unicorn.master(), signal.SIGQUIT)
    assert herd.result(READY) == 1
    assert "the server has ended by itself" in herd.said()


def test_killed_server(unicorn):
    """S9: everything at once."""
    herd = Herd(unicorn, command=unicorn_command(unicorn))
    unicorn.kill_everything()
    assert herd.result() == 1


@pytest.mark.parametrize("daemon", [(), ("-D",)], ids=["foreground", "daemon"])
def test_killed_herd_is_followed_by_another(unicorn, daemon):
    """H37, F13: the next one takes over what runs, no request fails, and it can reload and stop it."""
    command = unicorn_command(unicorn, *daemon)
    first = Herd(unicorn, command=command)
    load = Load(unicorn)
    master = unicorn.master()
    first.process.kill()
    first.result()
    second = Herd(unicorn, command=command)
    assert f"took over the running server, master {master}" in second.said()
    assert unicorn.master() == master
    verdict, line = second.reload()
    assert verdict == "done", line
    _, failed, words = load.finish()
    assert failed == 0, f"{words}\n{unicorn.log()}"
    assert second.stop() == 0
    assert not holders(unicorn.lock)


@pytest.mark.parametrize(
    "slowly", ["sleep 1 if ENV['UNICORN_FD']", "before_exec { |_| sleep 2 }"], ids=["boots", "forked"]
)
def test_herd_killed_during_a_reload(unicorn, slowly):
    """H37: the next one ends what was begun, with one generation; also when the next master has only
    been forked, like a worker."""
    unicorn.edit("unicorn.rb", "preload_app true", f"preload_app true\n{slowly}")
    first = Herd(unicorn, command=unicorn_command(unicorn))
    load = Load(unicorn)
    old = unicorn.master()
    first.send(signal.SIGHUP)
    oldbin = unicorn.pidfile.with_name(unicorn.pidfile.name + ".oldbin")
    eventually(oldbin.exists, "the reload to begin")
    first.process.kill()
    first.result()
    second = Herd(unicorn, command=unicorn_command(unicorn))
    eventually(lambda: not alive(old), f"the old master to leave\n{second.said()}", READY)
    new = eventually(unicorn.master, "the new master")
    assert new != old
    verdict, line = second.verdict(1)
    assert verdict == "done", line
    _, failed, words = load.finish()
    assert failed == 0, f"{words}\n{second.said()}"
    assert second.stop() == 0


def test_herd_killed_before_the_server_takes_its_signal(unicorn):
    """H37: the reload that it has asked for comes to light later, and is followed."""
    first = Herd(unicorn, command=unicorn_command(unicorn))
    old = unicorn.master()
    os.kill(old, signal.SIGSTOP)
    eventually(lambda: stat(old)[0] == b"T", "it to stop: until then a later signal may overtake")
    first.send(signal.SIGHUP)
    eventually(lambda: is_pending(old, signal.SIGUSR2), "the request for a new generation")
    first.process.kill()
    first.result()
    second = Herd(unicorn, command=unicorn_command(unicorn), ready=False)
    second.await_words(f"took over the running server, master {old}")
    os.kill(old, signal.SIGCONT)
    verdict, line = second.verdict(1)
    assert verdict == "done", line
    assert not alive(old) and unicorn.get() == 200
    assert second.stop() == 0


def test_adopted_server_with_a_helper(unicorn):
    """H37: a program that the master has started is no successor, and is left alone."""
    with open(unicorn.folder / "unicorn.rb", "a") as file:
        file.write('$helper = spawn("sleep", "1000")\n')
    first = Herd(unicorn, command=unicorn_command(unicorn))
    (helper,) = [pid for pid in living_children(unicorn.master()) if command_name(pid) == "sleep"]
    first.process.kill()
    first.result()
    second = Herd(unicorn, "--ready-timeout", "3s", "--stop-timeout", "1s", command=unicorn_command(unicorn))
    verdict, line = second.reload()
    assert verdict == "done", line
    assert "which did not end it" not in second.said()
    assert alive(helper)
    second.send(signal.SIGTERM)
    assert second.result(READY) == 0
    assert not alive(helper)


@pytest.mark.parametrize("text", [None, "garbage\n", "stranger"], ids=["missing", "garbage", "a stranger"])
def test_adopted_server_with_a_wrong_pidfile(processes, text):
    """H31, H37: the lock tells who the master is; nobody is taken for an orphan."""
    server = Prefork(processes)
    first = Herd(server, command=server.command())
    master = server.master()
    first.process.kill()
    first.result()
    stranger = processes.start("sleep", "1000")
    if text is None:
        server.pidfile.unlink()
    else:
        server.pidfile.write_text(f"{stranger.pid}\n" if text == "stranger" else text)
    second = Herd(server, "--orphans", "kill", "--boot-timeout", "1s", command=server.command())
    assert f"took over the running server, master {master}" in second.said()
    assert server.get() == 200
    second.send(signal.SIGTERM)
    assert second.result(READY) == 0
    assert not holders(server.lock)
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_running_server_is_refused_or_replaced(unicorn):
    """H50."""
    unicorn.launch()
    master = unicorn.master()
    refused = unicorn.processes.run(
        "drover-herd", "--if-running", "refuse", "--pidfile", unicorn.pidfile, *unicorn_command(unicorn)
    )
    assert refused.returncode == 1 and "runs already" in refused.stderr
    assert alive(master)
    herd = Herd(unicorn, "--if-running", "replace", command=unicorn_command(unicorn))
    assert not alive(master)
    assert herd.stop() == 0


def test_second_herd_is_refused(unicorn):
    herd = Herd(unicorn, command=unicorn_command(unicorn))
    second = unicorn.processes.run("drover-herd", "--pidfile", unicorn.pidfile, *unicorn_command(unicorn))
    assert second.returncode != 0
    assert "another process answers there" in second.stderr
    assert herd.stop() == 0


@pytest.mark.parametrize("policy", ["wait", "term", "kill"])
def test_orphans(processes, policy):
    """S6: nginx's workers serve on for ever without their master."""
    needs("nginx")
    nginx = Nginx(processes)
    herd = Herd(nginx, "--orphans", policy, command=("nginx", "-c", nginx.folder / "nginx.conf"))
    master = nginx.master()
    workers = [pid for pid in nginx.everybody() if pid != master]
    os.kill(master, signal.SIGKILL)
    herd.await_words("no master lives; processes that still hold")
    if policy == "wait":
        assert herd.running() and nginx.get() == 200
        for worker in workers:
            os.kill(worker, signal.SIGTERM)
    assert herd.result(READY) == 1
    assert not any(map(alive, workers))


def test_hostile_pidfiles(unicorn):
    """H31: what is stale is removed, nobody who is named gets a signal."""
    stranger = unicorn.processes.start("sleep", "1000")
    dead = unicorn.processes.start("true")
    dead.wait()
    unicorn.pidfile.write_text(f"{dead.pid}\n")
    for suffix, text in ((".oldbin", f"{stranger.pid}\n"), (".2", f"{dead.pid}\n")):
        unicorn.pidfile.with_name(unicorn.pidfile.name + suffix).write_text(text)
    herd = Herd(unicorn, command=unicorn_command(unicorn))
    for text in ("", "garbage", "-1", "0", "1", str(stranger.pid), "9" * 100):
        saved = unicorn.pidfile.read_text()
        unicorn.pidfile.write_text(text)
        herd.send(signal.SIGUSR1)
        unicorn.pidfile.write_text(saved)
    assert herd.running()
    assert herd.stop() == 0
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_nginx_needs_a_daemon(processes):
    """H46: "daemon off" is refused with the reason; a bare name is made absolute."""
    needs("nginx")
    nginx = Nginx(processes)
    refused = processes.run("drover-herd", "--pidfile", nginx.pidfile, "nginx", "-g", "daemon off;")
    assert refused.returncode == 78
    assert "ignores USR2 unless it is a daemon" in refused.stderr
    herd = Herd(nginx, command=("nginx", "-c", nginx.folder / "nginx.conf"))
    with open(f"/proc/{nginx.master()}/cmdline") as file:
        assert "nginx: master process /" in file.read()
    assert herd.stop() == 0


def test_descriptors_of_the_server(unicorn):
    """S18: the lock is high, the listening sockets of socket activation are handed on."""
    herd = Herd(unicorn, command=unicorn_command(unicorn))
    fds = {int(fd) for fd in os.listdir(f"/proc/{unicorn.master()}/fd")}
    assert max(fds) >= 1025
    assert os.readlink(f"/proc/{unicorn.master()}/fd/{max(fds)}") == str(unicorn.lock)
    assert herd.stop() == 0


def test_plain_server(run, folder, processes):
    """A server of one process, without a pidfile."""
    herd = processes.start("drover-herd", "--lock", "app.lock", "--dialect", "plain", "--control", "none",
                           "sleep", "1000")  # fmt: skip
    eventually(lambda: len(holders(folder / "app.lock")) == 1, "the server to hold")
    herd.send_signal(signal.SIGTERM)
    assert herd.wait(READY) == 0, herd.stderr.read()


def test_bundler(unicorn):
    """The README of unicornherder: bundle exec unicorn."""
    needs("bundle")
    (unicorn.folder / "Gemfile").write_text("gem 'unicorn'\ngem 'rack'\n")
    herd = Herd(unicorn, command=("bundle", "exec", *unicorn_command(unicorn)),
                env={"BUNDLE_GEMFILE": str(unicorn.folder / "Gemfile")})  # fmt: skip
    old = unicorn.master()
    verdict, line = herd.reload()
    assert verdict == "done", line
    assert unicorn.master() != old
    assert herd.stop() == 0
