"""drover-herd where little is as it should be: descriptors, disks, users, paths, other herds, time."""

import os
import re
import resource
import signal
import socket
import types

import pytest

from conftest import needs
from support.flocks import IN_SANITIZER_BUILD, as_nobody, command_name, woken
from support.herds import Herd
from support.prefork import Prefork
from support.processes import alive, children, descendants, eventually, holders, in_flock
from support.servers import READY, Gunicorn, Nginx, can_bind, living_children


@pytest.fixture
def server(processes):
    return Prefork(processes)


def start(server, *options, command=None, **popen):
    return Herd(server, *options, command=command or server.command(), **popen)


def output_of(herd):
    """Its drover-output."""
    return next(pid for pid in children(herd.pid) if command_name(pid) == "drover-output")


def stopped(server, herd):
    herd.send(signal.SIGTERM)
    assert herd.result(READY) == 0, herd.said()
    assert not holders(server.lock)
    assert can_bind(server.port)


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def anonymous_kb(pid):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return int(re.search(r"^Anonymous:\s+(\d+)", file.read(), re.M)[1])


def limit_descriptors(pid, count):
    hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (count, hard))


# Resources


def test_nothing_grows_and_nothing_wakes(server):
    """H48: after 50 reloads it has the descriptors and the memory that it had after 20, and is idle."""
    herd = start(server, "--settle", "20ms", command=server.command("-q"))
    for number in range(1, 21):  # it remembers the last 16 masters
        assert herd.reload(number)[0] == "done", herd.said()
    output = output_of(herd)
    before = [(descriptors(pid), anonymous_kb(pid)) for pid in (herd.pid, output)]
    for number in range(21, 51):
        assert herd.reload(number)[0] == "done", herd.said()
    after = [(descriptors(pid), anonymous_kb(pid)) for pid in (herd.pid, output)]
    assert [fds for fds, _ in after] == [fds for fds, _ in before]
    if not IN_SANITIZER_BUILD:
        assert all(kb <= old + 100 for (_, kb), (_, old) in zip(after, before)), f"{before} {after}"
    idle = [types.SimpleNamespace(pid=pid, args=name) for pid, name in ((herd.pid, "herd"), (output, "output"))]
    assert woken(idle) == []
    stopped(server, herd)


@pytest.mark.skipif(IN_SANITIZER_BUILD, reason="a sanitizer looks at memory by way of a pipe")
def test_no_descriptor_is_left(server):
    """A reload that cannot be done for want of descriptors fails, and is done when there are some."""
    herd = start(server, "--check", "true", "--probe", "exec:true", "--ready-timeout", "2s")
    eventually(lambda: in_flock(herd.pid), "the herd to watch the lock")
    count = descriptors(herd.pid)
    number = 0
    for more in range(8):
        limit_descriptors(herd.pid, count + more)
        number += 1
        verdict, line = herd.reload(number)
        assert herd.running() and server.get() == 200, line
    limit_descriptors(herd.pid, 1024)
    verdict, line = herd.reload(number + 1)
    assert verdict == "done", line
    eventually(lambda: len(holders(server.lock)) == 3, f"one generation\n{herd.said()}")
    stopped(server, herd)


@pytest.mark.skipif(IN_SANITIZER_BUILD, reason="a sanitizer looks at memory by way of a pipe")
def test_stop_without_a_descriptor(processes):
    """Orphans that cannot be looked for are stopped as soon as they can be."""
    needs("nginx")
    nginx = Nginx(processes)
    herd = start(nginx, command=("nginx", "-c", nginx.folder / "nginx.conf"))
    os.kill(nginx.master(), signal.SIGKILL)
    herd.await_words("no master lives; processes that still hold")
    eventually(lambda: in_flock(herd.pid), "the herd to watch the lock")
    limit_descriptors(herd.pid, 0)
    herd.send(signal.SIGTERM)
    herd.await_words("cannot list processes")
    limit_descriptors(herd.pid, 1024)
    stopped(nginx, herd)


def test_dispositions_are_handed_on(server, folder):
    """The herd's own care for SIGPIPE is not the server's."""
    herd = server.processes.start(
        "drover-herd", "--lock", folder / "app.lock", "--dialect", "plain", "--control", "none",
        "sh", "-c", "grep SigIgn /proc/self/status; exec sleep 1000", restore_signals=True,
    )  # fmt: skip
    assert int(herd.stdout.readline().split()[1], 16) >> (signal.SIGPIPE - 1) & 1 == 0
    herd.send_signal(signal.SIGTERM)
    assert herd.wait(READY) == 0


