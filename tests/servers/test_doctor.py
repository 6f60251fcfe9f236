"""drover-doctor on real servers: what it finds, the cures that it names, and that nothing is left."""

import json
import os
import re
import signal

import pytest

from conftest import needs
from support.processes import alive, eventually, holders
from support.servers import READY, Gunicorn, Nginx, Puma, Server, Unicorn, can_bind


class Doctor:
    """One run over a server of support/servers.py, and what it said."""

    def __init__(self, server, *command, options=(), cwd=None, env=None, prefix=()):
        self.server = server
        self.result = server.processes.run(
            *prefix, "drover-doctor", "--json", "-p", server.pidfile, *options, "--", *command,
            cwd=cwd or server.folder, env={"PWD": str(cwd or server.folder), **(env or {})}, timeout=READY,
        )  # fmt: skip
        self.report = json.loads(self.result.stdout) if self.result.stdout else None

    def __str__(self):
        checks = self.report["checks"] if self.report else []
        lines = [f"{check['verdict']} {check['check']}: {check['text']} {check['cures']} "
                 f"{check['output']}" for check in checks]
        return "\n".join((*lines, self.result.stderr, self.server.log()))

    def check(self, name):
        return next((check for check in self.report["checks"] if check["check"] == name), None)

    def findings(self):
        """The names of all findings; proves that the verdict and the status agree with them."""
        found = {check["check"] for check in self.report["checks"] if check["verdict"] == "finding"}
        assert (self.report["v"], self.report["clean"]) == (1, not found)
        assert self.result.returncode == (1 if found else 0), str(self)
        return found

    def cures(self, name):
        return self.check(name)["cures"]

    def left_nothing(self):
        """No process (the fixture looks for those), no file for the run, a port that is free."""
        assert not list(self.server.processes.folder.glob("drover-doctor.*"))
        assert not self.server.pidfile.exists()
        assert can_bind(self.server.port)


@pytest.fixture
def unicorn(processes):
    needs("unicorn")
    return Unicorn(processes)


@pytest.fixture
def gunicorn(processes):
    needs("gunicorn")
    return Gunicorn(processes)


@pytest.fixture
def nginx(processes):
    needs("nginx")
    return Nginx(processes)


@pytest.fixture
def puma(processes):
    needs("puma")
    return Puma(processes)


def number_in(text):
    return int(re.search(r"on descriptor (\d+)", text)[1])


@pytest.mark.parametrize("preload", ["true", "false"])
@pytest.mark.parametrize("daemon", [(), ("-D",)], ids=["foreground", "daemon"])
def test_unicorn_loses_low_descriptors(unicorn, preload, daemon):
    """9.16: it closes 3 to 1024 when it executes itself."""
    unicorn.edit("unicorn.rb", "preload_app true", f"preload_app {preload}")
    doctor = Doctor(unicorn, "unicorn", *daemon, "-c", unicorn.folder / "unicorn.rb")
    assert doctor.findings() == {"lock-low", "lock-below-1024"}, str(doctor)
    for name, numbers in (("lock-low", range(3, 20)), ("lock-below-1024", range(1000, 1024))):
        check = doctor.check(name)
        number = number_in(check["text"])
        assert number in numbers
        assert "is lost in the reload: the new master does not hold it" in check["text"]
        assert check["cures"] == [
            "drover-hold --fd high (its default)",
            f"before_exec {{ |_server| IO.for_fd({number}, autoclose: false).close_on_exec = false }}",
        ]
    assert number_in(doctor.check("lock-high")["text"]) >= 1025
    assert "survives start, fork and reload: master and 2 of 2 workers" in doctor.check("lock-high")["text"]
    doctor.left_nothing()


