"""A manager of companions in the folder of a test, and what its control socket answers."""

import json
import re
import signal
import socket

import pytest

from support.processes import LIMIT, children, eventually

SLEEP = 'command = ["sleep", "1000"]'
SAID = re.compile(r"^drover-companions: (\S+): ([A-Z]+) -> ([A-Z]+)(?:: (.*))?$", re.MULTILINE)


def sh(script):
    """The line of a command that a shell runs, with no single quotes in it; `exec` what is to get signals."""
    return f"command = ['sh', '-c', '''{script}''']"


class Client:
    """One connection to a control socket: as many requests as there are."""

    def __init__(self, path, limit=LIMIT):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(limit)
        self.socket.connect(str(path))
        self.lines = self.socket.makefile("rb")

    def send(self, request):
        """An object, or the very bytes."""
        raw = isinstance(request, bytes)
        self.socket.sendall(request if raw else json.dumps(request).encode() + b"\n")

    def reply(self):
        """The next object; None when the manager has hung up."""
        line = self.lines.readline()
        return json.loads(line) if line else None

    def ask(self, request):
        self.send(request)
        return self.reply()

    def close(self):
        self.lines.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Manager:
    """drover-companions over NAME.toml; its locks are in `run`, its control socket is run/NAME.sock. Both
    paths in the configuration and the commands' own are relative to the test's folder."""

    program = "drover-companions"

    def __init__(self, processes, text, name="companions", ready=True, **popen):
        self.folder = processes.folder
        self.config = self.folder / f"{name}.toml"
        self.socket = self.folder / "run" / f"{name}.sock"
        self.errors = self.folder / f"{name}.err"
        self.write(text)
        options = [] if name == "companions" else ["--control", self.socket]
        with open(self.errors, "a") as errors:
            self.process = processes.start(
                self.program, "-v", "--config", self.config, *options, stdout=errors, stderr=errors, **popen
            )
        if ready:
            self.await_socket()

    @property
    def pid(self):
        return self.process.pid

    def write(self, text):
        """Another configuration; nobody is told."""
        self.config.write_text(f'run_dir = "run"\n{text}')

    def await_socket(self):
        def answers():
            assert self.running(), f"ended with {self.process.returncode}: {self.said()}"
            try:
                return (self.ask({"cmd": "hello"}) or {}).get("pid") == self.pid
            except (FileNotFoundError, ConnectionError):
                return False

        eventually(answers, "the control socket")

    # What it is asked

    def client(self, limit=LIMIT):
        return Client(self.socket, limit)

    def ask(self, request, limit=LIMIT):
        """The reply, over a connection of its own."""
        with self.client(limit) as client:
            return client.ask(request)

    def do(self, command, name, **more):
        """The form that answers when it is done: {"command": ...}."""
        return self.ask({"command": command, "name": name, **more})

    def status(self, name):
        """The entry of one companion."""
        (entry,) = [each for each in self.statuses() if each["name"] == name]
        return entry

    def statuses(self):
        reply = self.ask({"cmd": "status"})
        assert reply["ok"], reply
        return reply["companions"]

    def until(self, name, state, limit=LIMIT, **fields):
        """Waits until the companion is in that state and its entry has these values; returns it."""
        last = {}

        def reached():
            last.update(self.status(name))
            wanted = {"state": state, **fields}
            return dict(last) if all(last[key] == value for key, value in wanted.items()) else None

        try:
            return eventually(reached, f"{name} to be {state} {fields}", limit)
        except AssertionError as failure:
            raise AssertionError(f"{failure}\n{last}\n{self.said()}") from None

    def events(self, since=0):
        """The events behind that number, and then each that comes: without an end."""
        with self.client() as client:
            client.send({"cmd": "events", "since": since})
            while (event := client.reply()) is not None:
                yield event

    # What it says and does

    def said(self):
        return self.errors.read_text(errors="replace")

    def await_words(self, pattern, limit=LIMIT):
        """Waits until it has said something that matches; returns the match."""
        try:
            return eventually(lambda: re.search(pattern, self.said()), f"'{pattern}'", limit)
        except AssertionError as failure:
            raise AssertionError(f"{failure}\n{self.said()}") from None

    def moves(self, name):
        """The states of one companion so far, one behind the other, as they were said."""
        moves = [match for match in SAID.finditer(self.said()) if match[1] == name]
        return [move[2] for move in moves[:1]] + [move[3] for move in moves]

    def children(self):
        return children(self.pid)

    def running(self):
        return self.process.poll() is None

    def send(self, number):
        self.process.send_signal(number)

    def result(self, limit=LIMIT):
        return self.process.wait(limit)

    def stop(self, number=signal.SIGTERM, limit=LIMIT):
        """Asks it to stop all; its exit status."""
        self.send(number)
        return self.result(limit)


@pytest.fixture
def manager(processes):
    """manager(TOML, name="companions", ready=True, **popen): started, and it answers. Those that still run
    at the end of the test are stopped, which has to succeed; `processes` looks for what they leave."""
    managers = []

    def make(text, *args, **options):
        managers.append(Manager(processes, text, *args, **options))
        return managers[-1]

    yield make
    for each in managers:
        if each.running():
            assert each.stop() == 0, each.said()


@pytest.fixture
def notes(folder):
    """The lines that companions have appended to `notes` in the test's folder: notes(), or notes(N) to
    wait until there are N at least."""
    path = folder / "notes"

    def read(count=0):
        def lines():
            found = path.read_text().split("\n")[:-1] if path.exists() else []
            return [found] if len(found) >= count else None

        return eventually(lines, f"{count} lines in {path}")[0]

    return read
