"""What flock(2) may answer besides yes and no. Injected: no file system at hand gives these answers."""

import re

import pytest

from conftest import needs
from support.flocks import complains, end, finish, hold  # noqa: F401
from support.processes import children, eventually, in_flock

HOLD = [("drover-hold",), ("drover-hold", "-n"), ("drover-hold", "-x", "-w", "60"), ("drover-hold", "--new")]
WAIT = [("drover-wait",), ("drover-wait", "-w", "60"), ("drover-wait", "--start", "60")]


@pytest.fixture
def begin(start, folder, lock):
    """begin(ANSWER, COMMAND...): the command on the lock; this is the answer to its first flock(2)."""
    needs("strace")

    def begin(answer, *words, times="1", arguments=()):
        options = ("-f", "-o", folder / "trace", "-e", "trace=flock,openat")
        inject = ("-e", f"inject=flock:error={answer}:when={times}")
        environment = {"ASAN_OPTIONS": "detect_leaks=0"}
        return start("strace", *options, *inject, *words, lock, *arguments, env=environment)

    return begin


def trace_of(folder, answer):
    text = (folder / "trace").read_text()
    assert f"{answer} " in text and "(INJECTED)" in text
    return text


@pytest.mark.parametrize("answer, text", [("ENOLCK", "No locks available"), ("EIO", "Input/output error")])
@pytest.mark.parametrize("words", HOLD, ids=" ".join)
def test_failure_of_hold_is_125(begin, folder, lock, words, answer, text):
    """locks 54"""
    lock.touch(0o600)
    code, out, err = finish(begin(answer, *words, arguments=("touch", "ran")))
    assert (code, out) == (125, "")
    assert complains(err, "drover-hold", f"lock '{lock}'", text)
    assert ("put the lock file under /run" in err) == (answer == "ENOLCK")
    assert not (folder / "ran").exists()
    trace_of(folder, answer)


@pytest.mark.parametrize("answer, text", [("ENOLCK", "No locks available"), ("EIO", "Input/output error")])
@pytest.mark.parametrize("words", WAIT, ids=" ".join)
def test_failure_of_wait_is_71(begin, hold, folder, lock, words, answer, text):
    """locks 54"""
    holder = hold(lock)
    code, out, err = finish(begin(answer, *words))
    assert (code, out) == (71, "")
    assert complains(err, "drover-wait", f"lock '{lock}'", text)
    trace_of(folder, answer)
    end(holder)


def test_failure_of_ls_is_71(begin, folder, lock):
    """locks 54: it asks the kernel about a lock that it sees nobody hold."""
    lock.touch(0o600)
    code, out, err = finish(begin("ENOLCK", "drover-ls"))
    assert (code, out) == (71, "")
    assert complains(err, "drover-ls", str(lock), "No locks available")
    trace_of(folder, "ENOLCK")


# Once interrupted, it goes on.
# Refused because the descriptor is not open for writing, as NFS does: it opens the file again.
GOES_ON = pytest.mark.parametrize("answer", ["EINTR", "EBADF"])


def reopened(folder):
    """Whether the descriptor that was refused has been opened for reading and writing, and locked."""
    text = trace_of(folder, "EBADF")
    refused = re.search(r"flock\((\d+), .*EBADF .*\(INJECTED\)", text)[1]
    again = re.search(rf'openat\(AT_FDCWD, "/proc/self/fd/{refused}", O_RDWR\|.*\) = (\d+)\n', text)
    return again is not None and re.search(rf"flock\({again[1]}, LOCK_\w+(\|LOCK_NB)?", text) is not None


@GOES_ON
@pytest.mark.parametrize("words", HOLD, ids=" ".join)
def test_hold_goes_on(begin, folder, lock, words, answer):
    """locks 53, 54"""
    lock.touch(0o600)
    script = 'ls -l /proc/$$/fd | grep -c "[.]lock$"; grep -c FLOCK /proc/$$/fdinfo/$DROVER_LOCK_FD'
    code, out, err = finish(begin(answer, *words, arguments=("sh", "-c", script)))
    assert (code, out, err) == (0, "1\n1\n", "")
    assert answer == "EINTR" or reopened(folder)


@GOES_ON
@pytest.mark.parametrize("words", WAIT, ids=" ".join)
def test_wait_goes_on(begin, hold, folder, lock, words, answer):
    """locks 53, 54"""
    holder = hold(lock)
    waiter = begin(answer, *words)
    eventually(lambda: waiter.poll() is not None or any(map(in_flock, children(waiter.pid))), "it to wait")
    assert waiter.poll() is None, waiter.stderr.read()
    end(holder)
    assert finish(waiter) == (0, "", "")
    assert answer == "EINTR" or reopened(folder)


@pytest.mark.parametrize(("words", "failure"), [(HOLD[0], 125), (WAIT[0], 71), (WAIT[1], 71)])
def test_refused_again_after_the_second_opening(begin, hold, folder, lock, words, failure):
    """It tries once, not for ever."""
    holder = hold(lock)
    arguments = ("touch", "ran") if failure == 125 else ()
    code, out, err = finish(begin("EBADF", *words, times="1+", arguments=arguments))
    assert (code, out) == (failure, "")
    assert complains(err, words[0], f"lock '{lock}'", "Bad file descriptor")
    assert reopened(folder) and trace_of(folder, "EBADF").count("O_RDWR") == 1
    assert not (folder / "ran").exists()
    end(holder)
