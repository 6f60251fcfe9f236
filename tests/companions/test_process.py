"""What a companion's process is given: descriptors, environment, folder, user, limits, a session."""

import os
import pathlib
import pwd
import resource
import signal

import pytest

from companions.conftest import SLEEP
from support.processes import CLOCK_NANOSLEEP, blocked_in_call, eventually, parent

FOREIGN = (
    "DROVER_LOCK",
    "DROVER_LOCK_FD",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
)


class Look:
    """A companion that runs `sleep`, from outside."""

    def __init__(self, pid):
        self.pid = pid
        self.place = pathlib.Path(f"/proc/{pid}")
        eventually(self.sleeps, "the command to sleep")

    def sleeps(self):
        return self.read("cmdline").startswith("sleep\0") and blocked_in_call(self.pid, CLOCK_NANOSLEEP)

    def read(self, name):
        return (self.place / name).read_text()

    def descriptors(self):
        return {int(fd): os.readlink(self.place / "fd" / fd) for fd in os.listdir(self.place / "fd")}

    def environment(self):
        return dict(entry.split("=", 1) for entry in self.read("environ").split("\0")[:-1])

    def field(self, name):
        """Of /proc/PID/status."""
        lines = dict(line.split(":", 1) for line in self.read("status").splitlines())
        return lines[name].split()

    def limit(self, number):
        return resource.prlimit(self.pid, number)


@pytest.fixture
def look(manager):
    """look(KEYS, NAME="a", **popen): at [companion.a], which sleeps and has these keys."""

    def make(keys="", name="a", **popen):
        one = manager(f"[companion.a]\n{SLEEP}\nstartsecs = 0\n{keys}\n", **popen)
        seen = Look(one.until(name, "RUNNING")["pid"])
        seen.manager = one
        return seen

    return make


@pytest.mark.parametrize(
    "keys, lock",
    [("", True), ("hold = 'both'", True), ("hold = 'main'", False), ("singleton = false", False)],
)
def test_descriptors(look, folder, keys, lock):
    """It sees 0, 1, 2 and the lock, whatever the manager has open, and was given."""
    given = os.open(folder, os.O_RDONLY)
    seen = look(keys, pass_fds=[given])
    assert os.path.samefile(f"/proc/{seen.manager.pid}/fd/{given}", folder)
    found = seen.descriptors()
    said = str(seen.manager.errors)
    assert [found.pop(fd) for fd in (0, 1, 2)] == ["/dev/null", said, said]
    assert list(found.values()) == ([str(folder / "run" / "a.lock")] if lock else [])
    os.close(given)


def test_descriptors_beside_the_ready_one(manager, folder):
    """A companion that never says that it is ready has its descriptor, and nothing more."""
    one = manager(f"[companion.a]\n{SLEEP}\nready = 'fd:7'\n")
    found = Look(one.until("a", "STARTING")["pid"]).descriptors()
    assert found.pop(7).startswith("pipe:")
    assert set(found.values()) == {"/dev/null", str(one.errors), str(folder / "run" / "a.lock")}
    assert len(found) == 4


def test_environment(look, folder):
    """It is merged: the manager's, without what was meant for others, and then the companion's."""
    foreign = {name: "1" for name in FOREIGN}
    del foreign["LISTEN_FDNAMES"], foreign["WATCHDOG_PID"]
    seen = look(
        "singleton = false\nenv = { KEPT = 'changed', EMPTY = '', NEW = 'a=b c', LISTEN_FDNAMES = 'mine' }",
        env={"KEPT": "before", "OTHER": "as it was", **foreign},
    )
    found = seen.environment()
    assert {"KEPT": "changed", "EMPTY": "", "NEW": "a=b c", "OTHER": "as it was"}.items() <= found.items()
    assert found["LISTEN_FDNAMES"] == "mine"
    assert found["HOME"] == str(folder)
    assert found["DROVER_COMPANION"] == "a" and "DROVER_COMPANION_NUMBER" not in found
    assert not set(foreign) & set(found)


@pytest.mark.parametrize(
    "keys, is_named, is_given", [("", True, True), ("hold = 'main'", True, False), ("singleton = false", False, False)]
)
def test_environment_tells_of_its_own_lock(look, folder, keys, is_named, is_given):
    """Never of the one that the manager runs under."""
    seen = look(keys, env={"DROVER_LOCK": "/other.lock", "DROVER_LOCK_FD": "99"})
    found = seen.environment()
    lock = str(folder / "run" / "a.lock")
    assert found.get("DROVER_LOCK") == (lock if is_named else None)
    assert ("DROVER_LOCK_FD" in found) == is_given
    if is_given:
        assert seen.descriptors()[int(found["DROVER_LOCK_FD"])] == lock


def test_its_own_path_finds_it(manager, folder):
    """The command is looked for in the PATH that it gets."""
    (folder / "bin").mkdir()
    (folder / "bin" / "mine").symlink_to("/usr/bin/sleep")
    one = manager(f"[companion.a]\ncommand = ['mine', '1000']\nenv = {{ PATH = '{folder}/bin' }}\nstartsecs = 0\n")
    pid = one.until("a", "RUNNING")["pid"]
    eventually(lambda: open(f"/proc/{pid}/cmdline").read() == "mine\0001000\0", "the command")


