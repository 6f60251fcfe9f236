"""drover-exec as bin/puma, which restarts in place: same pid, another release, ruby and bundle. Real puma,
rbenv's layout, Bundler."""

import json
import os
import re
import shutil
import signal

import pytest

from conftest import ROOT, needs
from support.environments import Releases, deploy_generations, environment_but, install
from support.processes import alive, eventually, start_time
from support.servers import READY, Load, Puma, living_children

APP = """
require "json"
RELEASE = File.basename(File.realpath("."))
RUBY = ENV["PATH"].split(":").find { |part| part.include?("/versions/") }  # Bundler adds gems' folders
run lambda { |env|
  said = { release: RELEASE, ruby: RUBY, gemfile: ENV["BUNDLE_GEMFILE"], wrapper: ENV["WRAPPER_OF"] }
  [200, { "Content-Type" => "application/json" }, [said.to_json]]
}
"""
# With queue_requests puma 5 itself now and then drops a connection at a restart, also without drover.
CONFIG = """
queue_requests false
bind "tcp://127.0.0.1:{port}"
pidfile "{shared}/puma.pid"
stdout_redirect "{shared}/puma.log", "{shared}/puma.log", true
threads 1, 5
workers {workers}
"""
# A wrapper that goes on as a ruby script, as drover-exec(5) has it.
(MANUAL,) = re.findall(r"^(#!ruby\n.*?)^```", (ROOT / "tools/man/drover-exec.5.scd").read_text(), re.M | re.S)
POLYGLOT = """#!{program}
ruby = "auto"
{more}[env]
WRAPPER_OF = "{release}"
""" + MANUAL
PLAIN = """#!{program}
ruby = "auto"
command = ["puma"]
{more}[env]
WRAPPER_OF = "{release}"
"""


class Deployed(Puma):
    """In Capistrano's tree, with a wrapper that is a ruby script or with puma's restart_command."""

    def __init__(self, processes, form, workers):
        super().__init__(processes, files=None)
        self.releases = Releases(self.folder)
        self.current = self.releases.current
        self.pidfile = self.releases.shared / "puma.pid"
        self.workers = workers
        self.program = shutil.which("drover-exec", path=processes.environment["PATH"])
        self.wrapper = POLYGLOT if form == "polyglot" else PLAIN
        hook = processes.run("drover-exec", "--print-hook", "puma").stdout
        self.hook = hook if form == "restart_command" else ""
        self.rbenv = processes.folder / ".rbenv"
        for version in ("3.1.2", "3.1.10"):
            install(self.rbenv / "versions" / version, "bundle")

    def log(self):
        path = self.releases.shared / "puma.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def release(self, name, ruby, gemfile="", more=""):
        config = CONFIG.format(port=self.port, shared=self.releases.shared, workers=self.workers)
        return self.releases.add(name, {
            "bin/puma": self.wrapper.format(program=self.program, release=name, more=more),
            ".ruby-version": f"{ruby}\n",
            "Gemfile": f'gem "puma"\ngem "rack"\n{gemfile}',
            "config.ru": APP,
            "puma.rb": config + self.hook,
        })  # fmt: skip

    def begin(self):
        self.launch_in_foreground(self.current / "bin" / "puma", "-C", "puma.rb")

    def says(self):
        status, body = self.ask()
        return json.loads(body) if status == 200 else {}

    def restart(self, release):
        """USR2, until the release answers; it is the same process all the time."""
        master = self.master()
        born = start_time(master)
        os.kill(master, signal.SIGUSR2)
        what = self.with_log(f"release {release}")
        eventually(lambda: self.says().get("release") == release or not alive(master), what, READY)
        assert start_time(master) == born and alive(master), self.log()
        eventually(lambda: self.master() == master, "the pidfile", READY)

    def end(self):
        os.kill(self.parent.pid, signal.SIGTERM)
        self.parent.wait(READY)



def forms(*workers):
    """Each form with these numbers of workers."""
    return [
        pytest.param((form, number), id=f"{form}-{number}")
        for form in ("polyglot", "restart_command") for number in workers
    ]  # fmt: skip


