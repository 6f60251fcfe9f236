"""drover-hold: taking the lock; what it does when it is busy; the file that it makes."""

import concurrent.futures
import os
import subprocess
import time

import pytest

from conftest import needs
from support.flocks import (  # noqa: F401
    IN_SANITIZER_BUILD, PYTHON, command_name, complains, end, finish, hold, holds,
)
from support.processes import eventually, holders, in_flock


def test_command_runs_with_its_arguments(run, lock):
    words = ["a b", "", "*", "--fd", "-n", "--", "é", "\\", "'\""]
    done = run("drover-hold", lock, "printf", "[%s]", *words)
    assert done.returncode == 0
    assert done.stdout == "".join(f"[{word}]" for word in words)


@pytest.mark.parametrize("options", [(), ("--guard",)])
def test_any_bytes_are_an_argument(run, lock, options):
    """S20"""
    words = [b"\xff\xfe", b"\xc3", b"\x80\x1b[0m", b"a\nb", bytes(range(1, 256))]
    arguments = [os.fsdecode(word) for word in words]
    done = run("drover-hold", *options, lock, "printf", "[%s]", *arguments, text=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"".join(b"[" + word + b"]" for word in words)


@pytest.mark.parametrize("options", [(), ("--guard",)])
def test_any_bytes_are_the_name_of_a_command(run, folder, lock, options):
    """S20: one that is there, and one that is not."""
    for name in (b"caf\xe9", b"two words"):
        path = os.fsdecode(os.path.join(os.fsencode(folder), name))
        os.symlink("/bin/echo", path)
        assert run("drover-hold", *options, lock, path, "ran").stdout == "ran\n"
        os.unlink(path)
        done = run("drover-hold", *options, lock, path, text=False)
        assert done.returncode == 127
        assert done.stderr == b"drover-hold: cannot run '%s': No such file or directory\n" % os.fsencode(path)


@pytest.mark.parametrize("separator", [[], ["--"]])
def test_separator_before_the_command(run, lock, separator):
    assert run("drover-hold", lock, *separator, "echo", "--", "x").stdout == "-- x\n"


def test_separator_before_the_lock(run, lock):
    """as everywhere: "--" ends the options"""
    assert run("drover-hold", "-n", "--", lock, "echo", "x").stdout == "x\n"


def test_options_end_at_the_lock(run, lock):
    assert run("drover-hold", lock, "echo", "-x", "--new", "--help").stdout == "-x --new --help\n"


@pytest.mark.parametrize("code", range(256))
def test_exit_status_is_the_commands(run, lock, code):
    assert run("drover-hold", lock, "sh", "-c", f"exit {code}").returncode == code


def test_pidfile_names_the_lock(start, folder):
    holder = start("drover-hold", "--pidfile", folder / "app.pid", "sleep", "1000")
    lock = folder / "app.pid.lock"
    eventually(lambda: holds(holder.pid, lock), "the holder")
    assert not (folder / "app.pid").exists(), "the pidfile is the server's to write"
    end(holder)


def test_shared_holders_do_not_exclude_each_other(hold, lock):
    first, second = hold(lock), hold(lock, "-n")
    assert holders(lock) == {first.pid, second.pid}
    end(first, second)


@pytest.mark.parametrize("option", ["-x", "--exclusive"])
def test_exclusive_waits_for_the_last_process(hold, start, lock, option):
    first = hold(lock, option)
    second = start("drover-hold", option, lock, "echo", "ran")
    eventually(lambda: in_flock(second.pid), "the second to wait")
    end(first)
    assert finish(second)[:2] == (0, "ran\n")


def test_exclusive_excludes_shared(hold, run, lock):
    first = hold(lock, "-x")
    assert run("drover-hold", "-n", lock, "touch", "ran").returncode == 1
    assert not (lock.parent / "ran").exists()
    end(first)


@pytest.mark.parametrize("option", ["-n", "--nonblock", "-w0", "--timeout=50ms"])
def test_busy_is_1_and_one_line(hold, run, lock, option):
    first = hold(lock)
    done = run("drover-hold", "-x", option, lock, "touch", "ran")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and complains(done.stderr, "drover-hold", str(lock))
    assert not (lock.parent / "ran").exists()
    end(first)


def test_busy_and_quiet_is_silent(hold, run, lock):
    first = hold(lock)
    done = run("drover-hold", "-q", "-x", "-n", lock, "true")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    end(first)


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_busy_code_can_be_chosen(hold, run, lock, code):
    first = hold(lock, "-x")
    assert run("drover-hold", "-n", "-E", code, lock, "true").returncode == code
    end(first)


def test_limit_is_kept(hold, run, lock):
    first = hold(lock, "-x")
    begin = time.monotonic()
    assert run("drover-hold", "-w", "200ms", lock, "true").returncode == 1
    assert 0.2 <= time.monotonic() - begin < 20
    end(first)


def test_lock_that_comes_free_in_time(hold, start, lock):
    first = hold(lock, "-x")
    second = start("drover-hold", "-w", "1000", lock, "echo", "ran")
    eventually(lambda: in_flock(second.pid), "the second to wait")
    end(first)
    assert finish(second)[:2] == (0, "ran\n")


# Asks again and again, far more often than any waiter; free most of the time.
PROBER = (
    "import fcntl, os, sys\n"
    "fd = os.open(sys.argv[1], os.O_RDONLY)\n"
    "while True:\n"
    "    try: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
    "    except OSError: pass\n"
    "    fcntl.flock(fd, fcntl.LOCK_UN)\n"
    "    for _ in range(50): os.getpid()\n"
)


@pytest.mark.parametrize("options", [("-n",), ("-w", "5"), ()])
def test_waiters_exclusive_instants_make_nobody_fail(start, run, lock, options):
    """locks 18"""
    lock.touch(0o600)
    prober = start("/usr/bin/python3", "-I", "-S", "-c", PROBER, lock)
    for _ in range(100):
        assert run("drover-hold", *options, lock, "true").returncode == 0
    end(prober)


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
@pytest.mark.parametrize(("option", "mode"), [((), 0o600), (("--mode", "0640"), 0o640)])
def test_mode_of_a_new_file_whatever_the_umask(run, lock, umask, option, mode):
    """locks 34"""
    done = run("drover-hold", *option, lock, "true", umask=umask)
    assert done.returncode == 0
    assert lock.stat().st_mode & 0o7777 == mode


def test_mode_of_an_old_file_is_kept(run, lock):
    lock.touch()
    lock.chmod(0o644)
    assert run("drover-hold", "--mode", "600", lock, "true").returncode == 0
    assert lock.stat().st_mode & 0o7777 == 0o644


@pytest.mark.parametrize("mode", ["", "8", "1000", "07777", "-1", "rw", "0640x", "0x1ff"])
def test_bad_mode_is_125(run, lock, mode):
    done = run("drover-hold", f"--mode={mode}", lock, "true")
    assert done.returncode == 125
    assert not lock.exists()


@pytest.mark.parametrize("options", [(), ("-x",), ("--guard",)])
def test_content_is_kept(run, lock, options):
    """locks 32"""
    lock.write_bytes(b"precious\n")
    assert run("drover-hold", *options, lock, "true").returncode == 0
    assert lock.read_bytes() == b"precious\n"


def test_lock_file_stays_when_the_command_is_done(run, lock):
    assert run("drover-hold", lock, "true").returncode == 0
    assert lock.exists() and lock.stat().st_size == 0


def test_arrival_touches_the_file(run, lock):
    lock.touch()
    os.utime(lock, (1, 1))
    assert run("drover-hold", lock, "true").returncode == 0
    assert lock.stat().st_mtime > 1


def test_waiting_does_not_touch_the_file(hold, start, lock):
    first = hold(lock, "-x")
    os.utime(lock, (1, 1))
    second = start("drover-hold", lock, "true")
    eventually(lambda: in_flock(second.pid), "the second to wait")
    assert lock.stat().st_mtime == 1
    end(first)
    assert second.wait() == 0
    assert lock.stat().st_mtime > 1


def test_replaced_while_waiting_takes_the_new_file(hold, start, lock):
    first = hold(lock, "-x")
    second = start("drover-hold", "-x", lock, "sleep", "1000")
    eventually(lambda: in_flock(second.pid), "the second to wait")
    lock.unlink()
    end(first)
    eventually(lambda: lock.exists() and holds(second.pid, lock), "the second at the path")
    end(second)


def test_many_at_once_make_one_file(start, lock):
    """All create it at the same moment; all hold the same one."""
    crowd = [start("drover-hold", lock, "sleep", "1000") for _ in range(30)]
    eventually(lambda: lock.exists() and holders(lock) == {one.pid for one in crowd}, "them all")
    end(*crowd)


def test_exclusive_is_exclusive(run, lock, folder):
    """The command counts up in a file, which is safe under the lock only."""
    counter = folder / "counter"
    counter.write_text("0")
    script = 'n=$(cat counter); echo $((n + 1)) > counter'
    count = 40 if IN_SANITIZER_BUILD else 200
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(run, "drover-hold", "-x", lock, "sh", "-c", script, timeout=60)
                for _ in range(count)]  # fmt: skip
        assert all(job.result().returncode == 0 for job in jobs)
    assert int(counter.read_text()) == count


