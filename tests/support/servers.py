"""The servers of examples/, in a test's folder and on a port of its own."""

import http.client
import os
import pathlib
import random
import re
import signal
import socket

from support.processes import (
    CLOCK_NANOSLEEP,
    LIMIT,
    alive,
    blocked_in_call,
    children,
    descendants,
    eventually,
    has_pidfd_of,
    in_flock,
    stat,
)

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
HOOKS = ROOT / "lib" / "hooks"
READY = 60  # a server's boot on a busy machine


_our_ports = []  # a bound name for each, until this process ends


def free_port():
    """Below the range from which the kernel takes the clients' ports; never one of another test's, in
    whichever process that runs."""
    while True:
        port = random.randrange(10000, 32000)
        ours = socket.socket(socket.AF_UNIX)
        try:
            ours.bind(f"\0drover-test-port-{port}")
        except OSError:
            ours.close()
            continue
        _our_ports.append(ours)
        if can_bind(port):
            return port


def read_pid(path):
    """The number in a pidfile, or None when it is missing or half written."""
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def session_of(pid):
    fields = stat(pid)
    return int(fields[3]) if fields else None


def living_in(session):
    """The processes of this test that belong to the session."""
    return [pid for pid in descendants(os.getpid()) if alive(pid) and session_of(pid) == session]


def living_children(pid):
    """Without those that their parent has yet to reap."""
    return {child for child in children(pid) if alive(child)}


def catches(pid, number):
    """Whether the process has a handler for the signal."""
    with open(f"/proc/{pid}/status") as file:
        mask = next(line.split()[1] for line in file if line.startswith("SigCgt"))
    return int(mask, 16) >> (number - 1) & 1


def can_bind(port):
    """Whether a new server could have the port, as servers ask for it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
            return True
        except OSError:
            return False


class WithLog:
    """Words for a failure, followed by the server's log as it is when they are printed."""

    def __init__(self, what, server):
        self.what = what
        self.server = server

    def __str__(self):
        return f"{self.what}\n{self.server.log()}"


