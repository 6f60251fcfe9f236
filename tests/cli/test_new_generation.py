"""drover-hold --new: a fresh inode for each life of a service."""

import os

import pytest

from conftest import needs
from support.flocks import (  # noqa: F401
    IN_SANITIZER_BUILD, as_nobody, complains, end, finish, hold, holds, wait,
)
from support.processes import blocked_in_call, children, eventually, holders, in_flock, threads_in_flock


def test_first_generation_is_an_empty_file(hold, lock):
    holder = hold(lock, "--new")
    assert lock.read_text() == ""
    assert lock.stat().st_mode & 0o7777 == 0o600
    end(holder)


def test_each_generation_is_another_file_with_its_number(run, lock):
    inodes = set()
    for number in range(5):
        assert run("drover-hold", "--new", lock, "true").returncode == 0
        assert lock.read_text() == (f"generation {number}\n" if number else "")
        inodes.add(lock.stat().st_ino)
        keep = os.open(lock, os.O_RDONLY)  # or the number of the inode could come again
        os.set_inheritable(keep, False)
    assert len(inodes) == 5
    assert os.listdir(lock.parent) == [lock.name]


def test_plain_hold_joins_the_generation(hold, lock):
    first = hold(lock, "--new")
    second = hold(lock)
    assert holders(lock) == {first.pid, second.pid}
    assert lock.read_text() == ""
    end(first, second)


def test_waits_for_the_last_holder(hold, start, lock):
    first = hold(lock)
    before = lock.stat().st_ino
    second = start("drover-hold", "--new", lock, "sleep", "1000")
    eventually(lambda: in_flock(second.pid), "the second to wait")
    assert lock.stat().st_ino == before
    keep = os.open(lock, os.O_RDONLY)
    end(first)
    eventually(lambda: lock.stat().st_ino != before, "the new file")
    os.close(keep)
    eventually(lambda: holds(second.pid, lock), "the second to hold it")
    end(second)


@pytest.mark.parametrize("options", [("-n",), ("-w", "100ms")])
def test_busy_changes_nothing(hold, run, lock, options):
    first = hold(lock)
    before = lock.stat().st_ino
    assert run("drover-hold", "--new", *options, lock, "touch", "ran").returncode == 1
    assert lock.stat().st_ino == before
    assert sorted(os.listdir(lock.parent)) == [lock.name]
    end(first)


class Restarts:
    """Restarts a service with no gap: the next generation queues before the last one ends."""

    def __init__(self, start, lock):
        self.start, self.lock = start, lock
        self.current = self.begin()

    def begin(self):
        quiet = {"stdout": -3, "stderr": -3}
        return self.start("drover-hold", "--new", self.lock, "sleep", "1000", **quiet)

    def restart(self):
        self.settled()
        successor = self.begin()
        eventually(lambda: in_flock(successor.pid), "the successor to queue")
        end(self.current)
        self.current = successor

    def settled(self):
        eventually(lambda: self.lock.exists() and holds(self.current.pid, self.lock), "the holder")


@pytest.mark.timeout(300)
def test_no_restart_is_missed(start, lock):
    """locks 15: 20 waiters (threads of one process), 200 restarts; all return at each of them"""
    restarts = Restarts(start, lock)
    for _ in range(30 if IN_SANITIZER_BUILD else 200):
        restarts.settled()
        waiters = start("drover-wait", *[lock] * 20)
        eventually(lambda: threads_in_flock(waiters.pid) == 20, "all to wait")
        restarts.restart()
        assert finish(waiters)[0] == 0
    end(restarts.current)


def test_waiters_in_processes_of_their_own(start, wait, lock):
    """locks 15: none is captured by the next generation"""
    restarts = Restarts(start, lock)
    for _ in range(10):
        restarts.settled()
        waiters = [wait(lock) for _ in range(20)]
        restarts.restart()
        for waiter in waiters:
            assert finish(waiter)[0] == 0
    end(restarts.current)


def test_waiter_that_meets_a_replacement(start, hold, lock, folder):
    """It has opened the old file when the new one comes: the service lives all the same."""
    needs("strace")
    old = hold(lock, "--new")
    delay = ("strace", "-f", "-o", folder / "trace", "-e", "trace=flock")
    slow = ("-e", "inject=flock:delay_enter=300000:when=1")
    waiter = start(*delay, *slow, "drover-wait", lock, env={"ASAN_OPTIONS": "detect_leaks=0"})
    eventually(lambda: has_open(children(waiter.pid), lock), "the waiter to open the old file")
    successor = start("drover-hold", "--new", lock, "sleep", "1000")
    eventually(lambda: in_flock(successor.pid), "the successor to queue")
    end(old)
    eventually(lambda: waiter.poll() is not None or any(map(in_flock, children(waiter.pid))), "it to wait")
    end(successor)
    code, _, err = finish(waiter)
    assert code == 0, err


def has_open(pids, path):
    wanted = os.stat(path)
    for pid in pids:
        try:
            fds = os.listdir(f"/proc/{pid}/fd")
            if any(os.path.samestat(os.stat(f"/proc/{pid}/fd/{fd}"), wanted) for fd in fds):
                return True
        except OSError:  # gone: the descriptor, or the process
            pass
    return False