def test_adopt_locks_a_descriptor_of_the_caller(start, run, lock):
    script = 'exec 9<>"$1" && drover-hold --adopt 9 "$1" && exec sleep 1000'
    shell = start("bash", "-c", script, "bash", lock)
    # The lock is taken before drover-hold has ended.
    eventually(lambda: command_name(shell.pid) == "sleep", "the shell to go on")
    assert holds(shell.pid, lock)
    assert run("drover-wait", "-w", "0", lock).returncode == 1
    end(shell)


def test_adopt_without_the_name_of_the_lock(start, lock):
    shell = start("bash", "-c", 'exec 9<>"$1" && drover-hold --adopt 9; echo $?; read x', "bash",
                  lock, stdin=subprocess.PIPE)  # fmt: skip
    assert shell.stdout.readline() == "0\n"
    assert holds(shell.pid, lock)
    end(shell)


def test_adopt_busy(hold, run, lock):
    first = hold(lock, "-x")
    script = 'exec 9<>"$1"; drover-hold -n -E 3 --adopt 9 "$1"'
    done = run("bash", "-c", script, "bash", lock)
    assert done.returncode == 3
    end(first)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--adopt", "77"], "Bad file descriptor"),
        (["--adopt", "0", "other.lock"], "it is"),
        (["--adopt", "9", "LOCK", "true"], "no command"),
        (["--adopt", "-1"], "--adopt"),
    ],
)
def test_adopt_refused(run, folder, words, reason):
    (folder / "LOCK").touch()
    (folder / "other.lock").touch()
    done = run("bash", "-c", 'exec 9<LOCK; exec drover-hold "$@"', "bash", *words)
    assert done.returncode == 125
    assert done.stderr.startswith("drover-hold: ") and reason in done.stderr