def test_the_line_for_before_exec_cures(unicorn):
    command = ("unicorn", "-c", unicorn.folder / "unicorn.rb")
    doctor = Doctor(unicorn, *command)
    lines = [doctor.cures(name)[1] for name in ("lock-low", "lock-below-1024")]
    blocks = "; ".join(re.search(r"\|_server\| (.*) }$", line)[1] for line in lines)
    with open(unicorn.folder / "unicorn.rb", "a") as file:
        file.write(f"before_exec {{ |_server| {blocks} }}\n")
    doctor = Doctor(unicorn, *command)
    assert doctor.findings() == set(), str(doctor)


def test_unicorn_that_executes_its_workers(unicorn):
    """worker_exec: workers have lost the low ones, and a master that starts them, too."""
    with open(unicorn.folder / "unicorn.rb", "a") as file:
        file.write("worker_exec true\n")
    unicorn.edit("unicorn.rb", "preload_app true", "preload_app false")
    command = ("unicorn", "-c", unicorn.folder / "unicorn.rb")
    doctor = Doctor(unicorn, *command)
    assert doctor.findings() == {"start"}, str(doctor)
    line = f'pid "{unicorn.pidfile}" unless ENV["UNICORN_WORKER"]'
    assert doctor.cures("start") == [line]
    unicorn.edit("unicorn.rb", f'pid "{unicorn.pidfile}"', line)
    doctor = Doctor(unicorn, *command)
    assert doctor.findings() == {"lock-low", "lock-below-1024"}, str(doctor)
    assert "is lost when workers start: 0 of 2 workers hold it" in doctor.check("lock-low")["text"]
    assert doctor.cures("lock-low")[0] == "drover-hold --fd high (its default)"
    doctor.left_nothing()


@pytest.mark.parametrize("way", ["hook", "drover-hold"])
def test_unicorn_with_a_lock_of_its_own(unicorn, way):
    """What is lost beside it is no finding: the doctor agrees with its own cures."""
    configuration = "unicorn-hook.rb" if way == "hook" else "unicorn.rb"
    hold = () if way == "hook" else ("drover-hold", "--pidfile", unicorn.pidfile)
    doctor = Doctor(unicorn, *hold, "unicorn", "-c", unicorn.folder / configuration)
    assert doctor.findings() == set(), str(doctor)
    assert "takes" in doctor.check("lock-own")["text"]
    assert "is lost in the reload" in doctor.check("lock-low")["text"]
    doctor.left_nothing()


@pytest.mark.parametrize("workers", [1, 2])
def test_hook_that_leaves_the_lock_to_the_garbage_collector(unicorn, workers):
    """2.4: the recipe that is everywhere; it looks right until memory is collected."""
    unicorn.edit("unicorn.rb", "worker_processes 2", f"worker_processes {workers}")
    with open(unicorn.folder / "unicorn.rb", "a") as file:
        file.write(
            "before_fork do |server, _worker|\n"
            '  lock = File.open("#{server.config[:pid]}.lock", File::RDWR | File::CREAT)\n'
            "  lock.flock(File::LOCK_SH)\n"
            "end\n"
        )
    doctor = Doctor(unicorn, "unicorn", "-c", unicorn.folder / "unicorn.rb")
    assert "lock-own" in doctor.findings(), str(doctor)
    assert "garbage collector" in doctor.check("lock-own")["text"]
    assert doctor.cures("lock-own")[0].startswith('require "/usr/share/drover/drover"; before_fork {')
    doctor.left_nothing()


def test_gunicorn_is_clean(gunicorn):
    doctor = Doctor(gunicorn, "gunicorn", "-c", gunicorn.folder / "gunicorn.conf.py")
    assert doctor.findings() == set(), str(doctor)
    assert doctor.report["server"] == "gunicorn"
    for name in ("lock-low", "lock-below-1024", "lock-high"):
        assert "survives start, fork and reload" in doctor.check(name)["text"]
    assert "SIGUSR2 brings a new generation" in doctor.check("reload")["text"]
    doctor.left_nothing()