def test_two_at_once_on_an_old_file(start, lock):
    """locks 19: one wins, the other is told that it is busy"""
    contender = 'drover-hold -q --new -n "$1" sh -c "echo won; read x" <&3 &'
    script = f"exec 3<&0; {contender} {contender} wait -n; echo lost $?; wait"
    outcomes = set()
    for _ in range(30):
        lock.touch(0o600)
        both = start("bash", "-c", script, "bash", lock, stdin=-1)
        lines = sorted([both.stdout.readline(), both.stdout.readline()])
        outcomes.add("".join(lines).replace("\n", " "))
        both.communicate("")
    assert outcomes == {"lost 1 won "}


def in_newfstatat(pids):
    return any(blocked_in_call(pid, "262") for pid in pids)


def test_two_at_once_without_a_file(hold, start, lock):
    """locks 19: the second has seen that there is no file, then the first makes it"""
    needs("strace")
    late = start(
        "strace", "-qq", "-o", "/dev/null", "-P", lock, "-e", "trace=newfstatat",
        "-e", "inject=newfstatat:delay_exit=1000000:when=1",
        "drover-hold", "--new", "-n", lock, "touch", "ran", env={"ASAN_OPTIONS": "detect_leaks=0"},
    )  # fmt: skip
    eventually(lambda: late.poll() is not None or in_newfstatat(children(late.pid)), "its look")
    first = hold(lock, "--new")
    assert late.wait() == 1
    assert not (lock.parent / "ran").exists()
    end(first)


def test_second_without_a_limit_waits(hold, start, lock):
    first = hold(lock, "--new")
    second = start("drover-hold", "--new", lock, "sleep", "1000")
    third = start("drover-hold", "--new", lock, "sleep", "1000")
    eventually(lambda: in_flock(second.pid) and in_flock(third.pid), "both to queue")
    end(first)
    winner, loser = eventually(lambda: winner_of(second, third, lock), "one of them to win")
    eventually(lambda: in_flock(loser.pid), "the other to queue again")
    eventually(lambda: holders(lock) == {winner.pid}, "the winner alone")
    end(winner)
    eventually(lambda: holders(lock) == {loser.pid}, "the other one's turn")
    end(loser)


def winner_of(one, other, lock):
    if holds(one.pid, lock) and not in_flock(one.pid):
        return one, other
    if holds(other.pid, lock) and not in_flock(other.pid):
        return other, one
    return None


@pytest.mark.parametrize("text", ["x", "generation", "generation 1", "generation 1\nx", "812\n",
                                  "generation -1\n", "generation 99999999999\n"])  # fmt: skip
def test_foreign_content_is_refused(run, lock, text):
    lock.write_text(text)
    before = lock.stat().st_ino
    done = run("drover-hold", "--new", lock, "touch", "ran")
    assert done.returncode == 125
    assert complains(done.stderr, "drover-hold", str(lock), "has content")
    assert (lock.read_text(), lock.stat().st_ino) == (text, before)
    assert not (lock.parent / "ran").exists()


def test_owner_and_mode_are_kept(run, lock):
    lock.touch()
    lock.chmod(0o640)
    os.chown(lock, 65534, 65534)
    assert run("drover-hold", "--new", lock, "true").returncode == 0
    now = lock.stat()
    assert (now.st_uid, now.st_gid, now.st_mode & 0o7777) == (65534, 65534, 0o640)


def test_left_over_draft_is_replaced(run, lock):
    lock.touch(0o600)
    draft = lock.with_name(lock.name + ".new")
    draft.write_text("left by a crash")
    assert run("drover-hold", "--new", lock, "true").returncode == 0
    assert lock.read_text() == "generation 1\n"
    assert not draft.exists()


def test_link_in_place_of_the_draft_is_not_followed(run, lock):
    lock.touch(0o600)
    victim = lock.with_name("victim")
    victim.write_text("precious")
    os.symlink(victim, lock.with_name(lock.name + ".new"))
    assert run("drover-hold", "--new", lock, "true").returncode == 0
    assert victim.read_text() == "precious"
    assert lock.read_text() == "generation 1\n" and not lock.is_symlink()


def test_folder_that_cannot_be_written(run, folder, lock):
    closed = folder / "closed"
    closed.mkdir()
    lock = closed / "a.lock"
    lock.touch()
    lock.chmod(0o666)
    folder.chmod(0o755)
    done = run(*as_nobody("drover-hold", "--new", lock, "true"))
    assert done.returncode == 125
    assert complains(done.stderr, "drover-hold", "a.lock.new", "Permission denied")


def test_mode_that_forbids_writing_works_twice(run, folder, lock):
    folder.chmod(0o777)
    for _ in range(3):
        done = run(*as_nobody("drover-hold", "--new", "--mode", "0440", lock, "true"))
        assert (done.returncode, done.stderr) == (0, "")
    assert lock.stat().st_mode & 0o7777 == 0o440
    assert lock.read_text() == "generation 2\n"
