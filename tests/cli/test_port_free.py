"""When drover-wait returns, the dead server's port can be bound: locks 26, 300 of 300."""

import itertools
import os
import subprocess
import tempfile
import time

import pytest

from conftest import needs
from support.flocks import (  # noqa: F401
    IN_SANITIZER_BUILD, PYTHON, SUPPORT, end, finish, hold, wait,
)

ROUNDS = 60 if IN_SANITIZER_BUILD else 300
FEWER = ROUNDS // 3
pytestmark = pytest.mark.timeout(300)
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def program():
    needs("cc")
    with tempfile.TemporaryDirectory(prefix="drover.") as folder:
        path = f"{folder}/port_free"
        subprocess.run(
            ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", path, SUPPORT / "port_free.c"], check=True
        )
        yield path


@pytest.fixture
def all_free(program, run, lock):
    """True when every immediate bind succeeds, in so many rounds of start, wait, kill, bind."""

    def measure(launcher, waiter=("drover-wait",), rounds=ROUNDS, workers=0, extra=0, listener=-1):
        # An address of our own: no other test can take the port between the end and the bind.
        pid = os.getpid()
        address = f"127.{pid >> 8 & 255}.{pid & 255}.{next(_numbers)}"
        done = run(
            program, address, rounds, workers, extra, listener,
            *waiter, lock, "--", *launcher, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout == f"0 of {rounds} busy\n" or done.stdout

    return measure


@pytest.mark.parametrize("extra", [0, 500])
@pytest.mark.parametrize("fd", ["low", "high"])
def test_port_is_free(all_free, lock, fd, extra):
    assert all_free(["drover-hold", "--fd", fd, lock], extra=extra) is True


@pytest.mark.parametrize("extra", [0, 500])
@pytest.mark.parametrize("fd", ["low", "high"])
def test_port_is_free_with_workers(all_free, lock, fd, extra):
    """Six processes share the listening socket."""
    launcher = ["drover-hold", "--fd", fd, lock]
    assert all_free(launcher, rounds=FEWER, workers=5, extra=extra) is True


@pytest.mark.parametrize("listener", [0, 3])
def test_port_is_free_with_the_socket_below_a_low_lock(all_free, lock, listener):
    """Standard input, or descriptor 3 by socket activation, listens: released after the lock."""
    launcher = ["drover-hold", "--fd", "9", lock]
    assert all_free(launcher, rounds=FEWER, extra=100, listener=listener) is True


@pytest.mark.parametrize("options", [("-w", "100"), ("--any",), ("--start", "10")])
def test_port_is_free_in_the_event_loop(all_free, lock, options):
    launcher = ["drover-hold", lock]
    assert all_free(launcher, waiter=("drover-wait", *options), rounds=FEWER, extra=500) is True


def test_port_is_free_under_a_guard(all_free, lock):
    """The whole session is killed, the guard with it."""
    assert all_free(["drover-hold", "--guard", lock], rounds=FEWER, extra=500) is True


def test_port_is_free_after_the_relay(all_free, lock):
    waiter = ("drover-wait", "--relay", lock.parent / "app.pid")
    assert all_free(["drover-hold", lock], waiter=waiter, rounds=FEWER, extra=500) is True


STUCK = """
import ctypes, os, signal, sys, time
assert ctypes.CDLL(None).unshare(0x20000000) == 0  # CLONE_NEWPID
first = os.fork()
if first == 0:
    signal.pause()
second = os.fork()
if second == 0:
    signal.pause()
os.kill(first, signal.SIGKILL)
while open(f"/proc/{second}/stat").read().rsplit(")", 1)[1].split()[0] != "Z":
    time.sleep(0.001)
print("ready", flush=True)
sys.stdin.read()
os.waitpid(second, 0)
os.waitpid(first, 0)
"""


def test_process_that_cannot_end_delays_nobody(start, hold, wait, lock):
    """The dead first process of a pid namespace waits for whoever has yet to be reaped in it."""
    stuck = start(*PYTHON, "-c", STUCK, stdin=-1)
    assert stuck.stdout.readline() == "ready\n"
    # It gives a process that is about to end one second. Another cause of delay does not last.
    for _ in range(20):
        holder = hold(lock)
        waiter = wait(lock)
        begin = time.monotonic()
        end(holder)
        assert finish(waiter)[0] == 0
        seconds = time.monotonic() - begin
        if seconds < 0.9:
            break
    assert seconds < 0.9
    stuck.communicate("")
