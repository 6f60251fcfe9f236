"""What every process test gets: the built programs, a folder of its own, and a check that no process
is left behind."""

import os
import pathlib
import shutil
import signal
import sys
import tempfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.processes import Processes, become_subreaper  # noqa: E402

BUILD = pathlib.Path(os.environ.get("DROVER_BUILD", ROOT / "build" / "release"))
CI = os.environ.get("CI") == "true"


def reachable(path):
    """For every user: a checkout may be below a folder that is root's alone."""
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


def programs():
    """The folders of the built programs, for PATH."""
    place = pathlib.Path(os.environ.get("DROVER_PROGRAMS", BUILD))
    return f"{place}/tools:{place}/examples/prefork"


def pytest_configure(config):
    if not hasattr(config, "workerinput") and BUILD.exists() and not reachable(BUILD):
        copy = tempfile.mkdtemp(prefix="drover-programs.")
        for folder in ("tools", "examples/prefork"):
            shutil.copytree(BUILD / folder, f"{copy}/{folder}", ignore=shutil.ignore_patterns("CMakeFiles", "*.a"))
        os.chmod(copy, 0o755)
        os.environ["DROVER_PROGRAMS"] = copy  # the workers of xdist get it
        config.add_cleanup(lambda: shutil.rmtree(copy))
    become_subreaper()
    # What a shell starts in the background ignores these, and its children would, too.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def folder():
    """A short path: UNIX sockets have room for 107 bytes."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="drover."))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def processes(folder):
    environment = {
        "PATH": f"{programs()}:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "LANG": "C.UTF-8",
    }
    started = Processes(folder, environment)
    yield started
    left = started.end()
    assert not left, f"the test left processes behind: {left}"


@pytest.fixture
def start(processes):
    return processes.start


@pytest.fixture
def run(processes):
    return processes.run


@pytest.fixture
def lock(folder):
    return folder / "app.pid.lock"


def needs(*programs):
    """A test that lacks one of its parts fails in CI and is skipped, by name, elsewhere."""
    missing = [name for name in programs if shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") is None]
    if not missing:
        return
    message = f"needs {', '.join(missing)} (tests/run.sh installs it)"
    if CI:
        pytest.fail(message)
    pytest.skip(message)
