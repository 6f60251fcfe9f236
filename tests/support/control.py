"""A control server of a test: says what the test wants, right or wrong."""

import json
import socket
import threading

import pytest

LIMIT = 20


class FakeServer:
    """Answers each client by `behaviour(connection, request)`, or with a list of objects, and keeps the
    requests. Long paths are bound by their folder."""

    def __init__(self, path, behaviour):
        self.path = path
        self.behaviour = behaviour if callable(behaviour) else lambda connection, _: say(connection, *behaviour)
        self.requests = []
        self.failures = []
        self.may_go_on = threading.Event()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(LIMIT)
                try:
                    self.requests.append(json.loads(connection.makefile("rb").readline()))
                    self.behaviour(connection, self.requests[-1])
                except (BrokenPipeError, ConnectionResetError):
                    pass
                except Exception as failure:  # the test has to hear of it
                    self.failures.append(failure)

    def end(self):
        self.may_go_on.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join(LIMIT)
        self.listener.close()
        assert not self.thread.is_alive()
        assert self.failures == []


def say(connection, *objects):
    for each in objects:
        connection.sendall(json.dumps({"v": 1, **each}).encode() + b"\n")


def until_hung_up(connection):
    """Says nothing more, and waits until the client has gone."""
    assert connection.recv(1) == b""


@pytest.fixture
def serve(folder):
    """serve(BEHAVIOUR): a server at app.pid.sock of the test's folder."""
    servers = []

    def make(behaviour, name="app.pid.sock"):
        servers.append(FakeServer(folder / name, behaviour))
        return servers[-1]

    yield make
    for server in servers:
        server.end()