def test_nginx_by_its_path_is_clean(nginx):
    doctor = Doctor(nginx, "/usr/sbin/nginx", "-c", nginx.folder / "nginx.conf")
    assert doctor.findings() == set(), str(doctor)
    doctor.left_nothing()


def test_nginx_by_its_bare_name(nginx):
    doctor = Doctor(nginx, "nginx", "-c", nginx.folder / "nginx.conf")
    assert doctor.findings() == {"path"}, str(doctor)
    assert doctor.cures("path")[0] == "/usr/sbin/nginx"
    doctor.left_nothing()


def test_nginx_that_is_no_daemon(nginx):
    nginx.edit("nginx.conf", "daemon on", "daemon off")
    doctor = Doctor(nginx, "/usr/sbin/nginx", "-c", nginx.folder / "nginx.conf")
    assert doctor.findings() == {"reload"}, str(doctor)
    assert "ignores SIGUSR2 unless it is a daemon" in doctor.check("reload")["text"]
    assert "'daemon off'" in doctor.cures("reload")[0]
    doctor.left_nothing()


def test_puma_loses_all(puma):
    """USR2 executes it with close_others."""
    doctor = Doctor(puma, "puma", "-C", puma.folder / "puma.rb")
    assert doctor.findings() == {"lock-low", "lock-below-1024", "lock-high"}, str(doctor)
    for name in doctor.findings():
        assert "is lost in the reload: the new master" in doctor.check(name)["text"]
        assert doctor.cures(name)[0].startswith("drover-hold --guard")
        assert f'Drover.hold("{puma.pidfile}.lock")' in doctor.cures(name)[1]
    doctor.left_nothing()


def test_puma_under_a_guard(puma):
    """The cure, tried."""
    hold = ("drover-hold", "--guard", "--pidfile", puma.pidfile)
    doctor = Doctor(puma, *hold, "puma", "-C", puma.folder / "puma.rb")
    assert doctor.findings() == set(), str(doctor)
    doctor.left_nothing()


def releases(folder, text):
    """current -> releases/1, with the configuration in it."""
    release = folder / "releases" / "1"
    release.mkdir(parents=True)
    (release / "config.ru").write_text('run ->(_) { [200, {}, ["ok\\n"]] }\n')
    (release / "unicorn.rb").write_text(text)
    current = folder / "current"
    current.symlink_to(release)
    return current


UNICORN = 'listen "127.0.0.1:{port}"\npid "{pidfile}"\nworker_processes 1\n{more}'


def unicorn_in_release(unicorn, folder, more=""):
    text = UNICORN.format(port=unicorn.port, pidfile=unicorn.pidfile, more=more)
    return releases(folder, text)


def test_release_by_the_shells_folder(unicorn, folder):
    """PWD leads unicorn to the next release; the link itself is left alone."""
    current = unicorn_in_release(unicorn, folder)
    doctor = Doctor(unicorn, "unicorn", "-c", "unicorn.rb", cwd=current)
    assert doctor.check("release")["verdict"] == "ok", str(doctor)
    assert f"follows a deployment by '{current}'" in doctor.check("release")["text"]
    assert os.readlink(current) == str(folder / "releases" / "1")
    doctor.left_nothing()


@pytest.mark.parametrize("cured", [False, True], ids=["no PWD", "working_directory"])
def test_release_without_pwd(unicorn, folder, cured):
    """As a supervisor starts it: unicorn remembers the folder that the link led to."""
    more = f'working_directory "{folder}/current"\n' if cured else ""
    current = unicorn_in_release(unicorn, folder, more)
    doctor = Doctor(unicorn, "unicorn", "-c", "unicorn.rb", cwd=current, prefix=("env", "-u", "PWD"))
    release = doctor.check("release")
    assert (release["verdict"] == "ok") == cured, str(doctor)
    assert cured or release["cures"][0] == f'working_directory "{current}"'
    doctor.left_nothing()


