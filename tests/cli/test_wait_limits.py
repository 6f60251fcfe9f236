"""drover-wait -w and -E: still held at the limit."""

import concurrent.futures
import os
import time

import pytest

from conftest import needs
from support.flocks import IN_SANITIZER_BUILD, complains, end, finish, hold, wait  # noqa: F401


def test_still_held_at_the_limit_is_1(hold, run, lock):
    holder = hold(lock)
    done = run("drover-wait", "-w", "50ms", lock)
    assert done.returncode == 1
    assert done.stderr == "drover-wait: still held at the time limit\n"
    end(holder)


@pytest.mark.parametrize("code", [0, 1, 2, 75, 124, 255])
def test_exit_code_at_the_limit_can_be_chosen(hold, run, lock, code):
    holder = hold(lock)
    assert run("drover-wait", "-w", "10ms", "-E", code, lock).returncode == code
    end(holder)


def test_limit_of_zero_asks_once(hold, run, lock):
    holder = hold(lock)
    assert run("drover-wait", "-w", "0", lock).returncode == 1
    end(holder)


def test_limit_does_not_hide_that_nobody_ever_held(run, lock):
    assert run("drover-wait", "-w", "0", lock).returncode == 66
    lock.touch()
    assert run("drover-wait", "-w", "0", lock).returncode == 66


def test_end_before_the_limit_is_0(hold, wait, lock):
    holder = hold(lock)
    waiter = wait("-w", "1000", "-E", "9", lock)
    end(holder)
    assert finish(waiter)[0] == 0


def test_thousand_short_limits(hold, run, lock):
    """locks 21: none hangs, none is early, all say the same"""
    holder = hold(lock)
    count = 200 if IN_SANITIZER_BUILD else 1000

    def one(_):
        begin = time.monotonic()
        code = run("drover-wait", "-q", "-w", "0.05", lock, timeout=60).returncode
        return code, time.monotonic() - begin

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(one, range(count)))
    assert {code for code, _ in outcomes} == {1}
    assert min(seconds for _, seconds in outcomes) >= 0.05
    end(holder)


def test_clock_of_the_limit_cannot_be_set(hold, run, lock, folder):
    """locks 56: no timer on CLOCK_REALTIME, so setting the machine's clock moves no limit"""
    needs("strace")
    holder = hold(lock)
    trace = folder / "trace"
    calls = "timer_create,timerfd_create,clock_nanosleep,futex"
    options = ("strace", "-f", "-o", trace, "-e", f"trace={calls}")
    done = run(*options, "drover-wait", "-w", "20ms", lock, env={"ASAN_OPTIONS": "detect_leaks=0"})
    assert done.returncode == 1
    text = trace.read_text()
    assert "CLOCK_MONOTONIC" in text
    timed = [line for line in text.splitlines() if "NULL, FUTEX_BITSET_MATCH_ANY" not in line]
    assert not any("CLOCK_REALTIME" in line for line in timed)
    done = run(*options, "drover-hold", "-x", "-w", "20ms", lock, "true")
    assert done.returncode == 1
    # A thread that is joined is waited for on that clock, but without a limit: NULL.
    lines = [line for line in trace.read_text().splitlines() if "NULL, FUTEX_BITSET" not in line]
    assert not any("CLOCK_REALTIME" in line for line in lines)
    end(holder)


@pytest.mark.parametrize("text", ["", "abc", "-1", "5x", "1 2", "nan", "inf", "1e3", "99999999999d"])
def test_bad_duration_is_64(run, lock, text):
    done = run("drover-wait", f"--timeout={text}", lock)
    assert done.returncode == 64
    assert done.stderr.startswith("drover-wait: ")
    assert "drover-wait: hint: see 'drover-wait --help'" in done.stderr


@pytest.mark.parametrize("code", ["256", "-1", "x", ""])
def test_bad_exit_code_is_64(run, lock, code):
    assert run("drover-wait", f"--conflict-exit-code={code}", lock).returncode == 64


def test_no_lock_named_is_64(run):
    done = run("drover-wait")
    assert done.returncode == 64
    assert "LOCK is needed" in done.stderr


def test_unknown_option_is_64(run, lock):
    assert run("drover-wait", "--reap", lock).returncode == 64


def test_limit_counts_with_start(run, lock):
    begin = time.monotonic()
    assert run("drover-wait", "-w", "100ms", "--start", "1000", lock).returncode == 66
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize("options", [(), ("-w", "1000"), ("--start", "1000")])
def test_stdin_is_left_alone(hold, wait, lock, options):
    reader, writer = os.pipe()
    os.write(writer, b"for the one that comes after")
    holder = hold(lock)
    waiter = wait(*options, lock, stdin=reader)
    end(holder)
    assert finish(waiter)[0] == 0
    os.close(writer)
    assert os.read(reader, 100) == b"for the one that comes after"
    os.close(reader)


def test_quiet_says_nothing_at_the_limit(hold, run, lock):
    holder = hold(lock)
    done = run("drover-wait", "-q", "-w", "10ms", lock)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    end(holder)


def test_error_is_said_although_quiet(run, lock):
    assert complains(run("drover-wait", "-q", lock).stderr, "drover-wait", str(lock))
