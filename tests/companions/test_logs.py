"""Where the output of companions goes, and how it is put into another file while they run."""

import os
import signal

import pytest

from companions.conftest import SLEEP, sh
from support.processes import eventually

# Says each line that the test writes to the FIFO `in`.
ECHO = "command = ['cat', 'in']\nstartsecs = 0"


@pytest.fixture
def say(folder):
    """say(TEXT): a line that ECHO repeats."""
    os.mkfifo(folder / "in")
    fd = os.open(folder / "in", os.O_RDWR)
    yield lambda text: os.write(fd, f"{text}\n".encode())
    os.close(fd)


def has(path, text):
    """Waits until the file is these lines."""
    eventually(lambda: path.exists() and path.read_text().split() == text.split(), f"{path} to be '{text}'")


def test_both_files(manager, folder):
    """They are below the configuration's folder, and appended to with each start."""
    (folder / "logs").mkdir()
    (folder / "logs" / "out").write_text("old\n")
    one = manager(
        f"[companion.a]\n{sh('echo to-out; echo to-err >&2; exec sleep 1000')}\nstartsecs = 0\n"
        f"stdout = 'logs/out'\nstderr = '{folder}/err'\n",
        umask=0,
    )
    has(folder / "logs" / "out", "old to-out")
    has(folder / "err", "to-err")
    assert (folder / "err").stat().st_mode & 0o777 == 0o644
    assert one.do("restart", "a")["ok"]
    has(folder / "logs" / "out", "old to-out to-out")
    assert "to-out" not in one.said()


def test_one_file_for_both(manager, folder):
    one = manager(
        f"[companion.a]\n{sh('echo 1; echo 2 >&2; echo 3; echo 4 >&2; exec sleep 1000')}\n"
        "stdout = 'log'\nstderr = 'stdout'\n"
    )
    has(folder / "log", "1 2 3 4")
    assert one.do("stop", "a")["ok"]


@pytest.mark.parametrize("keys", ["", "stdout = 'inherit'\nstderr = 'inherit'", "stderr = 'stdout'"])
def test_inherited(manager, keys):
    one = manager(f"[companion.a]\n{sh('echo to-out; echo to-err >&2; exec sleep 1000')}\n{keys}\n")
    one.await_words(r"(?m)^to-out$")
    one.await_words(r"(?m)^to-err$")


@pytest.mark.parametrize("way", ["one", "all", "USR1"])
def test_reopen(manager, folder, say, way):
    """The companion runs on, and no line is lost."""
    one = manager(f"[companion.a]\n{ECHO}\nstdout = 'log'\n[companion.b]\n{SLEEP}\n")
    pid = one.until("a", "RUNNING")["pid"]
    log, old = folder / "log", folder / "log.1"
    say("first")
    has(log, "first")
    log.rename(old)
    say("second")
    has(old, "first second")
    if way == "USR1":
        one.send(signal.SIGUSR1)
    else:
        assert one.ask({"cmd": "reopen", **({"name": "a"} if way == "one" else {})})["ok"]
    eventually(log.exists, "a new file")
    say("third")
    has(log, "third")
    has(old, "first second")
    assert one.status("a")["pid"] == pid


def test_what_was_written_before_the_reopen_is_in_the_old_file(manager, folder, say):
    one = manager(f"[companion.a]\n{ECHO}\nstdout = 'log'\n")
    one.until("a", "RUNNING")
    for number in range(100):
        (folder / "log").rename(folder / f"log.{number}") if number else None
        assert one.ask({"cmd": "reopen"})["ok"]
        say(number)
        has(folder / "log", str(number))


def test_log_that_cannot_be_opened(manager, folder):
    """BACKOFF with the reason, until there is a place for it; others run."""
    one = manager(
        f"[companion.a]\n{ECHO.replace('in', 'companions.toml')}\nstdout = 'logs/a'\nrestart_delay = '50ms'\n"
        f"restart_factor = 1\nrestart = 'on-failure'\n[companion.b]\n{SLEEP}\nstartsecs = 0\n"
    )
    entry = one.until("a", "BACKOFF", attempt=3)
    assert entry["reason"] == f"cannot open log '{folder}/logs/a': No such file or directory"
    assert entry["reason"] in entry["description"]
    assert (entry["pid"], entry["lock_state"]) == (None, "free")
    one.until("b", "RUNNING")
    (folder / "logs").mkdir()
    one.until("a", "EXITED")
    assert "[companion.a]" in (folder / "logs" / "a").read_text()


