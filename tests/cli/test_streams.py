"""Standard streams that are closed, full or broken. locks 57"""

import itertools
import os
import signal

import pytest

from support.flocks import PYTHON, end, finish, hold, holds  # noqa: F401
from support.processes import eventually, in_flock

CLOSED = [numbers for count in range(1, 4) for numbers in itertools.combinations(range(3), count)]


def closing(numbers, *words):
    """The command with these descriptors closed."""
    closes = " ".join(f"{number}>&-" for number in numbers)
    return ("bash", "-c", f'exec "$@" {closes}', "bash", *words)


@pytest.mark.parametrize("numbers", CLOSED)
@pytest.mark.parametrize("options", [(), ("--fd", "low"), ("--new",), ("--guard",)])
def test_command_of_hold_finds_them_closed(run, folder, lock, numbers, options):
    """Neither the lock nor /dev/null has taken their place."""
    script = 'exec 9>report; for i in 0 1 2; do [ -e /proc/$$/fd/$i ] && echo $i >&9; done; :'
    done = run(*closing(numbers, "drover-hold", *options, lock, "bash", "-c", script))
    assert done.returncode == 0
    expected = [number for number in range(3) if number not in numbers]
    assert [int(word) for word in (folder / "report").read_text().split()] == expected


@pytest.mark.parametrize("numbers", CLOSED)
def test_lock_is_held_with_closed_streams(start, lock, numbers):
    holder = start(*closing(numbers, "drover-hold", "--fd", "low", lock, "sleep", "1000"))
    eventually(lambda: lock.exists() and holds(holder.pid, lock), "the holder")
    folder = f"/proc/{holder.pid}/fd"  # the loader of the command opens and closes some first
    eventually(lambda: not {str(number) for number in numbers} & set(os.listdir(folder)), "closed")
    assert lock.stat().st_size == 0
    end(holder)


@pytest.mark.parametrize("numbers", CLOSED)
@pytest.mark.parametrize("options", [(), ("-w", "1000"), ("--start", "1000")])
def test_wait_with_closed_streams(hold, start, lock, numbers, options):
    holder = hold(lock)
    waiter = start(*closing(numbers, "drover-wait", *options, lock))
    eventually(lambda: in_flock(waiter.pid) or waiter.poll() is not None, "the waiter to block")
    assert waiter.poll() is None
    end(holder)
    assert finish(waiter)[0] == 0


@pytest.mark.parametrize("numbers", CLOSED)
def test_failures_with_closed_streams(run, lock, numbers):
    """The message must not end up in the lock file."""
    assert run(*closing(numbers, "drover-wait", lock)).returncode == 66
    assert run(*closing(numbers, "drover-ls", lock)).returncode == 66
    lock.touch(0o600)
    assert run(*closing(numbers, "drover-wait", lock)).returncode == 66
    assert run(*closing(numbers, "drover-hold", lock)).returncode == 125
    assert run(*closing(numbers, "drover-hold", lock, "no-such-command")).returncode == 127
    assert lock.read_bytes() == b""


@pytest.mark.parametrize("numbers", CLOSED)
@pytest.mark.parametrize("option", ["--pids", "--json", "-q"])
def test_ls_with_closed_streams(hold, run, lock, numbers, option):
    """Only a result that cannot be written is a failure."""
    holder = hold(lock)
    done = run(*closing(numbers, "drover-ls", option, lock))
    cannot_write = 1 in numbers and option != "-q"
    assert done.returncode == (71 if cannot_write else 0)
    assert bool(done.stdout) == (1 not in numbers and option != "-q")
    assert ("cannot write to 'standard output'" in done.stderr) == (cannot_write and 2 not in numbers)
    assert lock.read_bytes() == b""
    end(holder)


@pytest.mark.parametrize("numbers", CLOSED)
def test_relay_with_closed_streams(hold, start, folder, numbers):
    pidfile = folder / "app.pid"
    holder = hold(folder / "app.pid.lock")
    pidfile.write_text(f"{holder.pid}\n")
    waiter = start(*closing(numbers, "drover-wait", "--relay", pidfile))
    eventually(lambda: in_flock(waiter.pid) or waiter.poll() is not None, "the waiter to block")
    assert waiter.poll() is None
    waiter.terminate()
    assert holder.wait() == -signal.SIGTERM
    assert finish(waiter)[0] == 0
    assert pidfile.read_text() == f"{holder.pid}\n"