def test_adopted_descriptor_must_be_the_file(run, folder, lock):
    lock.touch()
    (folder / "other").touch()
    done = run("bash", "-c", 'exec 9<other; drover-hold --adopt 9 "$1"', "bash", lock)
    assert done.returncode == 125
    assert complains(done.stderr, "drover-hold", "is not the file", str(lock))


def test_shared_and_at_once_beside_a_shared_holder(hold, run, folder, lock):
    """A waiter's exclusive instant that was met by chance makes it fail no more than any."""
    needs("strace")
    holder = hold(lock)
    inject = ("-e", "trace=flock", "-e", "inject=flock:error=EAGAIN:when=1")
    words = ("strace", "-f", "-o", folder / "trace", *inject, "drover-hold", "-n", lock, "true")
    done = run(*words, env={"ASAN_OPTIONS": "detect_leaks=0"})
    assert done.returncode == 0, done.stderr
    assert "INJECTED" in (folder / "trace").read_text()
    end(holder)


@pytest.mark.parametrize(
    "magic, name", [(0x6969, "nfs"), (0xFF534D42, "cifs"), (0x01021997, "9p"), (0x65735546, "fuse")]
)
def test_file_system_whose_locks_may_not_be_seen_is_a_warning(run, folder, lock, magic, name):
    needs("strace")
    changed = magic.to_bytes(8, "little").hex()
    inject = ("-e", "trace=fstatfs", "-e", f"inject=fstatfs:poke_exit=@arg2={changed}")
    words = ("strace", "-qq", "-o", folder / "trace", *inject, "drover-hold", lock, "echo", "ran")
    done = run(*words, env={"ASAN_OPTIONS": "detect_leaks=0"})
    assert (done.returncode, done.stdout) == (0, "ran\n")
    reason = f"is on {name}, where a lock may not be seen by every process: put it under /run"
    assert done.stderr == f"drover-hold: '{lock}' {reason}\n"


def test_descriptor_is_told_when_asked_for(run, lock):
    done = run("drover-hold", "-v", lock, "drover-hold", "-v", lock, "true")
    line = f"drover-hold: '{lock}' is held on descriptor 1025"
    assert done.stderr.splitlines() == [line, line + ", inherited"]


@pytest.mark.parametrize("name", ["[a]", "[a,b]", "[]"])
def test_brackets_in_a_name(start, run, folder, name):
    """CLI11 reads "[a,b]" as two values where it may."""
    holder = start("drover-hold", name, "sleep", "1000")
    eventually(lambda: (folder / name).exists() and holds(holder.pid, folder / name), "the holder")
    assert run("drover-ls", "--pids", name).stdout == f"{holder.pid}\n"
    assert run("drover-wait", "-w", "10ms", name).returncode == 1
    end(holder)


