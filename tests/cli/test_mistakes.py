"""What a beginner types wrong: the message says what was taken for what."""

import json
import os
import signal

import pytest

from support.flocks import complains, end, finish, hold, start_waiter  # noqa: F401


def test_option_behind_the_lock(run, folder):
    result = run("drover-hold", "app.lock", "--new", "true")
    assert result.returncode == 125
    assert "'--new' stands where the COMMAND should" in result.stderr
    assert "LOCK, which is 'app.lock'" in result.stderr
    assert os.listdir(folder) == []


def test_lock_is_forgotten(run):
    result = run("drover-hold", "unicorn", "config.ru")
    assert result.returncode == 127
    assert "hint: 'unicorn' was taken as the LOCK" in result.stderr


def test_command_that_is_missing_gets_no_hint_about_the_lock(run, folder):
    result = run("drover-hold", folder / "a.lock", "no-such-command")
    assert result.returncode == 127 and "hint" not in result.stderr


def test_lock_beside_pidfile(run, folder):
    result = run("drover-hold", "--pidfile", "app.pid", "app.pid.lock", "true")
    assert result.returncode == 125
    assert "with --pidfile no LOCK is given" in result.stderr
    assert os.listdir(folder) == []


@pytest.mark.parametrize("words, code", [
    (("drover-hold", "--pidfile", "app.pid.lock", "true"), 125),
    (("drover-wait", "--relay", "app.pid.lock"), 64),
    (("drover-wait", "--pidfile", "app.pid.lock"), 64),
    (("drover-ls", "--pidfile", "app.pid.lock"), 64),
], ids=["hold", "relay", "wait", "ls"])  # fmt: skip
def test_lock_as_pidfile(run, folder, words, code):
    result = run(*words)
    assert result.returncode == code
    assert "it is the lock; its PIDFILE is wanted" in result.stderr
    assert os.listdir(folder) == []


@pytest.mark.parametrize("words, option, code", [
    (("drover-hold", "--pidfile", "a", "--pidfile", "b", "true"), "--pidfile", 125),
    (("drover-wait", "--pidfile", "a", "--pidfile", "b"), "--pidfile", 64),
    (("drover-wait", "--relay", "a", "--relay", "b"), "--relay", 64),
    (("drover-ls", "--pidfile", "a", "--pidfile", "b"), "--pidfile", 64),
], ids=["hold", "wait", "relay", "ls"])  # fmt: skip
def test_two_pidfiles(run, folder, words, option, code):
    """The last one would silently stand for both."""
    result = run(*words)
    assert result.returncode == code
    assert result.stderr.splitlines()[0] == f"{words[0]}: {option} is given more than once"


def test_pidfile_as_lock_is_refused(run, folder):
    pidfile = folder / "app.pid"
    pidfile.write_text("4711\n")
    result = run("drover-hold", pidfile, "true")
    assert result.returncode == 125
    assert complains(result.stderr, "drover-hold", str(pidfile), "it is a pidfile", "--pidfile")
    assert pidfile.read_text() == "4711\n"


def test_lock_that_is_named_like_a_pidfile(run):
    result = run("drover-hold", "app.pid", "true")
    assert result.returncode == 0
    assert "app.pid' is named like a pidfile" in result.stderr


def test_wait_and_ls_know_the_lock_beside_a_pidfile(run, hold, folder):
    pidfile = folder / "app.pid"
    pidfile.write_text("4711\n")
    holder = hold(f"{pidfile}.lock")
    waited = run("drover-wait", pidfile)
    assert waited.returncode == 66
    assert f"hint: there is '{pidfile}.lock'" in waited.stderr
    listed = run("drover-ls", pidfile)
    assert listed.returncode == 1
    assert f"hint: there is '{pidfile}.lock'" in listed.stderr
    end(holder)


def test_pidfile_names_the_lock(run, start, hold, folder):
    """--pidfile stands for PIDFILE.lock in every program."""
    holder = hold(folder / "app.pid.lock")
    listed = run("drover-ls", "--pids", "--pidfile", folder / "app.pid")
    assert listed.stdout == f"{holder.pid}\n"
    waited = run("drover-wait", "-w", "1ms", "--pidfile", folder / "app.pid")
    assert waited.returncode == 1
    end(holder)


def test_busy_lock_names_its_holder(run, hold, folder):
    holder = hold(folder / "a.lock")
    result = run("drover-hold", "-x", "-n", folder / "a.lock", "true")
    assert result.returncode == 1
    assert f"it is held by process {holder.pid}" in result.stderr
    end(holder)


def test_pids_of_holders_that_cannot_be_seen(run, start, hold, folder):
    """A script that kills what it reads would otherwise think that nobody is left."""
    folder.chmod(0o777)
    lock = folder / "a.lock"
    holder = hold(lock, "--mode", "0666")
    nobody = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
    result = run(*nobody, "drover-ls", "--pids", lock)
    assert (result.returncode, result.stdout) == (0, "")
    assert "its holders cannot be seen" in result.stderr
    end(holder)


def test_ls_that_holds_the_lock_itself(run, folder):
    result = run("drover-hold", folder / "a.lock", "drover-ls", folder / "a.lock")
    assert result.returncode == 0
    assert "held shared by 1 process\n" in result.stdout
    assert "drover-ls" in result.stdout


def test_waiter_is_listed_once(run, start, hold, folder):
    holder = hold(folder / "app.pid.lock")
    (folder / "app.pid").write_text(f"{holder.pid}\n")
    waiter = start_waiter(start, "--relay", folder / "app.pid")
    result = run("drover-ls", "--open", "--waiters", folder / "app.pid.lock")
    lines = [line for line in result.stdout.splitlines() if f" {waiter.pid} " in line]
    assert len(lines) == 1 and lines[0].startswith("waiting: ")
    end(holder, waiter)


def test_guard_is_no_master(run, start, folder):
    lock = folder / "a.lock"
    guard = start("drover-hold", "--guard", lock, "sh", "-c", "sleep 1000 & echo up; wait")
    assert guard.stdout.readline() == "up\n"
    rows = json.loads(run("drover-ls", "--json", lock).stdout)["locks"][0]["descriptions"][0]["holders"]
    assert [row["role"] for row in rows] == ["guard", "master", "worker"]
    os.kill(rows[2]["pid"], signal.SIGTERM)
    assert finish(guard)[0] == 0
