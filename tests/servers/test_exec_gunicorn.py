"""drover-exec as bin/gunicorn: the virtual environment changes under `current`. Debian's gunicorn, as pip
installs it: its first line names the environment's python by the release's own path."""

import json
import os
import pathlib
import shutil
import signal

import pytest

from conftest import needs
from support.environments import PYTHON, Releases
from support.processes import eventually
from support.servers import HOOKS, READY, Gunicorn, Load, living_children, living_in

APP = """
import json, os, sys

SAID = {
    "release": os.path.basename(os.path.realpath(".")),
    "prefix": sys.prefix,
    "venv": os.environ.get("VIRTUAL_ENV"),
    "wrapper": os.environ.get("WRAPPER_OF"),
}


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(SAID).encode()]
"""
CONFIG = """
wsgi_app = "app:app"
bind = "127.0.0.1:{port}"
pidfile = "{shared}/gunicorn.pid"
errorlog = "{shared}/gunicorn.log"
daemon = True
workers = 2
graceful_timeout = 5
"""
WRAPPER = """#!{program}
python = "auto"
command = ["gunicorn"]
lock = "../shared/gunicorn.pid.lock"
[env]
WRAPPER_OF = "{release}"
"""
LIBRARY = f"""
import sys
sys.path.insert(0, "{HOOKS}")
import drover
pre_exec = drover.wrapper
"""


class Deployed(Gunicorn):
    def __init__(self, processes, hook=""):
        super().__init__(processes, files=None)
        self.hook = hook
        self.releases = Releases(self.folder)
        self.current = self.releases.current
        self.pidfile = self.releases.shared / "gunicorn.pid"
        self.program = shutil.which("drover-exec", path=processes.environment["PATH"])

    def log(self):
        path = self.releases.shared / "gunicorn.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def release(self, name):
        release = self.folder / "releases" / name
        words = ("-m", "venv", "--without-pip", "--system-site-packages", release / ".venv")
        made = self.processes.run(PYTHON, *words, timeout=READY)
        assert made.returncode == 0, made.stderr
        script = pathlib.Path(shutil.which("gunicorn")).read_text().split("\n", 1)[1]
        return self.releases.add(name, {
            "bin/gunicorn": WRAPPER.format(program=self.program, release=name),
            ".venv/bin/gunicorn": f"#!{release}/.venv/bin/python\n{script}",
            "app.py": APP,
            "gunicorn.conf.py": CONFIG.format(port=self.port, shared=self.releases.shared) + self.hook,
        })  # fmt: skip

    def begin(self):
        self.launch(self.current / "bin" / "gunicorn")

    def says(self):
        status, body = self.ask()
        return json.loads(body) if status == 200 else {}


def of_release(server, name):
    return {"release": name, "prefix": f"{server.folder}/releases/{name}/.venv",
            "venv": f"{server.folder}/releases/{name}/.venv", "wrapper": name}  # fmt: skip


@pytest.mark.parametrize("hook", ["--print-hook", "drover.py"])
def test_two_reloads_under_load(processes, hook):
    """scenario 20: Each takes the new release and its virtual environment; the old release is gone by then."""
    needs("gunicorn", "wrk")
    printed = processes.run("drover-exec", "--print-hook", "gunicorn").stdout
    server = Deployed(processes, printed if hook == "--print-hook" else LIBRARY)
    old = server.release("1")
    server.begin()
    assert server.says() == of_release(server, "1")
    load = Load(server)
    for name in ("2", "3"):
        new = server.release(name)
        shutil.rmtree(old)
        server.hot_reload()
        assert server.says() == of_release(server, name)
        old = new
    done, failed, words = load.finish()
    assert failed == 0 and done > 0, words
    server.stop()


def test_worker_between_the_switch_and_the_reload(processes):
    """It is of the release that its master is of, with the packages of that one: python itself is run, by
    the environment's path."""
    needs("gunicorn")
    server = Deployed(processes)
    server.release("1")
    wrapper = server.current / "bin" / "gunicorn"
    wrapper.write_text(wrapper.read_text().replace('["gunicorn"]', '["python", "-m", "gunicorn"]'))
    server.begin()
    server.release("2")
    before = living_children(server.master())
    for worker in before:
        os.kill(worker, signal.SIGKILL)
    eventually(lambda: not before & living_children(server.master()), "other workers")
    assert eventually(server.says, server.with_log("an answer"), READY) == of_release(server, "1")
    server.stop()


def test_without_a_hook_it_stays_behind(processes):
    """scenario 20: The control: the new code in the old virtual environment, until that is deleted."""
    needs("gunicorn")
    server = Deployed(processes)
    old = server.release("1")
    server.begin()
    server.release("2")
    server.hot_reload()
    said = server.says()
    assert said["release"] == "2"
    assert said["prefix"] == f"{old}/.venv" and said["wrapper"] == "1"
    shutil.rmtree(old)
    master = server.master()
    session = os.getsid(master)
    os.kill(master, signal.SIGUSR2)
    eventually(lambda: f"'{old}/.venv/bin/python'" in server.log(), server.with_log("the failure"), READY)
    # gunicorn's child that could not execute itself ends the workers, waits as long as they may take for it and
    # removes the pidfile; the master goes on.
    eventually(lambda: server.says().get("release") == "2", server.with_log("the old master to serve"), READY)
    os.kill(master, signal.SIGTERM)
    eventually(lambda: not living_in(session), server.with_log("all to end"), READY)


@pytest.mark.parametrize("wrapper", [None, "/srv/app/current/bin/gunicorn"])
def test_hook_without_a_wrapper(run, wrapper):
    """drover.wrapper changes nothing in a gunicorn that no wrapper started."""
    script = (
        "import sys; sys.argv = ['gunicorn', '-c', 'x']; import drover\n"
        "class Arbiter: START_CTX = {0: '/usr/bin/python3', 'args': ['python3', *sys.argv], 'cwd': '/'}\n"
        "drover.wrapper(Arbiter()); print(*Arbiter.START_CTX.items())"
    )
    env = {"PYTHONPATH": str(HOOKS), "PYTHONDONTWRITEBYTECODE": "1"}
    done = run(PYTHON, "-c", script, env={**env, "DROVER_WRAPPER": wrapper} if wrapper else env)
    first, args = (wrapper, [wrapper, "-c", "x"]) if wrapper else ("/usr/bin/python3", ["python3", "gunicorn", "-c", "x"])
    assert done.stdout == f"(0, {first!r}) ('args', {args!r}) ('cwd', '/')\n", done.stderr