@pytest.mark.parametrize("program, code", [("drover-hold", 125), ("drover-wait", 73), ("drover-ls", 73)])
@pytest.mark.parametrize("option", ["--help", "--version"])
def test_full_standard_output_is_an_error(run, program, code, option):
    with open("/dev/full", "w") as full:
        done = run(program, option, stdout=full, stderr=-1, capture_output=False)
    assert done.returncode == code
    assert done.stderr.startswith(f"{program}: cannot write to 'standard output': ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("program, code", [("drover-hold", 125), ("drover-wait", 71), ("drover-ls", 71)])
def test_closed_standard_output_is_an_error(run, program, code):
    done = run(*closing([1], program, "--version"))
    assert done.returncode == code
    assert "cannot write to 'standard output'" in done.stderr


def test_full_standard_output_with_any(hold, start, lock):
    holder = hold(lock)
    with open("/dev/full", "w") as full:
        waiter = start("drover-wait", "--any", lock, stdout=full)
    eventually(lambda: in_flock(waiter.pid), "the waiter")
    end(holder)
    code, _, err = finish(waiter)
    assert code == 73
    assert "cannot write to 'standard output'" in err


def test_standard_output_does_not_matter_without_results(hold, start, lock):
    holder = hold(lock)
    with open("/dev/full", "w") as full:
        waiter = start("drover-wait", lock, stdout=full, stderr=full)
    eventually(lambda: in_flock(waiter.pid), "the waiter")
    end(holder)
    assert finish(waiter)[0] == 0


def test_full_standard_error_changes_no_exit_code(run, lock):
    with open("/dev/full", "w") as full:
        options = {"stderr": full, "stdout": -1, "capture_output": False}
        assert run("drover-wait", lock, **options).returncode == 66
        assert run("drover-ls", lock, **options).returncode == 66
        assert run("drover-hold", lock, **options).returncode == 125
        assert run("drover-hold", lock, "none", **options).returncode == 127


def with_broken_output(start, disposition, *words):
    """The command with nobody behind its standard output, and SIGPIPE ignored or not."""
    program = (
        "import os, signal, sys\n"
        f"signal.signal(signal.SIGPIPE, signal.{disposition})\n"
        "os.execvp(sys.argv[1], sys.argv[1:])\n"
    )
    reader, writer = os.pipe()
    os.close(reader)
    process = start(*PYTHON, "-c", program, *words, stdout=writer)
    os.close(writer)
    return process


@pytest.mark.parametrize("disposition", ["SIG_IGN", "SIG_DFL"])
def test_broken_pipe(hold, start, lock, disposition):
    """A result that nobody reads is an error that is said; SIGPIPE must never end a wait."""
    holder = hold(lock)
    waiter = with_broken_output(start, disposition, "drover-wait", "--any", lock)
    eventually(lambda: in_flock(waiter.pid), "the waiter")
    end(holder)
    assert finish(waiter)[0::2] == (71, "drover-wait: cannot write to 'standard output': Broken pipe\n")


@pytest.mark.parametrize(
    ("disposition", "outcome"),
    [
        ("SIG_IGN", (71, "drover-ls: cannot write to 'standard output': Broken pipe\n")),
        ("SIG_DFL", (-signal.SIGPIPE, "")),
    ],
)
def test_broken_pipe_behind_ls(hold, start, lock, disposition, outcome):
    """It only looks, so the signal has its usual effect."""
    holder = hold(lock)
    assert finish(with_broken_output(start, disposition, "drover-ls", lock))[0::2] == outcome
    end(holder)


def test_broken_standard_error_does_not_end_the_relay(hold, start, folder):
    """The reader of the log has died; the supervisor's main process must not follow it."""
    pidfile = folder / "app.pid"
    holder = hold(folder / "app.pid.lock")
    pidfile.write_text(f"{holder.pid}\n")
    reader, writer = os.pipe()
    waiter = start("drover-wait", "--relay", pidfile, stderr=writer)
    os.close(writer)
    eventually(lambda: in_flock(waiter.pid), "the waiter")
    os.close(reader)
    waiter.terminate()
    assert holder.wait() == -signal.SIGTERM
    assert waiter.wait() == 0


def test_lines_for_the_journal_carry_a_priority(run, lock, folder):
    log = folder / "log"
    with open(log, "w") as file:
        st = os.fstat(file.fileno())
        options = {"stderr": file, "stdout": -1, "capture_output": False}
        run("drover-wait", lock, env={"JOURNAL_STREAM": f"{st.st_dev}:{st.st_ino}"}, **options)
    lines = log.read_text().splitlines()
    assert lines and all(line.startswith("<3>drover-wait: ") for line in lines)
    done = run("drover-wait", lock, env={"JOURNAL_STREAM": "1:1"})
    assert done.stderr.startswith("drover-wait: ")
