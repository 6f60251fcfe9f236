"""The embedded server, examples/prefork, in a test's folder."""

import os
import re
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.processes import CLOCK_NANOSLEEP, LIMIT, alive, blocked_in_call, children, eventually
from support.servers import Load, Server


def title(pid):
    """What ps shows as the command line, or '' when the process is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().rstrip(b"\0").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_pending(pid, number):
    """Whether the signal waits for the process to take it."""
    with open(f"/proc/{pid}/status") as file:
        masks = [int(line.split()[1], 16) for line in file if line.startswith(("SigPnd", "ShdPnd"))]
    return any(mask >> (number - 1) & 1 for mask in masks)


def read_all(connection):
    """What comes until the other side closes; a reset is an error."""
    received = b""
    while data := connection.recv(65536):
        received += data
    return received


def read_answer(connection):
    """One answer, headers and body; the connection may stay open."""
    received = b""
    while b"\r\n\r\n" not in received:
        data = connection.recv(65536)
        assert data, f"closed after {received!r}"
        received += data
    head, body = received.split(b"\r\n\r\n", 1)
    size = int(re.search(rb"Content-Length: (\d+)", head)[1])
    while len(body) < size:
        data = connection.recv(65536)
        assert data, f"closed after {len(body)} of {size} bytes"
        body += data
    assert len(body) == size, f"more than one answer: {body!r}"
    return head.decode(), body.decode()


def request(path="/", *headers):
    lines = (f"GET {path} HTTP/1.1", "Host: test", *headers)
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


class RequestInFlight:
    """A request that some worker has taken, and whose last byte is missing until finish()."""

    def __init__(self, server):
        self.connection = server.connect()
        self.connection.sendall(request("/", "Content-Length: 1", "Expect: 100-continue"))
        assert self.connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"

    def finish(self):
        """The status and the pid of the worker that answered."""
        with self.connection:
            self.connection.sendall(b"x")
            answer = read_all(self.connection).decode()
        return int(answer.split()[1]), int(re.search(r"\npid (\d+) ", answer)[1])


class PlainLoad(Load):
    """wrk with nothing said about the connection: the server alone decides when to close it."""

    options = ("-t2",)


class Prefork(Server):
    """Runs in the foreground, unless launch() makes a daemon of it."""

    name = "prefork"

    def __init__(self, processes):
        super().__init__(processes, files=None)
        self.output = self.folder / "prefork.log"

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        """Stops whatever generation still runs; what TERM to a master leaves behind fails the test."""
        for pid in self.processes.left():
            if title(pid).startswith("prefork master"):
                os.kill(pid, signal.SIGTERM)
        self.until(lambda: not self.processes.left(), "every process of the test to leave")

    def command(self, *options, program="prefork"):
        """A test's own --listen or --workers comes last and counts."""
        address = () if "--listen" in options else ("--listen", f"127.0.0.1:{self.port}")
        return (program, *address, "--workers", self.workers, "--pidfile", self.pidfile, *options)

    def serve(self, *options, program="prefork", before=(), **popen):
        """Starts it, with the words of `before` in front, and waits until every worker is up."""
        command = self.command(*options, program=program)
        with open(self.output, "a") as output:
            self.process = self.processes.start(
                *before, *command, cwd=self.folder, stdout=output, stderr=output, **popen
            )
        self.await_line("ready, generation 0")
        return self

    def launch(self, *options):
        """A daemon under drover-hold: what the scenarios of every server take."""
        command = self.command("--daemonize", "--log", self.output, *options)
        done = self.processes.run("drover-hold", "--pidfile", self.pidfile, *command)
        assert done.returncode == 0, done.stderr
        assert self.get() == 200

    def until(self, condition, what):
        """As eventually(), and a failure shows the log as it is then."""
        try:
            return eventually(condition, what)
        except AssertionError as failure:
            raise AssertionError(f"{failure}\n{self.log()}") from None

    def await_line(self, text):
        self.until(lambda: text in self.log(), f"'{text}' in the log")

    def workers_of(self, master):
        """The living workers, by their titles."""
        return [pid for pid in children(master) if alive(pid) and title(pid).startswith("prefork worker")]

    def has_workers(self, master):
        return len(self.workers_of(master)) >= self.workers

    def await_workers(self, count, master=None):
        """Waits until there are so many, and returns them."""
        master = master or self.master()
        self.until(lambda: len(self.workers_of(master)) == count, f"{count} workers")
        return self.workers_of(master)

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=LIMIT)

    def exchange(self, data):
        """Everything that is answered to these bytes, until the server closes."""
        with self.connect() as connection:
            connection.sendall(data)
            return read_all(connection).decode()

    def busy_worker(self, master=None, call=CLOCK_NANOSLEEP):
        """The worker that is in a request for /slow (or, with PAUSE, for /hang)."""
        master = master or self.master()
        return self.until(
            lambda: next((pid for pid in self.workers_of(master) if blocked_in_call(pid, call)), None),
            "a busy worker",
        )

    def tell(self, number, pid=None):
        os.kill(pid or self.master(), number)

    def begin_request(self):
        return RequestInFlight(self)

    def generation(self):
        found = re.search(r"generation (\d+)", self.ask()[1])
        return int(found[1]) if found else None


@pytest.fixture
def server(processes):
    with Prefork(processes) as server:
        yield server


@pytest.fixture
def clients():
    with ThreadPoolExecutor() as pool:
        yield pool
