"""drover-hold becomes the command: what the command finds is what the caller left."""

import json
import os

import pytest

from conftest import needs
from support.flocks import PYTHON, command_name, complains, end, hold, holds, lock_fds  # noqa: F401
from support.processes import eventually


def environment_of(run, *words, **options):
    done = run(*words, "env", "-0", **options)
    assert done.returncode == 0, done.stderr
    return dict(item.split("=", 1) for item in done.stdout.split("\0") if item)


def test_pid_is_kept(start, lock):
    holder = start("drover-hold", lock, "sh", "-c", "echo $$")
    assert int(holder.communicate()[0]) == holder.pid


def test_environment_is_kept_and_two_names_are_added(run, lock):
    before = environment_of(run)
    after = environment_of(run, "drover-hold", lock)
    assert after.pop("DROVER_LOCK") == str(lock)
    assert int(after.pop("DROVER_LOCK_FD")) >= 1025
    assert after == before


def test_lock_is_exported_as_an_absolute_path(run, lock):
    assert environment_of(run, "drover-hold", lock.name)["DROVER_LOCK"] == str(lock)


def test_megabyte_of_environment(run, lock):
    big = {f"BIG{number}": "x" * 100_000 for number in range(10)}
    done = run("drover-hold", lock, "sh", "-c", 'echo "${#BIG9}"', env=big)
    assert (done.returncode, done.stdout) == (0, "100000\n")


@pytest.mark.parametrize("fd", ["3", "4", "9", "1025", "5000"])
def test_descriptor_by_number(hold, lock, fd):
    holder = hold(lock, "--fd", fd)
    assert lock_fds(holder.pid, lock) == [int(fd)]
    end(holder)


def test_low_descriptor_is_the_lowest(run, lock):
    """locks 0.3: a lower free one would go to the server's listening socket"""
    assert environment_of(run, "drover-hold", "--fd", "low", lock)["DROVER_LOCK_FD"] == "3"


@pytest.mark.parametrize(
    "last", ["1025", "__import__('resource').getrlimit(__import__('resource').RLIMIT_NOFILE)[0]"],
    ids=["unicorn", "up to the soft limit"],
)  # fmt: skip
def test_high_descriptor_survives_the_closing_of_descriptors(start, lock, last):
    """unicorn closes 3 to 1024 when it re-executes itself, many daemons what their limit allows."""
    program = f"import os, signal; os.closerange(3, {last}); print('closed', flush=True); signal.pause()"
    holder = start("prlimit", "--nofile=1024:20000", "drover-hold", lock, *PYTHON, "-c", program)
    assert holder.stdout.readline() == "closed\n"
    assert lock_fds(holder.pid, lock) == [1025]
    end(holder)


@pytest.mark.parametrize("fd", ["low", "high"])
def test_command_gets_no_other_descriptor(hold, lock, fd):
    """locks: 0, 1, 2 and the lock, nothing else of ours"""
    holder = hold(lock, "--fd", fd)
    [number] = lock_fds(holder.pid, lock)

    def numbers():  # the loader of the command opens and closes some first
        return sorted(int(name) for name in os.listdir(f"/proc/{holder.pid}/fd"))

    eventually(lambda: numbers() == [0, 1, 2, number], "nothing but the lock")
    end(holder)


@pytest.mark.parametrize("fd", ["low", "high"])
def test_listening_descriptors_pass_through(run, lock, fd):
    """locks 42: LISTEN_FDS=2 and a lock that does not come between"""
    script = (
        'exec 3</dev/null 4</dev/zero; export LISTEN_FDS=2 LISTEN_PID=$$; exec drover-hold --fd "$1" '
        '"$2" sh -c \'echo $$ $LISTEN_PID $DROVER_LOCK_FD; readlink /proc/self/fd/3 /proc/self/fd/4\''
    )
    done = run("bash", "-c", script, "bash", fd, lock)
    first, *files = done.stdout.split("\n")
    pid, listen_pid, number = map(int, first.split())
    assert pid == listen_pid
    assert number >= 5 and (number == 5 or fd == "high")
    assert files[:2] == ["/dev/null", "/dev/zero"]


def test_listening_descriptors_that_are_not_open_stay_free(hold, lock):
    holder = hold(lock, "--fd", "low", env={"LISTEN_FDS": "4"})
    assert lock_fds(holder.pid, lock) == [7]
    end(holder)


@pytest.mark.parametrize("fd", ["3", "4"])
def test_number_among_the_listening_ones_is_refused(run, lock, fd):
    done = run("drover-hold", "--fd", fd, lock, "true", env={"LISTEN_FDS": "2"})
    assert done.returncode == 125