def test_reason_of_a_later_start_without_its_log(manager, folder):
    """What is said is why it does not run now, not how it ended the last time."""
    one = manager("[companion.a]\ncommand = 'false'\nrestart_delay = '1000s'\n")
    one.until("a", "BACKOFF")
    one.write(f"[companion.a]\n{SLEEP}\nstdout = 'logs/a'\nrestart_delay = '1000s'\n")
    one.ask({"cmd": "reread"})
    entry = one.until("a", "BACKOFF", reason=f"cannot open log '{folder}/logs/a': No such file or directory")
    assert entry["reason"] in entry["description"], entry


def test_fifo_is_no_log(manager, folder):
    os.mkfifo(folder / "log")
    reader = os.open(folder / "log", os.O_RDONLY | os.O_NONBLOCK)
    one = manager(f"[companion.a]\n{SLEEP}\nstdout = 'log'\nrestart_delay = '1000s'\n")
    assert one.until("a", "BACKOFF")["reason"] == f"cannot open log '{folder}/log': it is a FIFO"
    os.close(reader)


def test_reopen_that_fails(manager, folder, say):
    """It is said, and the old file goes on."""
    (folder / "logs").mkdir()
    one = manager(f"[companion.a]\n{ECHO}\nstdout = 'logs/a'\n")
    one.until("a", "RUNNING")
    say("first")
    has(folder / "logs" / "a", "first")
    (folder / "logs").rename(folder / "moved")
    reply = one.ask({"cmd": "reopen", "name": "a"})
    assert reply["ok"] is False
    assert f"cannot open log '{folder}/logs/a'" in reply["message"] == reply["error"]
    one.send(signal.SIGUSR1)
    one.await_words(f"drover-companions: cannot open log '{folder}/logs/a'")
    say("second")
    has(folder / "moved" / "a", "first second")


def test_one_failure_does_not_keep_the_others_from_reopening(manager, folder):
    """A rotation of all logs reaches each that it can reach."""
    (folder / "logs").mkdir()
    keys = f"{sh('echo up; exec sleep 1000')}\nstartsecs = 0\n"
    one = manager(f"[companion.a]\n{keys}stdout = 'logs/a'\n[companion.b]\n{keys}stdout = 'b'\n")
    for path in (folder / "logs" / "a", folder / "b"):
        has(path, "up")
    (folder / "logs").rename(folder / "moved")
    (folder / "b").rename(folder / "b.1")
    one.send(signal.SIGUSR1)
    one.await_words("cannot open log")
    eventually((folder / "b").exists, "the log of the other one")


def test_full_disk(manager, say):
    """It is said once; the companion goes on."""
    one = manager(f"[companion.a]\n{ECHO}\nstdout = '/dev/full'\n")
    pid = one.until("a", "RUNNING")["pid"]
    say("lost")
    one.await_words("cannot write to log '/dev/full': No space left on device; its output is lost\n")
    say("lost, too")
    assert one.do("signal", "a", signal="CONT")["ok"]
    assert one.status("a")["pid"] == pid
    assert one.stop() == 0
    assert one.said().count("cannot write to log") == 1


def test_last_words(manager, folder):
    """All of a megabyte that is written just before the end, the manager's own included."""
    script = 'trap "head -c 1000000 /dev/zero; echo over; exit" TERM; echo up >ready; while :; do sleep 0.05; done'
    one = manager(f"[companion.a]\n{sh(script)}\nstdout = 'log'\n")
    eventually((folder / "ready").exists, "the companion")
    assert one.stop() == 0
    text = (folder / "log").read_text()
    assert text == "\0" * 1000000 + "over\n"
