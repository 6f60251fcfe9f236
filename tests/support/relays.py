"""A recording server under drover-hold, and a drover-wait --relay beside it."""

import os
import shutil
import signal
import threading

import pytest

from support.flocks import PYTHON, SUPPORT, start_waiter
from support.processes import LIMIT, eventually

# Far above the standard signals: taken last, so that it closes a record.
MARK = signal.SIGRTMIN + 5
MARK_NAME = "SIGRTMIN+5"


class Server:
    """A process of recorder.py: what signals has it got?"""

    def __init__(self, start, folder, name, pidfile, *actions, launcher=()):
        self.record = folder / f"{name}.record"
        program = shutil.copy(SUPPORT / "recorder.py", folder)  # any user may read it there
        self.process = start(*launcher, *PYTHON, program, self.record, pidfile, *actions)
        eventually(lambda: self.signals() is not None, f"{name} to be ready")

    def signals(self, suffix=""):
        """The names in order; None before it is ready."""
        try:
            with open(f"{self.record}{suffix}") as file:
                lines = file.read().split()
        except FileNotFoundError:
            return None
        return lines[1:] if lines else None

    def gets(self, *names, suffix=""):
        eventually(lambda: (self.signals(suffix) or [])[-len(names) :] == list(names), names)

    def got_nothing(self, pid=None):
        """Marks the end of the record: whatever was sent before would stand in front."""
        os.kill(pid or self.process.pid, MARK)
        eventually(lambda: MARK_NAME in self.signals(), "the mark")
        return self.signals() == [MARK_NAME]


class Relay:
    """A drover-wait --relay that waits for the server's end."""

    def __init__(self, start, *arguments, **popen):
        self.process = start_waiter(start, *arguments, **popen)

    def send(self, *numbers):
        for number in numbers:
            self.process.send_signal(number)

    def says(self, *words):
        """Reads its messages up to the first that has all the words; a silent one is killed."""
        limit = threading.Timer(LIMIT, self.process.kill)
        limit.start()
        try:
            for line in self.process.stderr:
                if all(word in line for word in words):
                    return line
        finally:
            limit.cancel()
        raise AssertionError(f"it ended, or {LIMIT} s went by, without saying {words}")

    def finish(self):
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, err


@pytest.fixture
def pidfile(folder):
    return folder / "app.pid"


@pytest.fixture
def serve(start, folder, pidfile):
    """serve(ACTION...): a server that holds PIDFILE.lock and is named by PIDFILE."""

    def begin(*actions, name="server", names_itself_in=pidfile):
        launcher = ("drover-hold", "--pidfile", pidfile)
        return Server(start, folder, name, names_itself_in, *actions, launcher=launcher)

    return begin


@pytest.fixture
def stranger(start, folder):
    """A process outside of the flock."""
    return Server(start, folder, "stranger", "-")


@pytest.fixture
def relay(start, pidfile):
    """relay(OPTION...): drover-wait --relay PIDFILE."""

    def begin(*options, **popen):
        return Relay(start, "--relay", pidfile, *options, **popen)

    return begin