@pytest.mark.parametrize("text", ["", "x", "-1", "3x", "0", "99999999999999999999"])
def test_odd_listen_fds_do_no_harm(run, lock, text):
    assert run("drover-hold", lock, "true", env={"LISTEN_FDS": text}).returncode == 0


@pytest.mark.parametrize("fd", ["", "0", "1", "2", "-1", "x", "lowest", "99999999999", "3x"])
def test_bad_descriptor_is_125(run, lock, fd):
    done = run("drover-hold", f"--fd={fd}", lock, "true")
    assert done.returncode == 125
    assert done.stderr.startswith("drover-hold: ")


def test_descriptor_in_use_is_refused(run, lock):
    done = run("bash", "-c", 'exec 7</dev/null; drover-hold --fd 7 "$1" true', "bash", lock)
    assert done.returncode == 125
    assert complains(done.stderr, "drover-hold", "'7'", "busy")


def test_limits_are_kept(run, lock):
    """The soft limit is raised for a moment only. locks 43"""
    script = "ulimit -Sn 64; exec drover-hold \"$1\" sh -c 'ulimit -Sn; ulimit -Hn; echo $DROVER_LOCK_FD'"
    hard = run("bash", "-c", "ulimit -Hn").stdout.strip()
    soft, after, number = run("bash", "-c", script, "bash", lock).stdout.split()
    assert (soft, after) == ("64", hard)
    assert int(number) >= 1025


def signal_lines(pid):
    with open(f"/proc/{pid}/status") as file:
        return [line for line in file if line.startswith(("SigBlk", "SigIgn", "SigCgt"))]


@pytest.mark.parametrize("options", [(), ("-w", "5"), ("-n", "-x"), ("--new",)])
def test_mask_and_dispositions_are_kept(start, lock, options):
    program = (
        "import os, signal, sys\n"
        "for number in (signal.SIGHUP, signal.SIGCHLD, signal.SIGALRM, signal.SIGRTMIN):\n"
        "    signal.signal(number, signal.SIG_IGN)\n"
        "signal.signal(signal.SIGPIPE, signal.SIG_DFL)\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
        "signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGUSR1, signal.SIGALRM, 40})\n"
        "os.execvp(sys.argv[1], sys.argv[1:])\n"
    )
    prefix = [*PYTHON, "-c", program]
    plain = start(*prefix, "sleep", "1000")
    eventually(lambda: command_name(plain.pid) == "sleep", "the plain one")
    held = start(*prefix, "drover-hold", *options, lock, "sleep", "1000")
    eventually(lambda: command_name(held.pid) == "sleep", "the held one")
    assert signal_lines(held.pid) == signal_lines(plain.pid)
    end(plain, held)


def test_working_folder_umask_group_and_session_are_kept(start, lock):
    program = "import os; print(os.getcwd(), os.umask(0), os.getpid(), os.getpgrp(), os.getsid(0))"
    options = {"umask": 0o123, "start_new_session": True}
    held = start("drover-hold", lock, *PYTHON, "-c", program, **options)
    words = held.communicate()[0].split()
    assert words == [str(lock.parent), str(0o123), *[str(held.pid)] * 3]


def test_nested_hold_is_no_second_lock(run, lock):
    script = 'ls -l /proc/self/fd | grep -c app.pid.lock; echo $DROVER_LOCK_FD'
    done = run("drover-hold", lock, "drover-hold", lock, "drover-hold", "-n", lock, "sh", "-c", script)
    assert done.stdout.split() == ["1", "1025"]


def test_nested_hold_of_another_file_is_one(run, folder, lock):
    other = folder / "other.lock"
    script = 'ls -l /proc/self/fd | grep -c "[.]lock$"'
    done = run("drover-hold", lock, "drover-hold", other, "sh", "-c", script)
    assert done.stdout == "2\n"


@pytest.mark.parametrize("options", [("-x",), ("-x", "-n"), ("--new",), ("--new", "-w", "5")])
def test_nested_hold_that_would_wait_for_itself(run, lock, options):
    done = run("drover-hold", lock, "drover-hold", *options, lock, "touch", "ran")
    assert done.returncode == 125
    assert complains(done.stderr, "drover-hold", str(lock), "inherited")
    assert not (lock.parent / "ran").exists()


@pytest.mark.parametrize("number", ["", "x", "0", "77", "-5", "99999999999"])
def test_false_variable_does_not_make_it_nested(start, lock, number):
    """The variable is a hint; what counts is a lock on that very file."""
    holder = start("drover-hold", lock, "sleep", "1000", env={"DROVER_LOCK_FD": number})
    eventually(lambda: lock.exists() and holds(holder.pid, lock), "a lock")
    end(holder)


def test_open_but_unlocked_descriptor_is_not_nested(start, lock):
    lock.touch()
    script = 'exec 9<"$1"; DROVER_LOCK_FD=9 exec drover-hold "$1" sleep 1000'
    holder = start("bash", "-c", script, "bash", lock)
    eventually(lambda: holds(holder.pid, lock), "a lock")
    end(holder)


