"""Each wrapper of examples/wrappers with a real server on its layout: a start, a deployment that changes the
interpreter, a hot reload. The lines for the servers' configurations are those of its README.md."""

import json
import os
import pathlib
import re
import shutil
import signal

import pytest

from conftest import ROOT, needs
from support.environments import PYTHON, Releases, install
from support.processes import descendants, eventually, holders
from support.servers import READY, Gunicorn, Puma, Unicorn

WRAPPERS = ROOT / "examples" / "wrappers"
RACK = """
require "json"
said = {
  release: File.basename(File.realpath(".")),
  interpreter: ENV["PATH"].split(":").find { |part| File.exist?("#{part}/ruby") }, gems: ENV["GEM_HOME"],
  production: ENV["RAILS_ENV"], gemfile: ENV["BUNDLE_GEMFILE"],
}
run lambda { |env| [200, { "Content-Type" => "application/json" }, [said.to_json]] }
"""
WSGI = """
import json, os, sys

SAID = {"release": os.path.basename(os.path.realpath(".")), "interpreter": f"{sys.prefix}/bin",
        "production": os.environ["DJANGO_SETTINGS_MODULE"]}


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(SAID).encode()]
"""
# The files of the gems that unicorn needs, for a gemset.
PARTS = """
for gem in %w[unicorn rack kgio raindrops].map { |name| Gem::Specification.find_by_name(name) }
  [gem.loaded_from, gem.full_gem_path, gem.extension_dir].each do |path|
    puts "#{gem.base_dir} #{path.delete_prefix(gem.base_dir + "/")}" if File.exist?(path)
  end
end
"""


def lines(first):
    """The README's lines of configuration that begin like this."""
    text = (WRAPPERS / "README.md").read_text()
    (found,) = [block for block in re.findall(r"^```\w+\n(.*?)^```", text, re.M | re.S) if block.startswith(first)]
    return found


def in_readme(language, word):
    """The block of the project's README.md in this language that has the word."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    (found,) = [block for block in blocks if word in block]
    return found


class Example:
    """A server by one of the wrappers; the layouts of the managers are in its own folder."""

    def __init__(self, processes, example):
        super().__init__(processes, files=None)
        self.example = example
        self.releases = Releases(self.folder)
        self.current = self.releases.current
        self.wrapper = self.current / "bin" / self.name
        self.opt = processes.folder / "opt"

    def localize(self, text):
        program = shutil.which("drover-exec", path=self.processes.environment["PATH"])
        return super().localize(text).replace("/usr/bin/drover-exec", program).replace("/opt/", f"{self.opt}/")

    def release(self, name, version):
        files = {path: self.localize(text) for path, text in self.files(version).items()}
        files[f"bin/{self.name}"] = self.localize(self.wrapper_for(version))
        return self.releases.add(name, files)

    def wrapper_for(self, version):
        return (WRAPPERS / self.example).read_text()

    def begin(self):
        self.launch(self.wrapper, *self.arguments)

    def reload(self):
        self.hot_reload()

    def end(self):
        self.stop()

    def says(self):
        status, body = self.ask()
        return json.loads(body) if status == 200 else {}

    def would_start(self):
        """--check and --explain, of the release that is current."""
        checked = self.processes.run("drover-exec", "--check", self.wrapper, *self.arguments, timeout=READY)
        assert (checked.returncode, checked.stderr) == (0, "")
        explained = self.processes.run("drover-exec", "--explain", self.wrapper, *self.arguments)
        assert explained.stdout.splitlines()[-1].startswith("exec "), explained.stderr


    def difference(self):
        """--diff with the server that runs."""
        done = self.processes.run("drover-exec", "--diff", str(self.master()), self.wrapper, *self.arguments)
        assert done.stderr == ""
        return done.returncode, done.stdout


class UnicornExample(Example, Unicorn):
    arguments = ("-D", "-c", "unicorn.rb")
    gems = ("unicorn", "rack")

    def files(self, version):
        config = "listen '127.0.0.1:8080'\nworker_processes 2\npreload_app true\n"
        log = 'stdout_path "/run/app/unicorn.log"\nstderr_path "/run/app/unicorn.log"\n'
        return {
            ".ruby-version": f"{version}\n",
            "Gemfile": "".join(f'gem "{gem}"\n' for gem in self.gems),
            "config.ru": RACK,
            "unicorn.rb": lines("working_directory") + config + log,
        }


class WithRbenv(UnicornExample):
    def install(self, version):
        install(self.processes.folder / ".rbenv" / "versions" / version, "bundle", "unicorn")

    def expected(self, version):
        return {"interpreter": f"{self.processes.folder}/.rbenv/versions/{version}/bin"}


class WithRvm(UnicornExample):
    """Both rubies have a gemset of the application's."""

    @property
    def rvm(self):
        return self.processes.folder / ".rvm"

    def install(self, version):
        install(self.rvm / "rubies" / f"ruby-{version}", "bundle", "unicorn")
        for gemset in ("@app", "@global"):
            (self.rvm / "gems" / f"ruby-{version}{gemset}" / "bin").mkdir(parents=True)
        home = self.rvm / "gems" / f"ruby-{version}@app"
        for line in self.processes.run("ruby", "-e", PARTS, timeout=READY).stdout.splitlines():
            base, part = line.split()
            (home / part).parent.mkdir(parents=True, exist_ok=True)
            (home / part).symlink_to(pathlib.Path(base) / part)

    def files(self, version):
        files = super().files(version)
        files["unicorn.rb"] += lines('require "/usr/share/drover/drover"')
        return {**files, ".ruby-gemset": "app\n"}

    def expected(self, version):
        return {"interpreter": f"{self.rvm}/rubies/ruby-{version}/bin",
                "gems": f"{self.rvm}/gems/ruby-{version}@app"}  # fmt: skip


