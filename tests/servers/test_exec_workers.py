"""Unicorn's other ways to start something, through a wrapper: workers that are executed, sockets that are
handed over, `bundle exec`, a Bundler that the lock file asks for."""

import fcntl
import json
import os
import re
import shutil
import socket

import pytest

from conftest import needs
from support.environments import Releases, install
from support.processes import alive, eventually, holders
from support.servers import HOOKS, READY, Load, Unicorn, living_children

APP = """
require "json"
RELEASE = File.basename(File.realpath("."))
RUBY = ENV["PATH"].split(":").find { |part| part.include?("/versions/") }  # Bundler adds gems' folders
run lambda { |env|
  bundler = defined?(Bundler) ? Bundler::VERSION : nil
  said = { release: RELEASE, ruby: RUBY, bundler: bundler, again: $again }
  [200, { "Content-Type" => "application/json" }, [said.to_json]]
}
"""
CONFIG = """
pid "{shared}/unicorn.pid" unless ENV["UNICORN_WORKER"]
listen "127.0.0.1:{port}", backlog: 1024
stdout_path "{shared}/unicorn.log"
stderr_path "{shared}/unicorn.log"
"""
# In the master: workers forget START_CTX.
REMEMBER = """
$again = Unicorn::HttpServer::START_CTX[0].dup
"""
HOOK = f"""
worker_processes 2
require "{HOOKS}/drover"
Drover.wrapper!
"""
WRAPPER = """#!{program}
ruby = "auto"
bundle = "{bundle}"
command = ["unicorn"]
lock = "../shared/unicorn.pid.lock"
"""
SHOW = """#!{program}
command = ["sh", "-c", "echo $$ $LISTEN_PID $LISTEN_FDS; readlink /proc/self/fd/3; echo ${{DROVER_LOCK_FD:-none}}"]
{lock}
"""


class Deployed(Unicorn):
    def __init__(self, processes):
        super().__init__(processes, files=None)
        self.releases = Releases(self.folder)
        self.current = self.releases.current
        self.shared = self.releases.shared
        self.pidfile = self.shared / "unicorn.pid"
        self.lock = self.shared / "unicorn.pid.lock"
        self.program = shutil.which("drover-exec", path=processes.environment["PATH"])
        self.rbenv = processes.folder / ".rbenv"
        for version in ("3.1.2", "3.1.10"):
            install(self.rbenv / "versions" / version, "bundle", "unicorn")

    def log(self):
        path = self.shared / "unicorn.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def release(self, name, ruby, config="worker_processes 2", bundle="setup", files=None):
        common = CONFIG.format(port=self.port, shared=self.shared)
        return self.releases.add(name, {
            "bin/unicorn": WRAPPER.format(program=self.program, bundle=bundle),
            ".ruby-version": f"{ruby}\n",
            "Gemfile": 'gem "unicorn"\ngem "rack"\n',
            "config.ru": APP,
            "unicorn.rb": common + config + REMEMBER,
            **(files or {}),
        })  # fmt: skip

    def begin(self):
        self.launch(self.current / "bin" / "unicorn", "-D", "-c", "unicorn.rb")

    def says(self):
        status, body = self.ask()
        return json.loads(body) if status == 200 else {}

    def of(self, release, ruby):
        """What it says, but for Bundler."""
        return {"release": release, "ruby": f"{self.rbenv}/versions/{ruby}/bin", "again": f"{self.current}/bin/unicorn"}


INSTALLED = 'puts Gem::Specification.find_all_by_name("bundler").map(&:version).sort.uniq'


@pytest.fixture
def server(processes):
    needs("unicorn", "bundle", "wrk")
    return Deployed(processes)


def without_bundler(said):
    return {name: value for name, value in said.items() if name != "bundler"}


def variables(pid):
    with open(f"/proc/{pid}/environ") as file:
        return dict(entry.split("=", 1) for entry in file.read().split("\0") if "=" in entry)


def test_executed_workers(server):
    """Scenario 17: each of four workers is a wrapper of its own, with its number and its pipes, and
    holds the lock."""
    server.workers = 4
    config = "worker_processes 4\nworker_exec true\n"
    server.release("1", "3.1.2", config)
    server.begin()
    load = Load(server)
    for release, ruby in (("2", "3.1.10"), ("3", "3.1.2")):
        server.release(release, ruby, config)
        master = server.hot_reload()
        eventually(lambda: len(numbered(master)) == 4, server.with_log("the workers to be executed"), READY)
        workers = numbered(master)
        assert {worker["UNICORN_WORKER"].split(",")[0] for worker in workers.values()} == {"0", "1", "2", "3"}
        for pid, worker in workers.items():
            assert worker["DROVER_DEPTH"].split(":")[:2] == [str(pid), "1"]
            assert worker["DROVER_WRAPPER"] == f"{server.current}/bin/unicorn"
            own, _ = worker["UNICORN_WORKER"].split(",")[1:]  # the other end it closes once it has booted
            assert os.readlink(f"/proc/{pid}/fd/{own}").startswith("pipe:")
        assert holders(server.lock) >= {master, *workers}
        assert without_bundler(server.says()) == server.of(release, ruby)
    done, failed, words = load.finish()
    assert failed == 0 and done > 0, words
    server.stop()


def numbered(master):
    """The workers' environments, of those that have been executed."""
    found = {}
    for pid in living_children(master):
        try:
            environment = variables(pid)
        except OSError:
            continue
        if environment.get("DROVER_DEPTH", "").startswith(f"{pid}:"):
            found[pid] = environment
    return found