def test_no_signal_is_blocked_or_ignored(look):
    """Whatever the manager has inherited."""

    def be_deaf():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGTERM})

    seen = look(preexec_fn=be_deaf)
    for name in ("SigBlk", "SigIgn", "SigPnd", "ShdPnd"):
        assert int(seen.field(name)[0], 16) == 0, name


def test_session_and_group_of_its_own(look):
    seen = look("numprocs = 2", name="a:0")
    other = seen.manager.until("a:1", "RUNNING")["pid"]
    for pid in (seen.pid, other):
        assert os.getsid(pid) == os.getpgid(pid) == pid
        assert parent(pid) == seen.manager.pid
        assert Look(pid).read("stat").rsplit(")", 1)[1].split()[4] == "0", "a terminal"


@pytest.mark.parametrize("given, place", [("", "."), ("cwd = 'deep/er'", "deep/er"), ("cwd = '/usr'", "/usr")])
def test_folder(look, folder, given, place):
    """A relative one is below the configuration's folder."""
    (folder / "deep" / "er").mkdir(parents=True)
    assert os.readlink(look(given).place / "cwd") == os.path.normpath(folder / place)


@pytest.mark.parametrize(
    "keys, what",
    [
        ("cwd = 'nowhere'", "enter '{folder}/nowhere': No such file or directory"),
        ("cwd = 'companions.toml'", "enter '{folder}/companions.toml': Not a directory"),
    ],
)
def test_folder_that_is_none(manager, folder, keys, what):
    one = manager(f"[companion.a]\n{SLEEP}\n{keys}\nrestart_delay = '1000s'\n")
    entry = one.until("a", "BACKOFF")
    assert entry["reason"] == "cannot " + what.format(folder=folder)
    assert entry["last_exit_code"] == 126


@pytest.mark.parametrize(
    "keys, uid, gid",
    [
        ("user = 'nobody'", 65534, 65534),
        ("user = 'nobody'\ngroup = 'daemon'", 65534, 1),
        ("group = 'daemon'\nuser = 'nobody'", 65534, 1),
        ("group = 'daemon'", 0, 1),
    ],
)
def test_user_and_group(look, keys, uid, gid):
    """For good, and with no other group than that one; it still dies with its manager."""
    seen = look(keys)
    assert seen.field("Uid") == [str(uid)] * 4
    assert seen.field("Gid") == [str(gid)] * 4
    assert seen.field("Groups") == [str(gid)]
    seen.manager.send(signal.SIGKILL)
    seen.manager.result()
    eventually(lambda: not seen.place.exists() or "zombie" in seen.read("status"), "its end")


def test_user_who_runs_it_already(manager, folder):
    """Whoever is that user needs no right to become it."""
    folder.chmod(0o755)
    (folder / "run").mkdir()
    os.chown(folder / "run", 65534, 65534)
    (folder / "companions.toml").touch()
    os.chown(folder / "companions.toml", 65534, 65534)
    one = manager(
        f"[companion.a]\n{SLEEP}\nstartsecs = 0\nuser = '{pwd.getpwuid(65534).pw_name}'\n",
        user=65534,
        group=65534,
        extra_groups=[],
    )
    assert Look(one.until("a", "RUNNING")["pid"]).field("Uid") == ["65534"] * 4


def test_umask(look):
    assert look("umask = '0027'", umask=0).field("Umask") == ["0027"]


def test_umask_of_the_manager(look):
    assert look(umask=0o011).field("Umask") == ["0011"]


def test_limits(look):
    seen = look("limits = { nofile = 64, core = 0, cpu = 'unlimited', fsize = 1000000 }")
    assert seen.limit(resource.RLIMIT_NOFILE) == (64, 64)
    assert seen.limit(resource.RLIMIT_CORE) == (0, 0)
    assert seen.limit(resource.RLIMIT_CPU) == (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    assert seen.limit(resource.RLIMIT_FSIZE) == (1000000, 1000000)


def test_limits_are_the_managers_otherwise(look):
    """Also where the manager raises its own for the sake of the lock's number."""
    before = (256, 4096)
    seen = look(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, before))
    assert seen.limit(resource.RLIMIT_NOFILE) == before


def test_numprocs(look, folder):
    """Each has a name, a lock and a number; the group's name stands for all."""
    seen = look("numprocs = 3\nenv = { X = 'y' }", name="a:1")
    one = seen.manager
    names = [each["name"] for each in one.statuses()]
    assert names == ["a:0", "a:1", "a:2"]
    for number, name in enumerate(names):
        entry = one.until(name, "RUNNING")
        assert entry["lock"] == str(folder / "run" / f"{name}.lock")
        environment = Look(entry["pid"]).environment()
        assert environment["DROVER_COMPANION"] == name
        assert environment["DROVER_COMPANION_NUMBER"] == str(number)
        assert environment["X"] == "y"
    assert one.do("stop", "a:1")["ok"]
    assert [each["state"] for each in one.statuses()] == ["RUNNING", "STOPPED", "RUNNING"]
    assert one.do("stop", "a")["ok"]
    assert {each["state"] for each in one.statuses()} == {"STOPPED"}
    assert one.do("start", "a")["ok"]
    assert {each["state"] for each in one.statuses()} == {"RUNNING"}