class OfReadme(WithRvm):
    """The wrapper beside the classic script in the project's README.md: its version is in the wrapper."""

    def files(self, version):
        files = super().files(version)
        return {**files, "unicorn.rb": files["unicorn.rb"].replace("Drover.wrapper!", ""), ".ruby-version": "9.9.9"}

    def wrapper_for(self, version):
        text = in_readme("toml", "ruby")
        assert text.count("3.1.2@app") == 1
        return text.replace("3.1.2@app", f"{version}@app").replace("[env]", 'lock = "/run/app/unicorn.pid.lock"\n[env]')


class WithRubies(UnicornExample):
    """The version is in the wrapper, which comes with the release."""

    def install(self, version):
        install(self.opt / "rubies" / f"ruby-{version}", "unicorn")

    def files(self, version):
        files = super().files(version)
        del files[".ruby-version"]
        return files

    def wrapper_for(self, version):
        text = super().wrapper_for(version)
        assert text.count("ruby-3.1.2") == 1
        return text.replace("ruby-3.1.2", f"ruby-{version}")

    def expected(self, version):
        return {"interpreter": f"{self.opt}/rubies/ruby-{version}/bin"}


class PumaExample(WithRbenv, Puma):
    name = "puma"
    gems = ("puma", "rack")
    arguments = ("-C", "puma.rb")
    retire_signals = ()

    def files(self, version):
        files = super().files(version)
        del files["unicorn.rb"]
        log = 'stdout_redirect "/run/app/puma.log", "/run/app/puma.log", true\n'
        return {**files, "puma.rb": lines("directory") + 'bind "tcp://127.0.0.1:8080"\nworkers 2\n' + log}

    def has_workers(self, master):
        return True

    def begin(self):
        self.launch_in_foreground(self.wrapper, *self.arguments)

    def reload(self):
        master = self.master()
        assert master == self.parent.pid
        before = self.says()["release"]
        os.kill(master, signal.SIGUSR2)
        eventually(lambda: self.says().get("release", before) != before, self.with_log("the restart"), READY)
        assert self.master() == master

    def end(self):
        os.kill(self.master(), signal.SIGTERM)
        self.parent.wait(READY)


