"""A drover-herd over a real server, and what it says."""

import re
import signal

from support.processes import alive, eventually, has_pidfd_of
from support.servers import READY


class Herd:
    """drover-herd with one of the servers of support/servers.py."""

    program = "drover-herd"

    def __init__(self, server, *options, command, ready=True, **popen):
        place = ("--pidfile", server.pidfile) if server.pidfile else ("--lock", server.lock)
        words = ("drover-herd", *place, *options, "--", *command)
        self._start(server, words, ready, popen)

    def _start(self, server, command, ready, popen):
        self.server = server
        self.words = server.processes.folder / f"herd{len(list(server.processes.folder.glob('herd*')))}"
        with open(self.words, "w") as words:
            self.process = server.processes.start(
                *command, stdout=words, stderr=words, cwd=server.folder, **popen
            )
        if ready:
            self.await_words(" serves, master | took over the running server, ")

    @property
    def pid(self):
        return self.process.pid

    def said(self):
        return self.words.read_text(errors="replace")

    def await_words(self, pattern, limit=READY):
        """Waits until it has said something that matches, and returns the match."""

        def found():
            match = re.search(pattern, self.said())
            assert match or self.running(), f"ended with {self.process.returncode}: {self.said()}"
            return match

        try:
            return eventually(found, f"'{pattern}'", limit)
        except AssertionError as failure:
            raise AssertionError(f"{failure}\n{self.said()}\n{self.server.log()}") from None

    def knows(self, pid):
        """Whether it has a pidfd of the process."""
        return has_pidfd_of(self.pid, pid)

    def running(self):
        return self.process.poll() is None

    def send(self, number):
        self.process.send_signal(number)

    def reload(self, number=None, limit=READY):
        """HUP; returns the verdict and the line that tells it."""
        number = number or 1 + len(self.verdicts())
        self.send(signal.SIGHUP)
        return self.verdict(number, limit)

    def verdict(self, number, limit=READY):
        match = self.await_words(rf"{self.program}: reload {number} (done|failed|refused).*\n", limit)
        return match[1], match[0]

    def verdicts(self):
        return re.findall(rf"{self.program}: reload \d+ (done|failed|refused)", self.said())

    def result(self, limit=READY):
        return self.process.wait(limit)

    def stop(self, number=signal.SIGTERM):
        """Asks it to stop; returns its exit status when everybody of the server is gone."""
        eventually(self.server.master, "the pidfile to name the master")  # gunicorn: within a second
        everybody = self.server.everybody()
        self.send(number)
        status = self.result()
        left = [pid for pid in everybody if alive(pid)]
        assert not left, f"left behind: {left}\n{self.said()}"
        return status


class UnicornHerder(Herd):
    """unicornherder: drover-herd by that name, with the words of its documentation."""

    program = "unicornherder"

    def __init__(self, server, *words, ready=True, **popen):
        self._start(server, words, ready, popen)
