"""lib/herd/serving.h on real servers: which workers have finished booting."""

import os
import re
import signal

import pytest

from conftest import BUILD, needs
from support.inplace import HAPROXY, PHP_FPM
from support.processes import alive, eventually
from support.servers import READY, Server, living_children

WSGI = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "3")])
    return [b"hi\\n"]
"""
RACK = """
run ->(_env) { [200, { "Content-Type" => "text/plain" }, ["hi\\n"]] }
"""
NGINX = """
daemon off;
pid {folder}/nginx.pid;
worker_processes 2;
events {}
http { access_log off; server { listen 127.0.0.1:{port}; location / { return 200; } } }
"""
UNICORN = """
listen "127.0.0.1:{port}"
worker_processes 2
timeout 120
"""
GUNICORN = "gunicorn -b 127.0.0.1:{port} -w 2 -t 120 app:app"
UWSGI = "uwsgi_python3 --master --processes 2 --http-socket 127.0.0.1:{port} --wsgi-file app.py --callable app"

# Name, its command, its files.
SERVERS = {
    "unicorn": ("unicorn -c unicorn.rb", {"unicorn.rb": UNICORN, "config.ru": RACK}),
    "gunicorn-sync": (GUNICORN, {"app.py": WSGI}),
    "gunicorn-gthread": (GUNICORN + " -k gthread --threads 2", {"app.py": WSGI}),
    "puma": ("puma -w 2 -t 1:2 -b tcp://127.0.0.1:{port}", {"config.ru": RACK}),
    "nginx": ("/usr/sbin/nginx -e stderr -c {folder}/nginx.conf", {"nginx.conf": NGINX}),
    "haproxy": ("/usr/sbin/haproxy -W -f haproxy.cfg", {"haproxy.cfg": HAPROXY}),
    "php-fpm": ("php-fpm8.2 --nodaemonize --fpm-config {folder}/fpm.conf", {"fpm.conf": PHP_FPM}),
    "uwsgi": (UWSGI, {"app.py": WSGI}),
    "uwsgi-lazy": (UWSGI + " --lazy-apps", {"app.py": WSGI}),
}

# Ways in which an application's load does not come back, after the line that says it has begun.
PYTHON_HANGS = {
    "sleep": "import time; time.sleep(1000)",
    "select": "import os, select; select.select([os.pipe()[0]], [], [])",
    "child": "import subprocess; subprocess.run(['sleep', '1000'])",
    "connect": "import socket; a = socket.socket(); a.bind(('127.0.0.1', 0)); a.listen(0)\n"
    "while True: b = socket.socket(); b.connect(a.getsockname()); kept = globals().get('kept', []) + [b]",
    "flock": "import fcntl; a, b = open('lock', 'w'), open('lock', 'w')\n"
    "fcntl.flock(a, fcntl.LOCK_EX); fcntl.flock(b, fcntl.LOCK_EX)",
    "debugger": "import socket; a = socket.socket(); a.bind(('127.0.0.1', 0)); a.listen(); a.accept()",
}
RUBY_HANGS = {
    "sleep": "sleep",
    "select": "IO.select([IO.pipe[0]])",
    "child": "system('sleep', '1000')",
    "connect": "require 'socket'; a = Socket.new(:INET, :STREAM); a.bind(Addrinfo.tcp('127.0.0.1', 0)); a.listen(0)\n"
    "kept = []; loop { kept << Socket.new(:INET, :STREAM); kept.last.connect(a.local_address) }",
    "flock": "a = File.open('lock', 'w'); b = File.open('lock', 'w')\n"
    "a.flock(File::LOCK_EX); b.flock(File::LOCK_EX)",
    "debugger": "require 'socket'; TCPServer.new('127.0.0.1', 0).accept",
}


class Plain(Server):
    """A server in the foreground, without drover."""

    def __init__(self, processes, kind):
        self.name = kind
        super().__init__(processes, files=None)
        self.command, files = SERVERS[kind]
        needs(re.split("[ /]", self.command.removeprefix("/usr/sbin/"))[0])
        for name, text in files.items():
            self.write(name, text)
        self.keeps_sockets = kind != "haproxy"

    def fill(self, text):
        return text.replace("{folder}", str(self.folder)).replace("{port}", str(self.port))

    def write(self, name, text):
        (self.folder / name).write_text(self.fill(text))

    def log(self):
        return (self.folder / "output").read_text(errors="replace")

    def run(self):
        with open(self.folder / "output", "w") as output:
            self.parent = self.processes.start(
                *self.fill(self.command).split(),
                cwd=self.folder,
                env={"PYTHONDONTWRITEBYTECODE": "1"},
                start_new_session=True,
                stdout=output,
                stderr=output,
            )

    def workers_now(self):
        assert alive(self.parent.pid), self.log()
        return sorted(living_children(self.parent.pid))

    def look(self, workers, by_master=True):
        master = self.parent.pid if by_master and self.keeps_sockets else 0
        done = self.processes.run(BUILD / "tests" / "support" / "look_serving", master, *workers)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    def end(self):
        os.killpg(self.parent.pid, signal.SIGKILL)
        eventually(lambda: not self.processes.left(), "the server to end")

    def all_serve(self):
        workers = self.workers_now()
        expected = 1 if self.name == "haproxy" else 2
        return len(workers) == expected and self.look(workers) == ["yes"] * expected


@pytest.mark.parametrize("kind", SERVERS)
def test_idle_and_busy_workers_serve(processes, kind):
    """H29. A worker that is up is seen to be up, whenever it is looked at while idle."""
    server = Plain(processes, kind)
    server.run()
    eventually(server.all_serve, server.with_log("all workers to serve"), READY)
    workers = server.workers_now()
    for _ in range(20):
        assert server.look(workers) == ["yes"] * len(workers)
    assert server.look([server.parent.pid], by_master=False) == ["not_yet"]
    if kind != "php-fpm":  # which speaks no HTTP
        seen_under_load(server, workers)
    server.end()


def seen_under_load(server, workers):
    needs("wrk")
    load = server.processes.start("wrk", "-t1", "-c4", "-d600", f"http://127.0.0.1:{server.port}/")
    for _ in range(3):
        for worker in workers:
            eventually(lambda: server.look([worker]) == ["yes"], f"{worker} to be seen under load")
    load.kill()
    load.wait()


@pytest.mark.parametrize("hang", PYTHON_HANGS)
@pytest.mark.parametrize("kind", ["gunicorn-sync", "gunicorn-gthread", "uwsgi-lazy"])
def test_python_that_never_loads_never_serves(processes, kind, hang):
    """H29."""
    server = Plain(processes, kind)
    server.write("app.py", f"print('loading', flush=True)\n{PYTHON_HANGS[hang]}\n{WSGI}")
    never_serves(server, hang)


@pytest.mark.parametrize("hang", RUBY_HANGS)
@pytest.mark.parametrize("kind", ["unicorn", "puma"])
def test_ruby_that_never_loads_never_serves(processes, kind, hang):
    """H29."""
    server = Plain(processes, kind)
    server.write("config.ru", f"$stdout.syswrite(\"loading\\n\")\n{RUBY_HANGS[hang]}\n{RACK}")
    never_serves(server, hang)


def never_serves(server, hang):
    server.run()
    seen = set()

    def both_load():
        seen.update(server.look(server.workers_now()))
        return server.log().count("loading") == 2

    eventually(both_load, server.with_log("two workers to load"), READY)
    workers = server.workers_now()
    if hang == "debugger":  # who does not know the master's sockets is deceived
        eventually(lambda: "yes" in server.look(workers, by_master=False), "its own socket to be seen")
    for _ in range(30):
        seen.update(server.look(workers))
    assert seen == {"not_yet"}
    assert server.workers_now() == workers, "a worker did not hang"
    server.end()