def test_sockets_of_the_supervisor(server, folder):
    """LISTEN_FDS: the server gets descriptor 3 and is named in LISTEN_PID; the herd keeps nothing else."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def as_activated():
            os.dup2(listener.fileno(), 3, inheritable=True)
            os.environ["LISTEN_PID"] = str(os.getpid())

        words = 'echo "$LISTEN_FDS $$ $LISTEN_PID $(readlink /proc/$$/fd/3)"; exec sleep 1000'
        herd = server.processes.start(
            "sh", "-c", 'LISTEN_PID=$$ exec drover-herd --lock app.lock --dialect plain "$@"', "sh",
            "--control", "none", "sh", "-c", words, env={"LISTEN_FDS": "1"}, pass_fds=(3,),
            preexec_fn=as_activated,
        )  # fmt: skip
        count, pid, wanted, link = herd.stdout.readline().split()
    assert count == "1" and pid == wanted and link.startswith("socket:")
    herd.send_signal(signal.SIGTERM)
    assert herd.wait(READY) == 0


def test_full_disk(server):
    """No room for the pidfile: a first start fails, a reload fails, and the old generation goes on."""
    needs("unshare", "mount")
    disk = server.folder / "disk"
    disk.mkdir()
    server.pidfile = disk / "app.pid"
    server.lock = disk / "app.pid.lock"
    fault = server.folder / "go"
    script = (
        f"mount -t tmpfs -o size=64k tmpfs {disk} && cd {disk} &&"
        ' "$@" & herd=$!; trap "kill -TERM $herd" TERM; trap "kill -HUP $herd" HUP;'
        f" until [ -e {fault} ]; do sleep 0.05; done; cat /dev/zero > {disk}/zero 2>/dev/null; touch {fault}.full;"
        " while kill -0 $herd 2>/dev/null; do wait $herd; status=$?; done; exit $status"
    )
    with open(server.folder / "words", "w") as words:
        outer = server.processes.start(
            "unshare", "-m", "sh", "-c", script, "sh", "drover-herd", "--pidfile", server.pidfile,
            *server.command(), stdout=words, stderr=words,
        )  # fmt: skip

    def said():
        return (server.folder / "words").read_text()

    eventually(lambda: " serves, master " in said(), "the herd")
    fault.touch()
    eventually((server.folder / "go.full").exists, "the disk to be full")
    outer.send_signal(signal.SIGHUP)
    eventually(lambda: "reload 1 failed" in said(), f"the verdict: {said()}", READY)
    assert server.get() == 200
    outer.send_signal(signal.SIGTERM)
    assert outer.wait(READY) == 0, said()
    assert can_bind(server.port)


# Users and paths


def test_as_another_user(processes, folder):
    """H31: nobody's herd with a server of nobody's; a pidfile that root has left is an error that is told."""
    folder.chmod(0o711)
    server = Prefork(processes)
    os.chown(server.folder, 65534, 65534)
    server.folder.chmod(0o700)
    words = as_nobody("drover-herd", "--pidfile", server.pidfile, *server.command())
    with open(folder / "words", "w") as file:
        herd = processes.start(*words, stdout=file, stderr=file, cwd="/")
    eventually(lambda: " serves, master " in (folder / "words").read_text(), "the herd")
    done = processes.run(*as_nobody("drover-ctl", "-p", server.pidfile, "reload"), timeout=READY)
    assert done.returncode == 0, done.stderr
    herd.send_signal(signal.SIGTERM)
    assert herd.wait(READY) == 0

    server.pidfile.write_text("1\n")  # root's, and names a process that lives
    server.pidfile.chmod(0o600)
    server.folder.chmod(0o755)
    os.chown(server.folder, 0, 0)
    done = processes.run(*words, timeout=READY)
    assert done.returncode in (71, 73, 77), done.stderr
    assert done.stderr.startswith("drover-herd: "), done.stderr
    assert not holders(server.lock)


def test_folder_of_its_own(server):
    """0700 all the way."""
    server.folder.chmod(0o700)
    herd = start(server)
    assert herd.reload()[0] == "done", herd.said()
    stopped(server, herd)


def test_long_paths(server):
    """The pidfile's path is longer than a socket's may be."""
    deep = server.folder / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    server.pidfile = deep / "app.pid"
    server.lock = deep / "app.pid.lock"
    herd = start(server)
    assert herd.reload()[0] == "done", herd.said()
    done = server.processes.run("drover-ctl", "-p", server.pidfile, "status")
    assert done.returncode == 0, done.stderr
    stopped(server, herd)


def test_pidfile_that_cannot_be_read(server):
    """H31: unreadable, a folder, a fifo, a link in a circle: none is a master, and none blocks it."""
    for kind in ("folder", "fifo", "circle"):
        for suffix in (".oldbin", ".2"):
            path = server.pidfile.with_name(server.pidfile.name + suffix)
            if kind == "folder":
                path.mkdir()
            elif kind == "fifo":
                os.mkfifo(path)
            else:
                path.symlink_to(path)
        herd = start(server)
        status = server.processes.run("drover-ctl", "-p", server.pidfile, "--json", "status")
        assert status.stdout.count('"master"') == 1, status.stdout
        stopped(server, herd)
        for suffix in (".oldbin", ".2"):
            path = server.pidfile.with_name(server.pidfile.name + suffix)
            path.rmdir() if kind == "folder" else path.unlink()


# Other herds, and what an earlier one has left


class Said:
    def __init__(self, words):
        self.words = words

    def __str__(self):
        return self.words()


@pytest.mark.parametrize("control", [(), ("--control", "none")], ids=["socket", "no socket"])
@pytest.mark.parametrize("running", [False, True], ids=["first start", "adopting"])
def test_two_herds_at_the_same_instant(server, control, running):
    """One of them has the service, the other one says so and ends."""
    if running:
        server.launch()
    for _ in range(4):
        words = [server.folder / f"words{number}" for number in range(3)]
        herds = []
        for path in words:
            with open(path, "w") as file:
                herds.append(
                    server.processes.start(
                        "drover-herd", *control, "--pidfile", server.pidfile, *server.command(),
                        stdout=file, stderr=file,
                    )
                )  # fmt: skip
        said = lambda: "\n".join(path.read_text() for path in words)  # noqa: E731
        eventually(lambda: sum(herd.poll() is None for herd in herds) == 1, Said(said), READY)
        left = next(herd for herd in herds if herd.poll() is None)
        eventually(lambda: " serves, master " in said() or "took over" in said(), said(), READY)
        assert said().count("another herd") + said().count("another process answers") == 2, said()
        assert server.get() == 200
        assert len({pid for pid in holders(server.lock)}) == 3, said()
        left.send_signal(signal.SIGTERM)
        assert left.wait(READY) == 0, said()
        assert not holders(server.lock)
        if running:
            server.launch()
    if running:
        server.stop()


@pytest.mark.parametrize("state", ["starting", "serving", "seen", "overlap", "drain", "stopping"])
def test_killed_in_every_state(server, state):
    """H37: the next one takes over, or goes on with what was begun; nothing is left twice."""
    first = start(
        server, "--overlap", "300ms" if state == "overlap" else "0", "--stop-signal", "QUIT",
        ready=state != "starting",
    )  # fmt: skip
    request = None
    if state == "starting":
        eventually(lambda: holders(server.lock), "the server to start")
    elif state in ("drain", "stopping"):
        request = server.begin_request()
    if state == "stopping":
        first.send(signal.SIGTERM)
        first.await_words("passed SIGQUIT")
    elif state not in ("starting", "serving"):
        old = server.master()
        first.send(signal.SIGHUP)
        eventually(lambda: server.master() not in (None, old), "the successor")
        if state != "seen":
            eventually(lambda: len(living_children(server.master())) == 2, "its workers")
    first.process.kill()
    first.result()
    second = start(server, "--stop-signal", "QUIT", ready=False)
    if state == "starting":
        second.await_words(r"took over the running server| serves, master ")
    else:
        second.await_words("took over the running server")
    if state == "stopping":
        assert request.finish()[0] == 200
        assert second.result(READY) == 1
        assert not holders(server.lock)
        return
    if state not in ("starting", "serving"):
        if request:
            assert request.finish()[0] == 200
        eventually(lambda: second.verdicts(), "the verdict")
        assert second.verdicts() == ["done"], second.said()
    eventually(lambda: len(holders(server.lock)) == 3, f"one generation\n{second.said()}")
    assert server.get() == 200
    stopped(server, second)


def test_killed_output_is_started_anew(server):
    """And nothing that the server writes is lost."""
    herd = start(server)
    for _ in range(3):
        old = output_of(herd)
        os.kill(old, signal.SIGKILL)
        eventually(lambda: [p for p in children(herd.pid) if command_name(p) == "drover-output" and p != old and alive(p)],
                   "a new drover-output")  # fmt: skip
    server.tell(signal.SIGUSR1)
    assert herd.reload()[0] == "done", herd.said()
    herd.await_words("ready, generation 1")
    stopped(server, herd)


# Slow servers


def test_pidfile_that_comes_late(processes):
    """H32, F14: gunicorn with --preload writes it when the application is loaded."""
    needs("gunicorn")
    gunicorn = Gunicorn(processes)
    app = gunicorn.folder / "app.py"
    app.write_text("import time\ntime.sleep(5)\n" + app.read_text())
    with open(gunicorn.folder / "gunicorn.conf.py", "a") as file:
        file.write("preload_app = True\n")
    command = ("gunicorn", "-c", gunicorn.folder / "gunicorn.conf.py")
    early = start(gunicorn, "--boot-timeout", "1s", command=command, ready=False)
    assert early.result(READY) == 1
    assert "no master in 1 s" in early.said()
    assert not holders(gunicorn.lock)
    herd = start(gunicorn, "--boot-timeout", "60s", command=command)
    assert herd.reload(limit=READY)[0] == "done", herd.said()
    assert herd.stop() == 0


def test_request_of_six_seconds(server):
    """H33: in flight on the old generation over a reload, and answered."""
    herd = start(server)
    with server.connect() as connection:
        connection.settimeout(READY)
        connection.sendall(b"GET /slow?ms=6000 HTTP/1.1\r\nHost: test\r\n\r\n")
        server.busy_worker()
        verdict, line = herd.reload(limit=READY)
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
    assert verdict == "done", line
    stopped(server, herd)


def test_ten_hangups_in_a_second(server):
    """H35: a few reloads, each with a verdict, one generation in the end."""
    herd = start(server, "--settle", "100ms")
    moments = iter(range(10))

    def one_more():
        herd.send(signal.SIGHUP)
        return next(moments) == 9

    eventually(one_more, "ten of them")
    eventually(lambda: herd.verdicts() and not queued(server), "the end of the reloads", READY)
    assert set(herd.verdicts()) == {"done"} and len(herd.verdicts()) <= 10
    assert herd.said().count(": asked for by ") == len(herd.verdicts())
    eventually(lambda: len(holders(server.lock)) == 3, f"one generation\n{herd.said()}")
    stopped(server, herd)


def queued(server):
    done = server.processes.run("drover-ctl", "-p", server.pidfile, "--json", "status")
    return '"queued":true' in done.stdout.replace(" ", "") or '"state":"reloading"' in done.stdout.replace(" ", "")


def test_first_process_of_a_container(server):
    """H45: it reaps strangers, is stopped by TERM, and ends when the service has gone."""
    needs("unshare")
    script = 'exec drover-herd --pidfile "$0" -- "$@"'
    with open(server.folder / "words", "w") as words:
        outer = server.processes.start(
            "unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", script,
            server.pidfile, *server.command(), stdout=words, stderr=words,
        )  # fmt: skip
    eventually(lambda: " serves, master " in (server.folder / "words").read_text(), "the herd")
    herd = children(outer.pid)[0]
    stranger = server.processes.run("nsenter", "-t", herd, "-p", "-m", "sh", "-c", "(sleep 0.01 &) ; exit 0")
    assert stranger.returncode == 0

    def zombies():
        return [pid for pid in descendants(herd) if not alive(pid)]

    eventually(lambda: not zombies() and len(descendants(herd)) == 4, "strangers to be reaped")
    done = server.processes.run("drover-ctl", "-p", server.pidfile, "reload", timeout=READY)
    assert done.returncode == 0, done.stderr
    os.kill(herd, signal.SIGTERM)
    assert outer.wait(READY) == 0
    assert can_bind(server.port)
