"""Servers that reload in place, under the same master pid: haproxy, php-fpm and uWSGI."""

import socket

from support.servers import Server

HAPROXY = """
global
    pidfile {folder}/haproxy.pid
defaults
    mode http
    timeout client 10s
frontend all
    bind 127.0.0.1:{port}
    http-request return status 200
"""
PHP_FPM = """
[global]
pid = {folder}/php-fpm.pid
error_log = {folder}/php-fpm.log
[www]
listen = 127.0.0.1:{port}
user = nobody
group = nogroup
pm = static
pm.max_children = 2
"""
UWSGI_APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello\\n"]
"""


class InPlace(Server):
    """Its files are made here; the rest is as with the servers of examples/."""

    def __init__(self, processes):
        super().__init__(processes, files=None)

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text.replace("{folder}", str(self.folder)).replace("{port}", str(self.port)))
        return path


class Haproxy(InPlace):
    name = "haproxy"
    workers = 1

    def start_under(self, *hold):
        config = self.write("haproxy.cfg", HAPROXY)
        self.launch(*hold, "/usr/sbin/haproxy", "-W", "-D", "-f", config)


class PhpFpm(InPlace):
    name = "php-fpm"
    program = "php-fpm8.2"

    def start_under(self, *hold):
        """In the foreground: as a daemon it would daemonize again at each reload, under a new pid."""
        config = self.write("php-fpm.conf", PHP_FPM)
        self.launch_in_foreground(*hold, self.program, "--nodaemonize", "--fpm-config", config)

    def get(self, path="/"):
        """It speaks FastCGI: a connection is answer enough."""
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
            return 200
        except OSError:
            return 0


class Uwsgi(InPlace):
    name = "uwsgi"

    def command(self, *options):
        return (
            "uwsgi_python3", "--master", "--processes", "2", "--need-app",
            "--http-socket", f"127.0.0.1:{self.port}", "--wsgi-file", self.folder / "app.py",
            # A signal reaches a worker that was just born before its handler is there: not 60 s then.
            "--worker-reload-mercy", "2", "--reload-mercy", "2", "--pidfile", self.pidfile, *options,
        )  # fmt: skip

    def start_under(self, *hold, options=()):
        self.write("app.py", UWSGI_APP)
        launch = self.launch_in_foreground if "--guard" in hold else self.launch
        launch(*hold, *self.command("--daemonize", self.folder / "uwsgi.log", *options))
