"""kill -9 at system calls of the main thread of drover-hold and drover-wait, at each of them or at a
seeded choice: nothing needs cleaning up by hand."""

import collections
import random
import re

import pytest

from conftest import needs
from support.flocks import IN_SANITIZER_BUILD, end, start_holder, start_waiter, still_blocked
from support.processes import eventually, holders, in_flock

STRACE = {"ASAN_OPTIONS": "detect_leaks=0"}
SEED = 20240611
MOST = 30 if IN_SANITIZER_BUILD else 80


def places(run, folder, words):
    """Each call up to the exec of the command, as (name, which one of that name); a seeded choice
    when there are many."""
    done = run("strace", "-qq", "-o", folder / "trace", *words, env=STRACE)
    assert done.returncode in (0, 1), done.stderr
    calls = (folder / "trace").read_text()
    ours = re.split(r'^execve\("[^"\n]*/true".* = 0$', calls, maxsplit=1, flags=re.M)[0]
    seen = collections.Counter()
    found = []
    for name in re.findall(r"^(\w+)\(", ours, re.M):
        seen[name] += 1
        found.append((name, seen[name]))
    found.remove(("execve", 1))
    assert len(found) > 10, calls
    return random.Random(SEED).sample(found, MOST) if len(found) > MOST else found


def kill_at(run, place, words):
    """What is in /proc changes: a later call of drover-wait is not always reached."""
    name, number = place
    inject = ("-e", f"trace={name}", "-e", f"inject={name}:signal=KILL:when={number}")
    done = run("strace", "-qq", "-o", "/dev/null", *inject, *words, env=STRACE, timeout=60)
    may_be_missed = words[0] == "drover-wait" and number > 1
    assert done.returncode in (-9, 137) or may_be_missed, f"{place}: {done.returncode} {done.stderr}"


@pytest.mark.parametrize("options", [(), ("-x", "-w", "5"), ("-x", "-n"), ("--fd", "low")])
def test_killed_hold(run, folder, lock, options):
    needs("strace")
    words = ("drover-hold", *options, lock, "true")
    for place in places(run, folder, words):
        kill_at(run, place, words)
        assert not lock.exists() or lock.read_bytes() == b""
        assert not lock.exists() or not holders(lock)
        assert run("drover-hold", "-x", "-n", lock, "true").returncode == 0


@pytest.mark.parametrize("age", ["old", "absent"])
def test_killed_new_generation_leaves_the_old_or_the_new(run, folder, lock, age):
    """Whole, and nobody's; at most PATH.new is left, which the next one replaces."""
    needs("strace")
    words = ("drover-hold", "--new", lock, "true")
    if age == "old":
        lock.touch(0o600)
    for place in places(run, folder, words):
        if age == "absent":
            lock.unlink(missing_ok=True)
        before = generation(lock)
        kill_at(run, place, words)
        assert generation(lock) in (before, before + 1), place
        assert not lock.exists() or not holders(lock)
        kept = generation(lock) if lock.exists() else -1
        assert run(*words).returncode == 0
        assert generation(lock) == kept + 1
        assert {path.name for path in folder.iterdir()} == {lock.name, "trace"}


def generation(lock):
    """-1 without a file; fails for a file that is half written."""
    if not lock.exists():
        return -1
    text = lock.read_text()
    found = re.fullmatch(r"(?:generation (\d+)\n)?", text)
    assert found, f"half a generation: {text!r}"
    return int(found[1] or 0)


@pytest.mark.parametrize("options", [("-w", "10ms"), ("-w", "10ms", "--start", "5")])
def test_killed_wait(start, run, folder, lock, options):
    needs("strace")
    holder = start_holder(start, lock)
    beside = start_waiter(start, lock)
    words = ("drover-wait", "-q", *options, lock)
    for place in places(run, folder, words):
        kill_at(run, place, words)
        assert holders(lock) == {holder.pid}
        assert still_blocked(beside)
    assert run("drover-hold", "-n", lock, "true").returncode == 0
    end(holder)
    assert beside.wait() == 0


def test_killed_holders_in_any_order(start, lock):
    """The waiter returns after the last, whichever it is."""
    choice = random.Random(SEED)
    for _ in range(10):
        herd = [start_holder(start, lock) for _ in range(5)]
        waiter = start_waiter(start, lock)
        choice.shuffle(herd)
        for holder in herd[:-1]:
            end(holder)
            eventually(lambda: in_flock(waiter.pid) or waiter.poll() is not None, "it to wait on")
            assert waiter.poll() is None, f"seed {SEED}"
        end(herd[-1])
        assert waiter.wait() == 0