@pytest.fixture
def server(request, processes):
    needs("puma", "bundle", "wrk")
    return Deployed(processes, *request.param)


@pytest.mark.parametrize("server", forms(0, 2), indirect=True)
def test_two_restarts_under_load(server):
    """scenario 18: Each by the new release's wrapper, with its ruby and its bundle; no request fails."""
    old = server.release("1", "3.1.2")
    server.begin()
    assert server.says() == {"release": "1", "ruby": f"{server.rbenv}/versions/3.1.2/bin",
                             "gemfile": f"{server.current}/Gemfile", "wrapper": "1"}  # fmt: skip
    assert server.master() == server.parent.pid
    load = Load(server)
    for release, ruby in (("2", "3.1.10"), ("3", "3.1.2")):
        new = server.release(release, ruby)
        shutil.rmtree(old)
        server.restart(release)
        assert server.says() == {"release": release, "ruby": f"{server.rbenv}/versions/{ruby}/bin",
                                 "gemfile": f"{server.current}/Gemfile", "wrapper": release}  # fmt: skip
        old = new
    done, failed, words = load.finish()
    assert failed == 0 and done > 0, words
    server.end()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("server", forms(0), indirect=True)
def test_fifty_generations_under_load(server):
    """scenario 2: no request fails, and the environment of generation 50 is that of generation 2. The guard against
    wrappers that execute themselves takes none for one, though the process is the same all the time."""
    server.release("1", "3.1.2")
    server.begin()
    load = Load(server)
    seen = {}
    for generation, ruby in deploy_generations(server):
        server.restart(str(generation))
        seen[generation] = environment_but(server.master(), b"PUMA_INHERIT_", b"WRAPPER_OF=")
        assert server.says() == {"release": str(generation), "ruby": f"{server.rbenv}/versions/{ruby}/bin",
                                 "gemfile": f"{server.current}/Gemfile", "wrapper": str(generation)}  # fmt: skip
    done, failed, words = load.finish()
    assert failed == 0 and done > 0, words
    assert seen[50] == seen[2]
    server.end()


@pytest.mark.parametrize("server", forms(2), indirect=True)
def test_phased_restart(server):
    """Scenario 19: USR1 forks workers with the new code from the old master, which no wrapper touches."""
    server.release("1", "3.1.2")
    server.begin()
    master = server.master()
    eventually(lambda: len(living_children(master)) == 2, "two workers", READY)
    server.release("2", "3.1.10")
    server.replace_workers(signal.SIGUSR1)
    said = server.says()
    assert said["release"] == "2"
    assert said["wrapper"] == "1" and said["ruby"] == f"{server.rbenv}/versions/3.1.2/bin"
    server.restart("2")
    eventually(lambda: server.says().get("wrapper") == "2", server.with_log("the hot restart"), READY)
    assert server.says()["ruby"] == f"{server.rbenv}/versions/3.1.10/bin"
    server.end()


@pytest.mark.parametrize("server", forms(0), indirect=True)
def test_a_gem_that_only_the_new_release_has(server, folder):
    """As after a change of ruby, whose gems are elsewhere: the old ruby cannot load the new bundle."""
    server.release("1", "3.1.2")
    server.begin()
    gem = 'Gem::Specification.new { |s| s.name = "late"; s.version = "1"; s.summary = s.author = "none" }'
    (folder / "gems" / "specifications").mkdir(parents=True)
    (folder / "gems" / "specifications" / "late-1.gemspec").write_text(gem)
    server.release("2", "3.1.10", 'gem "late"\n', f'gem_home = "{folder}/gems"\n')
    server.restart("2")
    assert server.says()["wrapper"] == "2"
    server.end()


@pytest.mark.parametrize("server", [("none", 0)], indirect=True)
def test_without_the_hook_the_wrapper_is_not_run(server):
    """The control: puma executes its ruby again, with the old environment."""
    server.release("1", "3.1.2")
    server.begin()
    server.release("2", "3.1.10")
    server.restart("2")
    said = server.says()
    assert said["wrapper"] == "1" and said["ruby"] == f"{server.rbenv}/versions/3.1.2/bin"
    server.end()