@pytest.mark.parametrize(
    "words, code",
    [
        (("drover-hold", "--pidfile", "", "echo", "hi"), 125),
        (("drover-hold", "--pidfile=", "echo", "hi"), 125),
        (("drover-hold", "-n", "--fd", "low", "--pidfile=", "echo", "hi"), 125),
        (("drover-wait", "--relay=", "app.pid.lock"), 64),
        (("drover-wait", "--relay", ""), 64),
        (("drover-wait", "--relay", "", "app.pid.lock"), 64),
    ],
)
def test_empty_name_of_a_pidfile(run, folder, words, code):
    """An unset variable."""
    done = run(*words)
    assert (done.returncode, done.stdout) == (code, "")
    assert "is empty" in done.stderr
    assert not list(folder.iterdir())


def test_adopted_lock_is_not_converted(run, hold, lock):
    """flock(2) gives the old lock up first: the caller would be left without any."""
    needs("flock")
    other = hold(lock)
    script = 'exec 9<"$1"; flock -s 9; drover-hold --adopt 9 "$2" -n; echo $?; flock -n -x "$1" true; echo $?'
    kill = f"; kill -9 {other.pid}; flock -n -x \"$1\" true; echo $?"
    done = run("bash", "-c", script + kill, "bash", lock, "-x")
    assert done.stdout.split() == ["125", "1", "1"]
    assert "locked already" in done.stderr
    assert run("bash", "-c", script, "bash", lock, "-q").stdout.split() == ["0", "1"]
    other.wait()


@pytest.mark.parametrize("option", ["--new", "--guard", ("--fd", "low")])
def test_adopt_goes_with_nothing_else(run, option):
    words = option if isinstance(option, tuple) else (option,)
    done = run("drover-hold", "--adopt", "0", *words)
    assert done.returncode == 125
    assert "--adopt does not go with" in done.stderr


def test_empty_value_among_the_commands_words_is_its_own(run, lock):
    assert run("drover-hold", "--fd", "low", lock, "echo", "--x=").stdout == "--x=\n"


def test_adopted_lock_is_an_arrival(run, lock):
    """Also when the caller took it: watchers go by the modification time."""
    needs("flock")
    lock.touch()
    os.utime(lock, (1, 1))
    script = 'exec 9<"$1"; flock -s 9; drover-hold --adopt 9 "$1"'
    assert run("bash", "-c", script, "bash", lock).returncode == 0
    assert lock.stat().st_mtime > 1


def test_descriptor_that_cannot_carry_a_lock(run, lock):
    """A lock on a description of drover-hold's own would end with it."""
    lock.touch()
    program = (
        "import os, subprocess, sys\n"
        "fd = os.open(sys.argv[1], os.O_PATH)\n"
        "words = ['drover-hold', '--adopt', str(fd), sys.argv[1]]\n"
        "sys.exit(subprocess.run(words, pass_fds=[fd]).returncode)\n"
    )
    done = run(*PYTHON, "-c", program, lock)
    assert done.returncode == 125
    assert complains(done.stderr, "drover-hold", str(lock), "cannot carry a lock")


def test_adopted_descriptor_is_not_opened_again(run, lock):
    """NFS answers so when it is not open for writing."""
    needs("strace")
    inject = ("-e", "trace=flock", "-e", "inject=flock:error=EBADF:when=1")
    words = ("strace", "-qq", "-o", "trace", *inject, "drover-hold", "-x", "--adopt", "9", lock)
    started = ("bash", "-c", 'exec 9>"$1"; shift; exec "$@"', "bash", lock)
    done = run(*started, *words, env={"ASAN_OPTIONS": "detect_leaks=0"})
    assert done.returncode == 125
    assert complains(done.stderr, "drover-hold", str(lock), "cannot carry a lock")


@pytest.mark.parametrize("code, status", [("075", 75), ("0", 0), ("000", 0), ("0x4b", 125), ("256", 125)])
def test_busy_code_is_decimal(hold, run, lock, code, status):
    """as flock(1) reads it"""
    holder = hold(lock, "-x")
    assert run("drover-hold", "-n", "-E", code, lock, "true").returncode == status
    assert run("drover-wait", "-w", "0", "-E", code, lock).returncode == (64 if status == 125 else status)
    end(holder)


def test_adopted_descriptor_is_decimal(run, lock):
    done = run("bash", "-c", 'exec 9>"$1"; drover-hold --adopt 011 "$1"', "bash", lock)
    assert done.returncode == 125 and "descriptor '11'" in done.stderr
