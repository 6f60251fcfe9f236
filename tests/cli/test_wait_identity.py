"""Which file is the lock: names, links, replacements, and things that are no lock file."""

import os
import shutil
import socket

import pytest

from conftest import needs
from support.flocks import (  # noqa: F401
    as_nobody, complains, end, finish, follows, hold, start_holder, start_waiter, still_blocked, wait,
)
from support.processes import eventually, holders, in_flock


def test_unlink_while_waited_for(hold, wait, lock):
    """locks 27: the old waiter still knows the truth"""
    holder = hold(lock)
    waiter = wait(lock)
    lock.unlink()
    assert still_blocked(waiter)
    end(holder)
    assert finish(waiter)[0] == 0
    assert not lock.exists()


def test_new_waiter_after_unlink_is_told_who_has_the_file(hold, run, lock):
    """locks 27"""
    holder = hold(lock)
    lock.unlink()
    done = run("drover-wait", lock)
    assert done.returncode == 66
    assert f"process {holder.pid} " in done.stderr and "deleted" in done.stderr
    end(holder)


def test_new_waiter_after_unlink_and_a_new_file(hold, run, lock):
    holder = hold(lock)
    lock.unlink()
    lock.touch(0o600)
    done = run("drover-wait", lock)
    assert done.returncode == 66
    assert f"process {holder.pid} " in done.stderr
    end(holder)


@pytest.mark.parametrize("options", [(), ("-w", "1000"), ("--relay", "app.pid")])
@pytest.mark.parametrize("text", ["", "another text, which is longer\n"])
def test_content_that_changes_while_waited_for(hold, wait, run, lock, options, text):
    """S13: truncated, or written anew: the lock is the file's, not its content's."""
    lock.write_text("somebody's notes\n")
    holder = hold(lock)
    waiter = wait(*options, lock)
    lock.write_text(text)
    assert run("drover-ls", "--pids", lock).stdout == f"{holder.pid}\n"
    assert still_blocked(waiter)
    end(holder)
    assert finish(waiter)[0] == 0
    assert lock.read_text() == text


@pytest.mark.parametrize("options", [(), ("-w", "1000"), ("--start", "1000"), ("--relay", "run/app.pid")])
@pytest.mark.parametrize("comes_back", [False, True])
def test_folder_removed_while_waited_for(start, run, folder, options, comes_back):
    """S13: nobody is taken for dead; who asks now is told that there is no such file."""
    lock = folder / "run" / "app.pid.lock"
    lock.parent.mkdir()
    holder = start_holder(start, lock)
    waiter = start_waiter(start, *options, lock)
    shutil.rmtree(lock.parent)
    if comes_back:
        lock.parent.mkdir()
        lock.touch(0o600)
    for program in ("drover-wait", "drover-ls"):
        if not comes_back:
            assert run(program, lock).returncode == 66
        else:
            assert run(program, lock).returncode == (66 if program == "drover-wait" else 1)
    assert still_blocked(waiter)
    end(holder)
    assert finish(waiter)[0] == 0


@pytest.mark.parametrize("options", [(), ("-w", "1000")])
def test_replaced_while_waited_for_follows_the_new_file(hold, wait, lock, options):
    """locks 28: the old holder's end is not the end, the path has another one"""
    old = hold(lock)
    waiter = wait(*options, lock)
    lock.unlink()
    new = hold(lock)
    end(old)
    assert follows(waiter, lock)
    end(new)
    code, _, err = finish(waiter)
    assert code == 0
    assert "names another file now: waiting for that one" in err


def test_replaced_by_rename_follows_the_new_file(hold, wait, folder, lock):
    """locks 28"""
    old = hold(lock)
    waiter = wait(lock)
    new = hold(folder / "b.lock")
    os.rename(folder / "b.lock", lock)
    end(old)
    assert follows(waiter, lock)
    end(new)
    assert finish(waiter)[0] == 0


def test_replaced_by_a_file_that_nobody_holds(hold, wait, lock):
    holder = hold(lock)
    waiter = wait(lock)
    lock.unlink()
    lock.touch(0o600)
    end(holder)
    assert finish(waiter)[0] == 0


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("x", path)])
def test_replaced_by_what_is_no_lock(hold, wait, lock, make):
    holder = hold(lock)
    waiter = wait(lock)
    lock.unlink()
    make(lock)
    end(holder)
    assert finish(waiter)[0] == 0


def test_replaced_many_times(hold, wait, lock):
    holder = hold(lock)
    waiter = wait(lock)
    for _ in range(10):
        lock.unlink()
        successor = hold(lock)
        end(holder)
        holder = successor
        assert follows(waiter, lock)
    end(holder)
    assert finish(waiter)[0] == 0


def test_hard_link_is_the_same_lock(hold, wait, folder, lock):
    """locks 28"""
    holder = hold(lock)
    os.link(lock, folder / "other-name.lock")
    waiter = wait(folder / "other-name.lock")
    end(holder)
    assert finish(waiter)[0] == 0