def started_with_a_socket(server, *words, **options):
    """As systemd starts a service: the socket is descriptor 3, LISTEN_PID the process itself."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", server.port))
        listener.listen(1024)
        inode = f"socket:[{os.fstat(listener.fileno()).st_ino}]"
        fd = fcntl.fcntl(listener.fileno(), fcntl.F_DUPFD_CLOEXEC, 10)
        script = f'exec 3<&{fd} {fd}<&-; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@"'
        process = server.processes.start("bash", "-c", script, "bash", *words, pass_fds=[fd], **options)
        os.close(fd)
    return process, inode


@pytest.mark.parametrize("lock", ["", 'lock = "app.lock"'])
@pytest.mark.parametrize("clean", ["reset", "strict"])
def test_socket_right_after_the_exec(server, lock, clean):
    """Scenario 21: LISTEN_PID is the command's pid, and descriptor 3 its socket; the lock is elsewhere."""
    body = SHOW.format(program=server.program, lock=f'clean = "{clean}"\n{lock}')
    server.releases.add("1", {"bin/show": body})
    process, inode = started_with_a_socket(server, server.current / "bin" / "show")
    words, said = process.communicate(timeout=READY)
    numbers, name, held = words.splitlines() or [said, "", ""]
    assert numbers == f"{process.pid} {process.pid} 1"
    assert name == inode
    assert held == "none" if not lock else int(held) > 3


def test_socket_activation(server):
    """unicorn serves on the socket that it was handed, and so does the master after it."""
    server.release("1", "3.1.2")
    with open(server.folder / "output", "w") as output:
        words = (server.current / "bin" / "unicorn", "-c", "unicorn.rb")
        server.parent, inode = started_with_a_socket(
            server, *words, stdout=output, stderr=output, start_new_session=True
        )
    server.await_service()
    master = server.master()
    assert master == server.parent.pid and variables(master)["LISTEN_PID"] == str(master)
    assert os.readlink(f"/proc/{master}/fd/3") == inode
    assert f"inherited addr=127.0.0.1:{server.port} fd=3" in server.log()
    server.release("2", "3.1.10")
    new = server.hot_reload()
    assert without_bundler(server.says()) == server.of("2", "3.1.10")
    assert inode in {os.readlink(f"/proc/{new}/fd/{fd}") for fd in os.listdir(f"/proc/{new}/fd")}
    server.parent.wait(READY)
    server.stop()


@pytest.mark.parametrize("hook", ["Drover.wrapper!", "--print-hook"])
def test_bundle_exec_with_the_hook(server, hook):
    """`bundle exec` puts unicorn's own file into START_CTX; the hook puts the wrapper there."""
    config = HOOK
    if hook == "--print-hook":
        config = "worker_processes 2\n" + server.processes.run("drover-exec", "--print-hook", "unicorn").stdout
    old = server.release("1", "3.1.2", config, bundle="exec")
    server.begin()
    assert without_bundler(server.says()) == server.of("1", "3.1.2")
    for release, ruby in (("2", "3.1.10"), ("3", "3.1.2")):
        new = server.release(release, ruby, config, bundle="exec")
        shutil.rmtree(old)
        server.hot_reload()
        assert without_bundler(server.says()) == server.of(release, ruby)
        old = new
    server.stop()


def test_bundle_exec_without_the_hook_stays_behind(server):
    """The control: the new code with the old ruby."""
    server.release("1", "3.1.2", bundle="exec")
    server.begin()
    server.release("2", "3.1.10", bundle="exec")
    server.hot_reload()
    said = server.says()
    assert said["release"] == "2" and said["ruby"] == f"{server.rbenv}/versions/3.1.2/bin"
    assert said["again"] != f"{server.current}/bin/unicorn"
    server.stop()


@pytest.mark.parametrize("wrapper", [None, "/srv/app/current/bin/unicorn"])
def test_hook_without_a_wrapper(run, wrapper):
    """Drover.wrapper! changes nothing in a unicorn that no wrapper started."""
    needs("ruby")
    script = (
        'module Unicorn; class HttpServer; START_CTX = { 0 => "/usr/bin/unicorn", argv: ["-D"] }; end; end; '
        "Drover.wrapper!; print(*Unicorn::HttpServer::START_CTX)"
    )
    env = {"DROVER_WRAPPER": wrapper} if wrapper else {}
    done = run("ruby", "-r", HOOKS / "drover.rb", "-e", script, env=env)
    assert done.stdout == f'[0, "{wrapper or "/usr/bin/unicorn"}"][:argv, ["-D"]]', done.stderr


@pytest.mark.parametrize("bundle", ["setup", "exec"])
def test_locked_bundler(server, bundle):
    """Scenario 24: the Bundler of each release's lock file, without executing anything again."""
    versions = server.processes.run("ruby", "-e", INSTALLED).stdout.split()
    assert len(versions) > 1, "one Bundler only: nothing to choose"
    for release, version in enumerate((versions[0], versions[-1], versions[0])):
        lock = locked(server, version)
        server.release(str(release), "3.1.2", HOOK, bundle, {"Gemfile.lock": lock})
        if release == 0:
            server.begin()
        else:
            server.hot_reload()
        said = server.says()
        assert (said["release"], said["bundler"]) == (str(release), version)
        assert variables(server.master())["DROVER_DEPTH"].split(":")[1] == "1"
    server.stop()


def locked(server, version):
    """A lock file by that Bundler."""
    folder = server.folder / f"locked-{version}"
    folder.mkdir(exist_ok=True)
    (folder / "Gemfile").write_text('gem "unicorn"\ngem "rack"\n')
    done = server.processes.run("bundle", "lock", "--local", cwd=folder, timeout=READY)
    assert done.returncode == 0, done.stdout + done.stderr
    text, count = re.subn(r"(BUNDLED WITH\n\s+)\S+", rf"\g<1>{version}", (folder / "Gemfile.lock").read_text())
    assert count == 1
    return text
