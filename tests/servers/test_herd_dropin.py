"""drover-herd in the place of unicornherder: what its documentation says, word for word."""

import os
import re
import shlex
import signal

import pytest

from conftest import BUILD, ROOT, needs
from support.herds import UnicornHerder
from support.processes import alive
from support.servers import READY, Gunicorn, Load, Unicorn

APP = """\
def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "4")])
    return [b"old\\n"]
"""


@pytest.fixture
def path(folder, processes):
    """The link that the component "unicornherder" installs, first in PATH."""
    place = folder / "bin"
    place.mkdir()
    (place / "unicornherder").symlink_to(BUILD / "tools" / "drover-herd")
    processes.environment["PATH"] = f"{place}:{processes.environment['PATH']}"


@pytest.fixture
def gunicorn(processes, path):
    """In an empty folder but for the app. The documentation's commands name no port."""
    needs("gunicorn", "wrk")
    server = Gunicorn(processes, files=None)
    (server.folder / "myapp.py").write_text(APP)
    processes.environment["GUNICORN_CMD_ARGS"] = f"--bind=127.0.0.1:{server.port}"
    processes.environment["PYTHONDONTWRITEBYTECODE"] = "1"
    return server


@pytest.fixture
def unicorn(processes, path):
    """unicorn takes its port from the first line of config.ru."""
    needs("unicorn", "bundle", "wrk")
    server = Unicorn(processes, files=None)
    app = 'run ->(_) { [200, {}, ["old\\n"]] }\n'
    (server.folder / "config.ru").write_text(f"#\\ --listen 127.0.0.1:{server.port}\n{app}")
    (server.folder / "Gemfile").write_text("gem 'unicorn'\ngem 'rack'\n")
    return server


def shell(server, line, **options):
    """A line of the documentation, typed in the app's folder."""
    return UnicornHerder(server, "sh", "-c", f"exec {line}", **options)


def words_of(pid):
    with open(f"/proc/{pid}/cmdline") as file:
        return file.read().split("\0")[:-1]


@pytest.mark.parametrize("address", ["", '-b "127.0.0.1:$PORT" '], ids=["plainly", "with an address"])
def test_gunicorn(gunicorn, address):
    """H1, H5: gunicorn is what it runs, as a daemon with gunicorn.pid."""
    line = f"unicornherder -- -w 4 {address}myapp:app"
    herder = shell(gunicorn, line, env={"PORT": str(gunicorn.port)})
    assert gunicorn.get() == 200
    words = words_of(gunicorn.master())
    assert words[words.index("-D"):][:5] == ["-D", "-p", str(gunicorn.pidfile), "-w", "4"]
    assert len(gunicorn.everybody()) == 5
    assert herder.stop() == 0


def test_unicorn_by_bundler(unicorn):
    """H2, H6: with the options of bundle's ruby in its environment."""
    herder = shell(unicorn, "bundle exec unicornherder -u unicorn")
    assert unicorn.get() == 200
    assert herder.stop(signal.SIGQUIT) == 0


@pytest.mark.parametrize("before", ["", "bundle exec "], ids=["plainly", "by bundler"])
def test_unicorn_with_a_port(unicorn, before):
    (unicorn.folder / "config.ru").write_text('run ->(_) { [200, {}, ["old\\n"]] }\n')
    herder = shell(unicorn, f"{before}unicornherder -u unicorn -- --port $PORT", env={"PORT": str(unicorn.port)})
    assert unicorn.get() == 200
    assert herder.stop(signal.SIGINT) == 0


def test_reload_under_load(gunicorn):
    """H28: HUP, as its documentation says; both generations for the time of the overlap."""
    herder = shell(gunicorn, "unicornherder -o 1 -- -w 2 myapp:app")
    load = Load(gunicorn)
    before = gunicorn.everybody()
    (gunicorn.folder / "myapp.py").write_text(APP.replace("old", "new"))
    verdict, line = herder.reload()
    assert verdict == "done", line
    assert re.search(r"overlap 1\.\d+ s", line)
    assert gunicorn.ask() == (200, "new\n")
    assert not any(map(alive, before))
    _, failed, words = load.finish()
    assert failed == 0, f"{words}\n{herder.said()}"
    assert herder.stop() == 0


def test_quoted_arguments_stay_whole(gunicorn):
    """F5: unicornherder itself splits them at their spaces."""
    words = ["--name", "my  app's \"$HOME\"", "--forwarded-allow-ips", "", "myapp:app"]
    herder = shell(gunicorn, f"unicornherder -- {shlex.join(words)}")
    assert words_of(gunicorn.master())[-5:] == words
    assert herder.stop() == 0


@pytest.mark.parametrize("option", ["-g", "--gunicorn-bin"])
def test_program_by_its_path(gunicorn, option):
    """The pidfile has the program's name, unless it is given."""
    herder = shell(gunicorn, f"unicornherder {option} /usr/bin/gunicorn -p gunicorn.pid -t 45 -- myapp:app")
    assert gunicorn.get() == 200
    assert herder.stop() == 0


@pytest.mark.parametrize("option", ["-v", "--version"])
def test_v_is_the_version(run, path, option):
    project = re.search(r"project\(drover VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())
    done = run("unicornherder", option)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"unicornherder (drover) {project[1]}\n", "")


def test_v_behind_the_dashes_is_the_servers(gunicorn):
    done = gunicorn.processes.run("unicornherder", "-o", "1", "--", "-v", cwd=gunicorn.folder)
    assert "gunicorn (version" in done.stdout + done.stderr
    assert done.returncode != 0


@pytest.mark.parametrize("level, notices", [("WARNING", False), ("error", False), ("INFO", True), ("DEBUG", True)])
def test_log_level(gunicorn, level, notices):
    herder = shell(gunicorn, "unicornherder -- myapp:app", ready=False, env={"UNICORNHERDER_LOGLEVEL": level})
    gunicorn.workers = 1
    gunicorn.await_service()
    assert herder.stop() == 0
    assert ("passed SIGTERM" in herder.said()) == notices


def test_unknown_type(run, path):
    """H4."""
    done = run("unicornherder", "-u", "unicornbad")
    assert done.returncode == 64
    assert "unicornbad" in done.stderr


def test_what_does_not_start_is_a_failure(gunicorn):
    """F1, F3: unicornherder ended with 0 when there was no program."""
    done = gunicorn.processes.run("unicornherder", "-g", "./no-such-gunicorn", "--", "myapp:app", cwd=gunicorn.folder)
    assert done.returncode == 127
    done = gunicorn.processes.run("unicornherder", "--", "no_such_app:app", cwd=gunicorn.folder, timeout=READY)
    assert done.returncode != 0
    assert not gunicorn.pidfile.exists()


def test_link_is_installed_on_request(run, folder):
    needs("cmake")
    for component in ((), ("--component", "unicornherder")):
        done = run("cmake", "--install", BUILD, "--prefix", "/usr", *component, env={"DESTDIR": str(folder)})
        assert done.returncode == 0, done.stderr
        link = folder / "usr/bin/unicornherder"
        assert link.is_symlink() == bool(component)
    assert os.readlink(link) == "drover-herd"
    assert run(link, "-v").stdout.startswith("unicornherder ")
