"""The site that the supervisors' examples run: an app, an example's files edited for the test, and
clients that notice every request that fails."""

import errno
import http.client
import os
import pathlib
import re
import shutil
import socket
import sys
import threading

from support.processes import LIMIT, eventually
from support.servers import ROOT, free_port

SUPPORT = pathlib.Path(__file__).resolve().parent
EXAMPLES = ROOT / "examples"
INIT = (sys.executable, "-B", SUPPORT / "supervisors_init.py")
UPSTART = (sys.executable, "-B", SUPPORT / "supervisors_upstart.py")

APP = """\
# Each of these is a FIFO when a test holds the boot, or a request, up: it waits for the other end.
File.read("boot") if File.exist?("boot")
raise "this release is broken" if File.exist?("broken")
release = File.read("release")
run lambda { |env|
  File.read("slow") if env["PATH_INFO"] == "/slow"
  [200, { "Content-Type" => "text/plain" }, ["#{Process.ppid} #{release}"]]
}
"""

DELAYED = """\
#!/bin/sh
[ ! -p {gate} ] || cat {gate}
PATH=${{PATH#*:}}
exec {name} "$@"
"""


class Site:
    """An app in FOLDER/srv, and what an administrator has made of one example in FOLDER/etc."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self.app = folder / "srv"
        self.run = folder / "run"
        self.etc = folder / "etc"
        self.bin = folder / "bin"  # first in the PATH of what the supervisor starts
        for path in (self.app, self.run, self.etc, self.bin, folder / "log"):
            path.mkdir()
        (self.app / "config.ru").write_text(APP)
        self.release("1")

    @property
    def lock(self):
        return self.run / "unicorn.pid.lock"

    def install(self, example, edits=None):
        """Copies the example, with the paths, the port and `edits` (text to text) put in."""
        places = {
            "/etc/app": self.etc,
            "/srv/app": self.app,
            "/run/app": self.run,
            "/var/log/app": self.folder / "log",
            "127.0.0.1:8080": f"127.0.0.1:{self.port}",
            **(edits or {}),
        }
        pattern = re.compile("|".join(re.escape(text) for text in places))
        files = [path for path in (EXAMPLES / example).rglob("*") if path.is_file()]
        for source in files:
            target = self.etc / source.relative_to(EXAMPLES / example)
            target.parent.mkdir(exist_ok=True)
            target.write_text(pattern.sub(lambda match: str(places[match[0]]), source.read_text()))
            shutil.copymode(source, target)

    def release(self, name):
        (self.app / "release").write_text(name)

    def break_release(self):
        (self.app / "broken").touch()

    def mend_release(self):
        (self.app / "broken").unlink()

    def hold_up(self, name):
        """From now on the boot ("boot"), or each request for /slow ("slow"), waits for let_go()."""
        os.mkfifo(self.app / name)

    def hold_up_program(self, name):
        """From now on a program of that name waits for let_go(name) before it starts."""
        self.hold_up(name)
        program = self.bin / name
        program.write_text(DELAYED.format(gate=self.app / name, name=name))
        program.chmod(0o755)

    def held_up(self, name):
        """Waits until somebody is held up there. Returns what let_go() wants."""
        return self.eventually(lambda: self._writer(name), f"somebody at '{name}'")

    def _writer(self, name):
        try:
            return os.fdopen(os.open(self.app / name, os.O_WRONLY | os.O_NONBLOCK), "w")
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return None

    def slow_request(self):
        """A request that a worker answers when it is let go ("slow"): a Background, and what let_go()
        wants."""
        self.hold_up("slow")
        request = Background(self.get, "/slow", 3 * LIMIT)
        return request, self.held_up("slow")

    def let_go(self, name, writer):
        (self.app / name).unlink()
        writer.close()

    def get(self, path="/", timeout=20):
        """The answer's words, the master's pid (in its own namespace) first; raises when it fails."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read().decode()
            if response.status != 200:
                raise http.client.HTTPException(f"status {response.status}")
            return body.split()
        finally:
            connection.close()

    def served_by(self):
        """The answer's words, or None when nobody answers."""
        try:
            return self.get()
        except (OSError, http.client.HTTPException):
            return None

    def serving(self, release="1"):
        """Waits until the release answers. Returns the master's pid, in its own namespace."""
        words = self.eventually(
            lambda: (words := self.served_by()) and words[1] == release and words,
            f"release {release} to answer",
        )
        return int(words[0])

    def eventually(self, condition, what, limit=LIMIT):
        """As everywhere; a failure shows what the server and the supervisor have said."""
        try:
            return eventually(condition, what, limit)
        except AssertionError as failure:
            raise AssertionError(f"{failure}\n{self.log()}") from None

    def refused(self):
        """Whether nobody listens on the port."""
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == errno.ECONNREFUSED

    def boots(self):
        """How often a server has come to have the port; by a reload it only inherits it."""
        return self.log().count(f"listening on addr=127.0.0.1:{self.port} ")

    def log(self):
        """What the server and the supervisor have said: for the message of a test that fails."""
        return "\n".join(path.read_text() for path in (self.folder / "log").iterdir())


class Background(threading.Thread):
    """A call in the background. join() returns what it returned, or raises what it raised."""

    def __init__(self, call, *arguments):
        super().__init__(daemon=True)
        self._call = lambda: call(*arguments)
        self._result = None
        self._failure = None
        self.start()

    def run(self):
        try:
            self._result = self._call()
        except BaseException as failure:
            self._failure = failure

    def goes_on(self, seconds):
        super().join(seconds)
        return self.is_alive()

    def join(self, timeout=LIMIT):
        super().join(timeout)
        assert not self.is_alive(), f"not done after {timeout} s"
        if self._failure:
            raise self._failure
        return self._result

    def failed(self):
        """Waits until the call has raised."""
        super().join(LIMIT)
        assert not self.is_alive() and self._failure, f"it returned {self._result}"


class Clients:
    """A steady stream of requests while the `with` block runs: `answered` and `failures`."""

    def __init__(self, site, count=2):
        self.site = site
        self.answered = 0
        self.failures = []
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]

    def _ask(self):
        while not self._ended.is_set():
            try:
                self.site.get()
                self.answered += 1
            except (OSError, http.client.HTTPException) as failure:
                self.failures.append(failure)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        for thread in self._threads:
            thread.join()