def test_pidfile_in_the_release(unicorn, folder):
    """The next release has another: nobody would find the new master."""
    unicorn.pidfile = folder / "releases" / "1" / "unicorn.pid"
    current = releases(folder, UNICORN.format(port=unicorn.port, pidfile="unicorn.pid", more=""))
    doctor = Doctor(unicorn, "unicorn", "-c", "unicorn.rb", cwd=current, options=("--ready-timeout", "5s"))
    assert "reload" in doctor.findings(), str(doctor)
    assert "writes its pidfile into the new release" in doctor.check("reload")["text"]
    doctor.left_nothing()


def test_folder_behind_another_link(unicorn, folder):
    """A link that no deployment changes, such as /var/run, is left out."""
    (folder / "link").symlink_to(unicorn.folder)
    doctor = Doctor(unicorn, "unicorn", "-c", unicorn.folder / "unicorn.rb", cwd=folder / "link")
    assert doctor.check("release")["verdict"] == "skipped", str(doctor)


def test_bundle_of_the_old_release(unicorn, folder):
    """Bundler finds the Gemfile from the folder behind the link, and each new master inherits it."""
    needs("bundle")
    current = unicorn_in_release(unicorn, folder)
    (current / "Gemfile").write_text('gem "unicorn"\ngem "rack"\n')
    command = ("bundle", "exec", "unicorn", "-c", "unicorn.rb")
    doctor = Doctor(unicorn, *command, cwd=current)
    assert {"gemfile", "environment"} <= doctor.findings(), str(doctor)
    line = f'before_exec {{ |_server| ENV["BUNDLE_GEMFILE"] = "{current}/Gemfile" }}'
    assert doctor.cures("gemfile")[0] == line
    assert "RUBYOPT" in doctor.check("environment")["text"]
    with open(current / "unicorn.rb", "a") as file:
        file.write(line + "\n")
    doctor = Doctor(unicorn, *command, cwd=current)
    assert doctor.check("gemfile")["verdict"] == "ok", str(doctor)
    doctor.left_nothing()


def test_server_that_does_not_write_the_pidfile(unicorn):
    unicorn.edit("unicorn.rb", f'pid "{unicorn.pidfile}"\n', "")
    doctor = Doctor(unicorn, "unicorn", "-c", unicorn.folder / "unicorn.rb")
    assert doctor.findings() == {"pidfile"}, str(doctor)
    assert doctor.cures("pidfile") == [f'pid "{unicorn.pidfile}"   # in its configuration']
    doctor.left_nothing()


def test_server_that_does_not_start(unicorn):
    (unicorn.folder / "config.ru").write_text("raise 'broken'\n")
    unicorn.edit("unicorn.rb", f'stderr_path "{unicorn.folder}/unicorn.log"\n', "")
    doctor = Doctor(unicorn, "unicorn", "-c", unicorn.folder / "unicorn.rb")
    assert doctor.findings() == {"start"}, str(doctor)
    assert "broken" in "\n".join(doctor.check("start")["output"])
    doctor.left_nothing()


def test_server_that_cannot_start_twice(unicorn):
    """The successor never comes up: what it wrote is shown."""
    (unicorn.folder / "config.ru").write_text(
        "raise 'only once' if File.exist?('once')\nFile.write('once', '')\n"
        "run ->(_) { [200, {}, ['ok']] }\n"
    )
    doctor = Doctor(unicorn, "unicorn", "-c", unicorn.folder / "unicorn.rb")
    assert doctor.findings() == {"reload"}, str(doctor)
    assert "only once" in "\n".join(doctor.check("reload")["output"])
    doctor.left_nothing()


def test_hard_limit_without_room(unicorn):
    doctor = Doctor(unicorn, "unicorn", "-c", unicorn.folder / "unicorn.rb", prefix=("prlimit", "--nofile=256:256"))
    assert doctor.findings() == {"limit", "lock-low", "lock-below-1024"}, str(doctor)
    assert number_in(doctor.check("lock-below-1024")["text"]) == 255
    assert doctor.check("lock-high") is None
    assert "Drover.hold" in doctor.cures("lock-low")[-1]


