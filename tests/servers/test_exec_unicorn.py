"""drover-exec as bin/unicorn: each reload chooses release, ruby and bundle anew. Real unicorn, rbenv's
layout, Bundler."""

import json
import os
import shutil
import signal

import pytest

from conftest import needs
from support.environments import deploy_generations, environment_but, install
from support.processes import eventually
from support.servers import READY, Load, Unicorn

APP = """
RELEASE = File.basename(File.realpath("."))
RUBY = ENV["PATH"].split(":").find { |part| part.include?("/versions/") }  # Bundler adds gems' folders
AGAIN = Unicorn::HttpServer::START_CTX[0].dup
run lambda { |env|
  said = { release: RELEASE, path: RUBY, gemfile: ENV["BUNDLE_GEMFILE"], again: AGAIN }
  [200, { "Content-Type" => "application/json" }, [said.to_json]]
}
"""
CONFIG = """
require "json"
pid "{shared}/unicorn.pid"
listen "127.0.0.1:{port}", backlog: 1024
worker_processes 2
preload_app true
stdout_path "{shared}/unicorn.log"
stderr_path "{shared}/unicorn.log"
"""
WRAPPER = """#!{program}
ruby = "auto"
bundle = "setup"
command = ["unicorn"]
lock = "../shared/unicorn.pid.lock"
"""
CLASSIC = """#!/bin/bash
export RBENV_ROOT={rbenv}
exec rbenv exec bundle exec unicorn "$@"
"""


class Deployed(Unicorn):
    """Capistrano's tree: releases, and the link `current` to one of them."""

    def __init__(self, processes):
        super().__init__(processes, files=None)
        self.current = self.folder / "current"
        self.shared = self.folder / "shared"
        self.rbenv = processes.folder / ".rbenv"
        self.pidfile = self.shared / "unicorn.pid"
        self.lock = self.shared / "unicorn.pid.lock"
        self.shared.mkdir()
        for version in ("3.1.2", "3.1.10"):
            install(self.rbenv / "versions" / version, "bundle", "unicorn")

    def log(self):
        path = self.shared / "unicorn.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def release(self, name, ruby, wrapper=WRAPPER):
        folder = self.folder / "releases" / name
        (folder / "bin").mkdir(parents=True)
        (folder / ".ruby-version").write_text(f"{ruby}\n")
        (folder / "config.ru").write_text(APP)
        (folder / "Gemfile").write_text('gem "unicorn"\ngem "rack"\n')
        (folder / "unicorn.rb").write_text(CONFIG.format(shared=self.shared, port=self.port))
        start = folder / "bin" / "unicorn"
        program = shutil.which("drover-exec", path=self.processes.environment["PATH"])
        start.write_text(wrapper.format(program=program, rbenv=self.rbenv))
        start.chmod(0o755)
        link = self.folder / "next"
        link.symlink_to(folder)
        link.rename(self.current)
        return folder

    def begin(self, env=None):
        words = (self.current / "bin" / "unicorn", "-D", "-c", "unicorn.rb")
        done = self.processes.run(*words, cwd=self.current, env=env or {}, timeout=READY)
        assert done.returncode == 0, f"{done.stderr}\n{self.log()}"
        self.await_service()

    def says(self):
        return json.loads(self.ask()[1])

    def serves_release(self, name):
        status, body = self.ask()
        return status == 200 and json.loads(body)["release"] == name


@pytest.fixture
def server(processes):
    needs("unicorn", "bundle", "wrk")
    return Deployed(processes)


@pytest.mark.parametrize("pwd", ["from a shell", "without PWD"])
def test_new_release_and_ruby(server, pwd):
    """scenario 15, 16: The old release is deleted before the reload. Without PWD it starts as from systemd."""
    old = server.release("1", "3.1.2")
    server.begin({"PWD": str(server.current)} if pwd == "from a shell" else {})
    first = server.says()
    assert first["release"] == "1" and first["path"] == f"{server.rbenv}/versions/3.1.2/bin"
    server.release("2", "3.1.10")
    shutil.rmtree(old)
    server.hot_reload()
    eventually(lambda: server.serves_release("2"), server.with_log("release 2"))
    said = server.says()
    assert said["path"] == f"{server.rbenv}/versions/3.1.10/bin"
    assert said["gemfile"] == f"{server.current}/Gemfile"
    assert said["again"] == f"{server.current}/bin/unicorn"
    server.stop()


@pytest.mark.timeout(600)
def test_fifty_generations_under_load(server):
    """scenario 2: No request fails, and the environment of generation 50 is that of generation 2."""
    server.release("1", "3.1.2")
    server.begin()
    load = Load(server)
    seen = {}
    for generation, ruby in deploy_generations(server):
        master = server.hot_reload()
        seen[generation] = environment_but(master, b"UNICORN_FD=")
        eventually(lambda: server.serves_release(str(generation)), server.with_log("the release"))  # noqa: B023
        said = server.says()
        assert said["path"] == f"{server.rbenv}/versions/{ruby}/bin"
        assert (said["gemfile"], said["again"]) == (f"{server.current}/Gemfile", f"{server.current}/bin/unicorn")
    done, failed, words = load.finish()
    assert failed == 0 and done > 0, words
    assert server.says()["release"] == "50"
    assert seen[50] == seen[2]
    server.stop()


def test_the_classic_script_stays_behind(server):
    """scenario 15: The control: what drover-exec is for."""
    needs("rbenv")
    old = server.release("1", "3.1.2", CLASSIC)
    server.begin({"PWD": str(server.current)})
    before = server.master()
    server.release("2", "3.1.10", CLASSIC)
    shutil.rmtree(old)
    os.kill(before, signal.SIGUSR2)
    eventually(lambda: "Gemfile not found" in server.log(), server.with_log("the new master's death"), READY)
    eventually(lambda: server.master() == before, "the pidfile to come back")
    assert not server.serves_release("2")
    server.stop()


def test_broken_wrapper_of_the_next_release(server):
    """scenario 22: A version that is not there: one clear line in the log, and the old master serves on."""
    server.release("1", "3.1.2")
    server.begin()
    before = server.master()
    server.release("2", "9.9.9")
    os.kill(before, signal.SIGUSR2)
    line = f"cannot use ruby '9.9.9': asked for by {server.current}/.ruby-version:1, it is not installed"
    eventually(lambda: line in server.log(), server.with_log("the reason"), READY)
    assert "rbenv:3.1.10 rbenv:3.1.2" in server.log()
    eventually(lambda: server.master() == before, "the pidfile to come back")
    assert server.serves_release("1")
    server.stop()