class GunicornExample(Example, Gunicorn):
    """Debian's gunicorn as pip would have installed it: its first line names the release's python."""

    arguments = ("-c", "gunicorn.conf.py")

    def install(self, version):
        pass

    def release(self, name, version):
        venv = self.folder / "releases" / name / ".venv"
        made = self.processes.run(PYTHON, "-m", "venv", "--without-pip", "--system-site-packages", venv, timeout=READY)
        assert made.returncode == 0, made.stderr
        script = pathlib.Path(shutil.which("gunicorn")).read_text().split("\n", 1)[1]
        (venv / "bin" / "gunicorn").write_text(f"#!{venv}/bin/python\n{script}")
        (venv / "bin" / "gunicorn").chmod(0o755)
        return super().release(name, version)

    def files(self, version):
        config = 'wsgi_app = "app:app"\nbind = "127.0.0.1:8080"\ndaemon = True\nworkers = 2\n'
        log = 'errorlog = "/run/app/gunicorn.log"\n'
        return {"app.py": WSGI, "gunicorn.conf.py": lines("import sys") + config + log}

    def expected(self, version):
        return {"interpreter": f"{self.current.resolve()}/.venv/bin"}


class GunicornOfReadme(GunicornExample):
    """The lines of the project's README.md; the lock and the rest are for the test."""

    def files(self, version):
        files = super().files(version)
        more = files["gunicorn.conf.py"].partition("pre_exec = drover.wrapper\n")[2]
        return {**files, "gunicorn.conf.py": in_readme("python", "gunicorn.conf.py") + more}

    def wrapper_for(self, version):
        more = 'lock = "/run/app/gunicorn.pid.lock"\n[env]\nDJANGO_SETTINGS_MODULE = "app.settings"\n'
        return in_readme("toml", "python = ") + more


EXAMPLES = {
    "README": OfReadme,
    "README, gunicorn": GunicornOfReadme,
    "unicorn-rbenv": WithRbenv,
    "unicorn-rvm": WithRvm,
    "unicorn-rubies": WithRubies,
    "gunicorn-venv": GunicornExample,
    "puma": PumaExample,
}


def test_each_example_is_tried():
    ours = {name for name in EXAMPLES if not name.startswith("README")}
    assert {path.name for path in WRAPPERS.iterdir()} == ours | {"README.md"}


@pytest.mark.parametrize("example", EXAMPLES)
def test_start_deploy_reload(processes, example):
    needs("unicorn", "gunicorn", "puma", "bundle")
    server = EXAMPLES[example](processes, example)
    for version in ("3.1.2", "3.1.10"):
        server.install(version)
    old = server.release("1", "3.1.2")
    server.would_start()
    server.begin()
    check(server, "1", "3.1.2")
    for name, version in (("2", "3.1.10"), ("3", "3.1.2")):
        new = server.release(name, version)
        shutil.rmtree(old)
        server.would_start()
        assert server.difference()[0] == 1
        server.reload()
        check(server, name, version)
        old = new
    server.end()
    eventually(lambda: holders(server.lock) == set(), "its last process to end")


def test_no_difference_after_a_reload(processes):
    """--diff, as the README has it: before a reload the new ruby, after it nothing."""
    needs("unicorn", "bundle")
    server = WithRbenv(processes, "unicorn-rbenv")
    for version in ("3.1.2", "3.1.10"):
        server.install(version)
    server.release("1", "3.1.2")
    server.begin()
    server.release("2", "3.1.10")
    before = server.difference()
    server.reload()
    after = server.difference()
    server.end()
    assert before[0] == 1 and re.search(r"^~ PATH: .*/3\.1\.2/bin.* -> .*/3\.1\.10/bin", before[1], re.MULTILINE)
    assert re.search(r"^~ folder: .*/1 -> .*/2$", before[1], re.MULTILINE)
    assert after == (0, "")


def check(server, release, version):
    said = server.says()
    assert said["release"] == release
    wanted = server.expected(version)
    assert {name: said[name] for name in wanted} == wanted
    assert said["production"] in ("production", "app.settings")
    assert said.get("gemfile", f"{server.current}/Gemfile") == f"{server.current}/Gemfile"
    master = server.master()
    eventually(lambda: holders(server.lock) >= {master, *descendants(master)}, "all of it to hold the lock")