def test_child_that_outlives_the_stop(unicorn):
    """A daemon of the application keeps the lock: it is named, and ended."""
    with open(unicorn.folder / "config.ru", "a") as file:
        file.write("spawn('sleep 1000', pgroup: true)\n")
    doctor = Doctor(unicorn, "unicorn", "-c", unicorn.folder / "unicorn.rb")
    assert "stop" in doctor.findings(), str(doctor)
    assert "(sleep)" in doctor.check("stop")["text"]
    doctor.left_nothing()


def test_running_service_is_left_alone(unicorn):
    unicorn.launch()
    before = unicorn.everybody()
    doctor = Doctor(unicorn, "unicorn", "-c", unicorn.folder / "unicorn.rb")
    assert doctor.result.returncode == 75
    assert f"the service runs: '{unicorn.lock}' is held" in doctor.result.stderr
    assert set(unicorn.everybody()) == set(before) and unicorn.get() == 200
    assert holders(unicorn.lock) == set(before)
    unicorn.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interrupted(unicorn, number):
    """At any moment: nothing is left."""
    (unicorn.folder / "config.ru").write_text("sleep 1000\n")
    process = unicorn.processes.start(
        "drover-doctor", "-p", unicorn.pidfile, "unicorn", "-c", unicorn.folder / "unicorn.rb",
        cwd=unicorn.folder,
    )  # fmt: skip
    master = eventually(unicorn.master, "the master", READY)
    process.send_signal(number)
    assert process.wait(READY) == 128 + number
    assert not alive(master)
    assert not list(unicorn.processes.folder.glob("drover-doctor.*"))


def test_text(gunicorn, unicorn_lines=("ok: ", "skipped: ", "finding: ", "  cure: ")):
    """One line a check; -q leaves findings only."""
    command = ("-p", gunicorn.pidfile, "gunicorn", "-c", gunicorn.folder / "gunicorn.conf.py")
    done = gunicorn.processes.run("drover-doctor", *command, cwd=gunicorn.folder, timeout=READY)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(line.startswith(unicorn_lines) for line in done.stdout.splitlines())
    assert "ok: gunicorn serves: master " in done.stdout
    done = gunicorn.processes.run("drover-doctor", "-q", *command, cwd=gunicorn.folder, timeout=READY)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


UWSGI_APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello\\n"]
"""


class Uwsgi(Server):
    name = "uwsgi"

    def __init__(self, processes):
        super().__init__(processes, files=None)
        (self.folder / "app.py").write_text(UWSGI_APP)

    def command(self, *options):
        return (
            "uwsgi_python3", "--master", "--processes", "2", "--need-app", "--wsgi-file", self.folder / "app.py",
            "--http-socket", f"127.0.0.1:{self.port}", "--pidfile", self.pidfile,
            "--worker-reload-mercy", "2", "--reload-mercy", "2", *options,
        )  # fmt: skip


def test_uwsgi_loses_all(processes):
    """HUP closes every descriptor that is no socket; --safe-fd cures the one that it names."""
    needs("uwsgi_python3")
    uwsgi = Uwsgi(processes)
    options = ("--dialect", "uwsgi")
    doctor = Doctor(uwsgi, *uwsgi.command(), options=options)
    assert doctor.findings() == {"lock-low", "lock-below-1024", "lock-high"}, str(doctor)
    number = number_in(doctor.check("lock-high")["text"])
    assert f"drover-hold --fd {number} uwsgi --safe-fd {number}" in doctor.cures("lock-high")
    doctor.left_nothing()
    doctor = Doctor(uwsgi, *uwsgi.command("--safe-fd", number), options=options)
    assert doctor.findings() == {"lock-low", "lock-below-1024"}, str(doctor)