def test_bind_mount_is_the_same_lock(hold, start, folder, lock):
    """locks 28"""
    needs("unshare")
    holder = hold(lock)
    (folder / "mount").mkdir()
    script = 'mount --bind "$1" "$1/mount" && exec drover-wait "$1/mount/app.pid.lock"'
    waiter = start("unshare", "-m", "sh", "-c", script, "sh", folder)
    eventually(lambda: in_flock(waiter.pid) or waiter.poll() is not None, "the waiter to block")
    assert still_blocked(waiter)
    end(holder)
    assert finish(waiter)[0] == 0


def test_link_in_the_folder_part_is_followed(hold, wait, folder, lock):
    """as with a deploy tool's "current"; only the lock's last name must be no link"""
    os.symlink(folder, folder / "current")
    holder = hold(folder / "current" / lock.name)
    waiter = wait(folder / "current" / lock.name)
    assert holders(lock) == {holder.pid}
    end(holder)
    assert finish(waiter)[0] == 0


def make_symlink(path):
    (path.parent / "target").touch()
    os.symlink("target", path)


def make_socket(path):
    socket.socket(socket.AF_UNIX).bind(str(path))


KINDS = {
    "symbolic link": make_symlink,
    "directory": os.mkdir,
    "FIFO": os.mkfifo,
    "socket": make_socket,
    "device": lambda path: os.mknod(path, 0o20600, os.makedev(1, 3)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", [("drover-wait",), ("drover-wait", "--start", "1000")])
def test_wait_refuses_what_is_no_regular_file(run, lock, kind, command):
    """locks 28, 29"""
    KINDS[kind](lock)
    done = run(*command, lock)
    assert done.returncode == 66
    assert complains(done.stderr, "drover-wait", str(lock), kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [(), ("--new",), ("-x", "-n")])
def test_hold_refuses_what_is_no_regular_file(run, lock, kind, options):
    """locks 28, 29"""
    KINDS[kind](lock)
    done = run("drover-hold", *options, lock, "touch", "ran")
    assert done.returncode == 125
    assert complains(done.stderr, "drover-hold", str(lock), kind)
    assert not (lock.parent / "ran").exists()


@pytest.mark.parametrize(
    "program, words, code",
    [("drover-wait", (), 66), ("drover-ls", (), 66), ("drover-hold", ("touch", "ran"), 125)],
)
def test_dangling_link_makes_nothing(run, folder, lock, program, words, code):
    """locks 31"""
    os.symlink(folder / "elsewhere", lock)
    done = run(program, lock, *words)
    assert done.returncode == code
    assert complains(done.stderr, program, str(lock), "symbolic link")
    assert os.listdir(folder) == [lock.name]


def test_other_users_lock_cannot_be_waited_for(hold, run, folder, lock):
    """locks 35"""
    folder.chmod(0o755)
    holder = hold(lock)
    done = run(*as_nobody("drover-wait", lock))
    assert done.returncode == 77
    assert complains(done.stderr, "drover-wait", str(lock), "Permission denied")
    done = run(*as_nobody("drover-hold", lock, "true"))
    assert done.returncode == 125
    assert complains(done.stderr, "drover-hold", str(lock), "Permission denied")
    end(holder)


def test_readable_lock_can_be_waited_for_by_another_user(hold, start, folder, lock):
    folder.chmod(0o755)
    holder = hold(lock, "--mode", "0644")
    waiter = start(*as_nobody("drover-wait", lock))
    eventually(lambda: in_flock(waiter.pid) or waiter.poll() is not None, "the waiter to block")
    assert still_blocked(waiter)
    end(holder)
    assert finish(waiter)[0] == 0


def in_sticky_folder(folder):
    """The lock file of another user, whom nobody else can replace."""
    sticky = folder / "sticky"
    sticky.mkdir()
    sticky.chmod(0o1777)
    lock = sticky / "a.lock"
    lock.touch(0o644)
    os.chown(lock, 65534, 65534)
    return lock


def test_other_users_lock_in_a_sticky_folder(run, folder):
    """locks 30: opened without O_CREAT, which fs.protected_regular forbids even to root"""
    needs("strace")
    lock = in_sticky_folder(folder)
    trace = folder / "trace"
    done = run("strace", "-o", trace, "-e", "trace=openat", "drover-hold", lock, "true")
    assert done.returncode == 0
    opens = [line for line in trace.read_text().splitlines() if str(lock) in line]
    assert opens and not any("O_CREAT" in line for line in opens)
    assert all("O_NOFOLLOW" in line and "O_CLOEXEC" in line for line in opens)


@pytest.mark.parametrize(
    "program, words, code", [("drover-hold", ("touch", "ran"), 125), ("drover-wait", (), 77)]
)
def test_root_that_may_not_open_a_lock_is_told_of_the_sysctl(run, folder, program, words, code):
    """locks 30: without its capabilities root is a user like any other."""
    needs("setpriv")
    lock = in_sticky_folder(folder)
    lock.chmod(0o600)
    done = run("setpriv", "--bounding-set=-all", "--inh-caps=-all", program, lock, *words)
    assert done.returncode == code
    assert complains(done.stderr, program, str(lock), "Permission denied", "fs.protected_regular")
    assert not (folder / "ran").exists()