class Server:
    """One example's files, copied and made this test's own; subclasses know the server's signals."""

    name = ""
    workers = 2
    new_suffix = ""
    retire_signals = (signal.SIGQUIT,)
    stop_signal = signal.SIGQUIT

    def __init__(self, processes, files="examples"):
        self.processes = processes
        self.folder = processes.folder / "app"
        self.port = free_port()
        self.pidfile = self.folder / f"{self.name}.pid"
        self.lock = self.folder / f"{self.name}.pid.lock"
        self.folder.mkdir()
        for file in (ROOT / files / self.name).iterdir() if files else ():
            copy = self.folder / file.name
            copy.write_text(self.localize(file.read_text()))
            copy.chmod(file.stat().st_mode & 0o777)

    def localize(self, text):
        for there, here in (
            ("/srv/app", self.folder),
            ("/run/app", self.folder),
            ("/usr/share/drover", HOOKS),
            ("127.0.0.1:8080", f"127.0.0.1:{self.port}"),
        ):
            text = text.replace(there, str(here))
        return text

    def edit(self, file, old, new):
        """Changes a line of the example; fails when the example has no such text."""
        path = self.folder / file
        text = path.read_text()
        assert old in text, f"{file} of the example has no '{old}'"
        path.write_text(text.replace(old, new))

    def log(self):
        path = self.folder / f"{self.name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def with_log(self, what):
        return WithLog(what, self)

    # Starting and looking

    def launch(self, *command):
        """Starts it by the example's start script, or by `command`; waits until it serves."""
        words = command or (self.folder / "start",)
        done = self.processes.run(*words, env={"PYTHONDONTWRITEBYTECODE": "1"}, timeout=READY)
        assert done.returncode == 0, f"{words}: {done.stderr}\n{self.log()}"
        self.await_service()

    def launch_in_foreground(self, *command):
        """The same for one that stays: a session of its own, as a daemon's."""
        words = command or (self.folder / "start",)
        with open(self.folder / "output", "w") as output:
            self.parent = self.processes.start(
                *words, start_new_session=True, stdout=output, stderr=output
            )
        self.await_service()

    def await_service(self):
        eventually(self.serves, self.with_log(f"{self.name} to serve"), READY)

    def serves(self):
        master = self.master()
        return master and self.has_workers(master) and self.get() == 200

    def has_workers(self, master):
        return len(living_children(master)) >= self.workers

    def master(self):
        pid = read_pid(self.pidfile)
        return pid if pid and alive(pid) else None

    def ask(self, path="/"):
        """Status and body of one request; (0, "") when nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            response = connection.getresponse()
            return response.status, response.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            connection.close()

    def get(self, path="/"):
        return self.ask(path)[0]

    def everybody(self):
        """All living processes of the server: its session, as each of them is a daemon."""
        master = self.master()
        session = os.getsid(master)
        assert session != os.getsid(0)
        return living_in(session)

    # Reloading and ending

    def upgrade(self):
        """USR2, until the new master has its workers; returns (old, new)."""
        old = eventually(self.master, self.with_log("a master"), READY)  # gunicorn's HUP replaces its pidfile
        os.kill(old, signal.SIGUSR2)
        new = eventually(lambda: self.successor(old), self.with_log("a new master"), READY)
        eventually(lambda: self.has_workers(new), self.with_log("the new workers"), READY)
        return old, new

    def successor(self, old):
        pid = read_pid(self.pidfile.with_name(self.pidfile.name + self.new_suffix))
        return pid if pid and pid != old and alive(pid) else None

    def retire(self, old):
        for number in self.retire_signals:
            os.kill(old, number)
            if number == signal.SIGWINCH:
                new = read_pid(self.pidfile)
                eventually(lambda: set(children(old)) <= {new}, f"the workers of {old} to leave")
        eventually(lambda: not alive(old), self.with_log(f"the old master {old} to leave"), READY)

    def hot_reload(self, *relays):
        """An upgrade with the old master retired, once the relays know the new one; returns that, when it
        is the only one."""
        old, new = self.upgrade()
        for relay in relays:
            eventually(lambda: relay.knows(new), f"the relay to know {new}, not: {relay.said()}")
        self.retire(old)
        eventually(lambda: self.master() == new, f"the pidfile to name {new}")
        return new

    def replace_workers(self, number):
        """Signals the master, which stays, until all workers are others and answer."""
        master = self.master()
        eventually(lambda: catches(master, number), f"{self.name} to take signals")
        before = living_children(master)
        os.kill(master, number)

        def others():
            now = living_children(master)
            return len(now) >= self.workers and not now & before

        eventually(others, self.with_log("other workers"), READY)
        assert self.master() == master
        eventually(lambda: self.get() == 200, self.with_log("an answer"), READY)

    def stop(self):
        """Asks it to stop, and waits until it has."""
        everybody = self.everybody()
        os.kill(self.master(), self.stop_signal)
        eventually(lambda: not any(map(alive, everybody)), self.with_log(f"{self.name} to stop"), READY)

    def kill_everything(self):
        """kill -9 of the whole session at once; returns who was killed."""
        everybody = self.everybody()
        someone = next(iter(everybody))  # in a reload no pidfile may name a master
        group = os.getpgid(someone)
        assert group == os.getsid(someone)
        os.killpg(group, signal.SIGKILL)
        return everybody


class Unicorn(Server):
    name = "unicorn"


class Gunicorn(Server):
    name = "gunicorn"
    new_suffix = ".2"
    retire_signals = (signal.SIGTERM,)
    stop_signal = signal.SIGTERM


class Nginx(Server):
    name = "nginx"
    retire_signals = (signal.SIGWINCH, signal.SIGQUIT)


class Puma(Server):
    """It restarts in place: there is no old master."""

    name = "puma"
    stop_signal = signal.SIGTERM

    def has_workers(self, master):
        return True


class Waiter:
    """A drover-wait, blocked in the kernel when the constructor returns."""

    def __init__(self, server, *arguments):
        processes = server.processes
        self.words = processes.folder / f"wait{len(list(processes.folder.glob('wait*')))}"
        with open(self.words, "w") as words:
            self.process = processes.start("drover-wait", *arguments, stderr=words)
        eventually(lambda: in_flock(self.process.pid) or not self.waiting(), "drover-wait to block")
        assert self.waiting(), f"drover-wait ended at once: {self.said()}"

    def waiting(self):
        return self.process.poll() is None

    def said(self):
        return self.words.read_text()

    def result(self, limit=LIMIT):
        return self.process.wait(limit)

    def knows(self, pid):
        """Whether a relay has a pidfd of the process: it has verified it."""
        return has_pidfd_of(self.process.pid, pid)

    def signal(self, number):
        self.process.send_signal(number)


class Load:
    """wrk against a server, until `finish`. Every request is on a connection of its own: a server may
    close an idle connection whenever it likes, and a client that writes just then has lost a request
    through nobody's fault."""

    options = ("-t1", "-H", "Connection: close")

    def __init__(self, server, connections=4):
        words = (*self.options, f"-c{connections}", "-d600", "--timeout", "30")
        self.process = server.processes.start("wrk", *words, f"http://127.0.0.1:{server.port}/")
        # A SIGINT that comes before it waits for its end would be lost on it.
        eventually(lambda: blocked_in_call(self.process.pid, CLOCK_NANOSLEEP), "wrk to begin")

    def finish(self):
        """Ends it and returns (requests done, requests failed, wrk's own words)."""
        self.process.send_signal(signal.SIGINT)
        text = self.process.communicate(timeout=LIMIT)[0]
        done = int(re.search(r"(\d+) requests in", text)[1])
        errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
        refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
        failed = sum(map(int, errors.groups())) if errors else 0
        return done, failed + (int(refused[1]) if refused else 0), text