@pytest.mark.parametrize("what", ["--help", "-h", "--version"])
@pytest.mark.parametrize("program", ["drover-hold", "drover-wait"])
def test_help_and_version(run, program, what):
    done = run(program, what)
    assert done.returncode == 0 and done.stderr == ""
    assert program in done.stdout


def test_nested_hold_with_another_between_is_no_second_lock(run, folder, lock):
    other = folder / "other.lock"
    script = 'ls -l /proc/self/fd | grep -c app.pid.lock'
    done = run("drover-hold", lock, "drover-hold", other, "drover-hold", lock, "sh", "-c", script)
    assert done.stdout == "1\n"


@pytest.mark.parametrize("options", [("-x",), ("--new",)])
def test_nested_hold_is_seen_without_its_variables(run, lock, options):
    """It would wait for itself for ever."""
    bare = ("env", "-u", "DROVER_LOCK", "-u", "DROVER_LOCK_FD")
    done = run("drover-hold", lock, *bare, "drover-hold", *options, lock, "true")
    assert done.returncode == 125
    assert complains(done.stderr, "drover-hold", str(lock), "inherited")


@pytest.mark.parametrize(
    "options, numbers",
    [(("--fd", "low"), ["9"]), ((), ["9", "1025"]), (("--fd", "20"), ["9", "20"])],
)
def test_lock_that_a_shell_took_is_kept(run, lock, options, numbers):
    """One lock; --fd may give it another number as well, as unicorn closes the low ones."""
    needs("flock")
    script = 'exec 9>"$1"; flock -s 9; shift; exec drover-hold "$@"'
    show = 'drover-ls --json "$0"; echo $DROVER_LOCK_FD'
    done = run("bash", "-c", script, "bash", lock, *options, lock, "sh", "-c", show, lock)
    report, number = done.stdout.splitlines()
    (description,) = json.loads(report)["locks"][0]["descriptions"]
    fds = [held["fd"] for held in description["holders"][0]["fds"]]
    assert [str(fd) for fd in fds] == numbers
    assert number == numbers[-1]


BELOW = 'drover-hold "$@" 9>&-'  # as a program that closes descriptors starts it


@pytest.mark.parametrize(
    "above, options",
    [((), ("-x",)), ((), ("-x", "-w", "1000")), ((), ("--new",)), ((), ("--new", "-w", "1000")),
     (("-x",), ()), (("-x",), ("-w", "1000"))],
)  # fmt: skip
def test_wait_for_a_process_above_is_refused(run, folder, lock, above, options):
    """It would wait for its own parent, for ever."""
    words = ("drover-hold", *above, "--fd", "9", lock, "sh", "-c", f"{BELOW}; exit $?", "sh")
    done = run(*words, *options, lock, "touch", "ran")
    assert done.returncode == 125
    assert complains(done.stderr, "drover-hold", str(lock), "which started this one, holds it", "outside")
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("option", ["-x", "--new"])
def test_without_a_wait_a_process_above_makes_it_busy(run, lock, option):
    words = ("drover-hold", "--fd", "9", lock, "sh", "-c", f"{BELOW}; exit $?", "sh")
    assert run(*words, option, "-n", "-E", "44", lock, "true").returncode == 44


def test_adopted_wait_for_the_caller_itself_is_refused(run, lock):
    script = 'exec 8<>"$1"; drover-hold --adopt 8 "$1"; exec 9<>"$1"; drover-hold -x --adopt 9 "$1"'
    done = run("bash", "-c", script, "bash", lock)
    assert done.returncode == 125
    assert complains(done.stderr, "drover-hold", str(lock), "would wait for itself")


@pytest.mark.parametrize("placement, numbers", [((), ["3", "1025"]), (("--fd", "40"), ["3", "40"])])
def test_nested_hold_takes_no_further_descriptor_each_time(run, lock, placement, numbers):
    """Each re-execution of a server through its wrapper is one more."""
    nested = ("drover-hold", *placement, lock) * 4
    script = 'for fd in /proc/$$/fd/*; do readlink $fd | grep -q "[.]lock$" && echo ${fd##*/}; done; true'
    done = run("drover-hold", "--fd", "low", lock, *nested, "sh", "-c", script)
    assert sorted(done.stdout.split(), key=int) == numbers


def test_nested_hold_below_a_hard_limit_takes_none(run, lock):
    script = 'ls -l /proc/self/fd | grep -c "[.]lock$"'
    nested = ("drover-hold", lock) * 4
    done = run("sh", "-c", 'ulimit -n 64; exec "$@"', "sh", *nested, "sh", "-c", script)
    assert done.stdout == "1\n"
