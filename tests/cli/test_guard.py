"""drover-hold --guard: the parent that stays."""

import os
import pathlib
import pty
import signal

import pytest

from conftest import needs
from support.flocks import PYTHON, SUPPORT, command_name, end, finish, holds, wait  # noqa: F401
from support.processes import alive, children, eventually, holders, parent, stat
from support.relays import Server

# Not passed on: what cannot be caught, faults and CHLD (lib/os/signals.h).
NOT_FORWARDED = {
    signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE,
    signal.SIGILL, signal.SIGTRAP, signal.SIGSYS,
}  # fmt: skip


def only_child(pid):
    eventually(lambda: children(pid), "the command")
    [child] = children(pid)
    return child


@pytest.mark.parametrize("code", range(256))
def test_exit_status_is_the_commands(run, lock, code):
    done = run("drover-hold", "--guard", lock, "sh", "-c", f"exit {code}")
    assert (done.returncode, done.stderr) == (code, "")


@pytest.mark.parametrize("number", [1, 2, 6, 9, 11, 15, 34, 64])
def test_death_by_a_signal_is_128_and_its_number(run, lock, number):
    script = f"ulimit -c 0; kill -{number} $$; sleep 1000"
    assert run("drover-hold", "--guard", lock, "bash", "-c", script).returncode == 128 + number


def test_command_not_found_is_127_and_not_executable_126(run, lock, folder):
    (folder / "plain").write_text("")
    for command, code in [("no-such-command", 127), (folder / "plain", 126)]:
        done = run("drover-hold", "--guard", lock, command)
        assert done.returncode == code
        assert done.stderr.startswith(f"drover-hold: cannot run '{command}': ")


def test_every_catchable_signal_is_forwarded(start, folder, lock):
    launcher = ("drover-hold", "--guard", lock)
    server = Server(start, folder, "server", "-", launcher=launcher)
    numbers = sorted(signal.valid_signals() - NOT_FORWARDED)
    expected = []
    for number in numbers:
        server.process.send_signal(number)
        try:
            expected.append(signal.Signals(number).name)
        except ValueError:
            expected.append(f"SIGRTMIN+{number - signal.SIGRTMIN}")
        server.gets(expected[-1])
    assert server.signals() == expected
    assert alive(server.process.pid)
    os.kill(only_child(server.process.pid), signal.SIGKILL)
    assert server.process.wait() == 128 + 9


def test_command_has_the_callers_mask(start, lock):
    guard = start("drover-hold", "--guard", lock, "sleep", "1000")
    child = only_child(guard.pid)
    eventually(lambda: command_name(child) == "sleep", "the command")
    assert "SigBlk:\t0000000000000000\n" in pathlib.Path(f"/proc/{child}/status").read_text()
    os.kill(child, signal.SIGTERM)
    assert guard.wait() == 128 + 15


def test_stays_until_the_last_descendant_is_gone(start, wait, lock, folder):
    """locks 40: the child exits 5, its daemon lives on"""
    needs("setsid")
    os.mkfifo(folder / "go")
    script = "setsid -f sh -c 'read x <go; exit 9' >/dev/null 2>&1; exit 5"
    guard = start("drover-hold", "--guard", lock, "sh", "-c", script)
    eventually(lambda: "sh" in map(command_name, children(guard.pid)), "the daemon")
    waiter = wait(lock)
    assert guard.poll() is None
    (folder / "go").write_text("now\n")
    assert guard.wait() == 5
    assert finish(waiter)[0] == 0


def test_keeps_the_lock_for_a_command_that_drops_it(start, run, lock):
    """as puma does at USR2"""
    program = "import os, time; os.closerange(3, 4096); print('closed', flush=True); time.sleep(1000)"
    guard = start("drover-hold", "--guard", lock, *PYTHON, "-c", program)
    assert guard.stdout.readline() == "closed\n"
    assert holders(lock) == {guard.pid}
    assert run("drover-wait", "-w", "0", lock).returncode == 1
    os.kill(only_child(guard.pid), signal.SIGKILL)
    assert guard.wait() == 128 + 9
    assert not holders(lock)


def test_killed_guard_leaves_the_inherited_lock(start, wait, lock):
    """locks 40: two independent nets"""
    quiet = {"stdout": -3, "stderr": -3}
    guard = start("drover-hold", "--guard", lock, "sleep", "1000", **quiet)
    child = only_child(guard.pid)
    eventually(lambda: holders(lock) == {guard.pid, child}, "both to hold")
    waiter = wait(lock)
    end(guard)
    assert alive(child) and holders(lock) == {child}
    os.kill(child, signal.SIGKILL)
    assert finish(waiter)[0] == 0


def test_orphans_get_the_signals_when_the_command_is_gone(start, folder, lock):
    """A double fork: the daemon is adopted, and TERM reaches it."""
    needs("setsid")
    record = folder / "daemon.record"
    daemon = f"{' '.join(PYTHON)} {SUPPORT}/recorder.py {record} - SIGTERM=exit0"
    script = f"setsid -f {daemon} >/dev/null 2>&1; exit 4"
    guard = start("drover-hold", "--guard", lock, "sh", "-c", script)
    eventually(record.exists, "the daemon to be ready")
    daemons = eventually(lambda: adopted_only(guard.pid), "the command to be gone")
    assert parent(daemons[0]) == guard.pid
    guard.terminate()
    assert guard.wait() == 4
    assert record.read_text().split() == ["ready", "SIGTERM"]


def adopted_only(pid):
    """The children, once the shell in between is gone."""
    found = children(pid)
    return found if found and {*map(command_name, found)} == {"python3"} else None


def test_reaps_orphans_while_the_command_runs(start, lock):
    needs("setsid")
    script = "for i in $(seq 20); do setsid -f true; done; echo made; read x"
    guard = start("drover-hold", "--guard", lock, "sh", "-c", script, stdin=-1)
    assert guard.stdout.readline() == "made\n"
    eventually(lambda: len(children(guard.pid)) == 1, "only the command to be left")
    command = only_child(guard.pid)
    assert stat(command)[0] != b"Z"
    guard.communicate("\n")
    assert guard.returncode == 0


def test_guard_in_a_guard(start, run, folder, lock):
    """locks 41"""
    words = ("drover-hold", "--guard", lock, "drover-hold", "--guard", folder / "b.lock")
    assert run(*words, "sh", "-c", "exit 6").returncode == 6
    guard = start(*words, "sleep", "1000")
    inner = only_child(guard.pid)
    eventually(lambda: command_name(inner) == "drover-guard" and children(inner), "the inner one")
    guard.terminate()
    assert guard.wait() == 128 + 15


def test_ignored_sigchld_loses_no_status(run, lock):
    """locks 41"""
    script = "trap '' CHLD; exec drover-hold --guard \"$1\" sh -c 'exit 8'"
    assert run("bash", "-c", script, "bash", lock).returncode == 8


def test_as_process_1(run, lock):
    """locks 41"""
    needs("unshare", "setsid")
    words = ("unshare", "--pid", "--fork", "--mount-proc", "drover-hold", "--guard", lock)
    assert run(*words, "sh", "-c", "setsid -f true; exit 3").returncode == 3


def test_stopped_and_continued_command_is_not_an_end(start, lock):
    guard = start("drover-hold", "--guard", lock, "sleep", "1000")
    child = only_child(guard.pid)
    os.kill(child, signal.SIGSTOP)
    eventually(lambda: stat(child)[0] == b"T", "the stop")
    os.kill(child, signal.SIGCONT)
    eventually(lambda: stat(child)[0] == b"S", "it to go on")
    assert guard.poll() is None
    guard.send_signal(signal.SIGTERM)
    assert guard.wait() == 128 + 15


def test_many_children_at_once(run, lock):
    needs("setsid")
    script = "for i in $(seq 200); do setsid -f true & done; wait; exit 2"
    assert run("drover-hold", "--guard", lock, "sh", "-c", script, timeout=60).returncode == 2


def test_command_finds_lock_and_variables(start, lock):
    script = 'echo $DROVER_LOCK $DROVER_LOCK_FD; read x'
    guard = start("drover-hold", "--guard", lock, "sh", "-c", script, stdin=-1)
    path, number = guard.stdout.readline().split()
    assert path == str(lock)
    child = only_child(guard.pid)
    assert os.readlink(f"/proc/{child}/fd/{number}") == str(lock)
    assert holds(child, lock)
    guard.communicate("")


def on_a_terminal(processes, *command):
    """The command as leader of a session on a terminal of its own; returns its pid and the terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(processes.folder)
        os.execvpe(command[0], [str(word) for word in command], processes.environment)
    return pid, terminal


def test_hang_up_of_the_terminal_reaches_the_command(processes, lock):
    """The kernel tells the session's leader alone."""
    guard, terminal = on_a_terminal(processes, "drover-hold", "--guard", lock, "sleep", "1000")
    eventually(lambda: len(holders(lock)) == 2, "the command")
    os.close(terminal)
    assert os.WEXITSTATUS(os.waitpid(guard, 0)[1]) == 128 + signal.SIGHUP


@pytest.mark.parametrize("prefix", [(), ("setsid",)])
def test_interrupt_of_the_terminal_reaches_the_command_once(processes, folder, lock, prefix):
    """Also when it is in a session of its own."""
    needs("setsid")
    recorder = (*PYTHON, SUPPORT / "recorder.py", folder / "record", "-", "SIGINT=exit7")
    guard, terminal = on_a_terminal(processes, "drover-hold", "--guard", lock, *prefix, *recorder)
    eventually(lambda: (folder / "record").exists() and (folder / "record").read_text(), "the command")
    os.write(terminal, b"\x03")
    assert os.WEXITSTATUS(os.waitpid(guard, 0)[1]) == 7
    assert (folder / "record").read_text().split() == ["ready", "SIGINT"]
    os.close(terminal)


def test_stop_of_the_terminal_stops_the_guard_too(processes, lock):
    """The shell waits for the guard to stop, and for the command it does not."""
    script = 'set -m; drover-hold --guard "$1" sleep 1000; echo "status $?"; read x; fg'
    shell, terminal = on_a_terminal(processes, "bash", "-c", script, "bash", lock)
    guard, command = eventually(lambda: guard_and_command(shell), "the command")
    os.write(terminal, b"\x1a")
    eventually(lambda: {stat(guard)[0], stat(command)[0]} == {b"T"}, "both to stop")
    os.write(terminal, b"\n")
    eventually(lambda: {stat(guard)[0], stat(command)[0]} == {b"S"}, "both to go on")
    os.write(terminal, b"\x03")
    assert os.WEXITSTATUS(os.waitpid(shell, 0)[1]) == 128 + signal.SIGINT
    assert f"status {128 + signal.SIGTSTP}" in os.read(terminal, 4096).decode()
    os.close(terminal)


def guard_and_command(shell):
    guards = [pid for pid in children(shell) if command_name(pid) == "drover-guard"]
    commands = [pid for guard in guards for pid in children(guard) if command_name(pid) == "sleep"]
    return (guards[0], commands[0]) if commands else None


def test_no_number_of_another_namespace_is_signalled(start, folder):
    """/proc is that of the namespace above: what it calls children of the guard are strangers."""
    needs("unshare", "setsid")
    child = start("sleep", "1000")
    words = ("unshare", "--pid", "--fork", "--kill-child", *PYTHON, SUPPORT / "foreign_proc.py")
    code, out, err = finish(start(*words, folder, os.getpid(), child.pid))
    assert (code, out) == (0, "ready SIGRTMIN+5\n"), err
    assert err.startswith("drover-hold: /proc does not show this pid namespace: signals are passed on")
    end(child)


@pytest.mark.parametrize("name", ["LISTEN_PID", "WATCHDOG_PID"])
def test_variable_that_names_the_guard_names_the_command(run, lock, name):
    """sd_listen_fds(3), sd_watchdog_enabled(3): whose number is another one ignores the variable."""
    script = f'{name}=$$ exec drover-hold --guard "$1" sh -c "echo \\$\\$ \\${name}"'
    command, named = run("sh", "-c", script, "sh", lock).stdout.split()
    assert named == command


def test_variable_that_names_another_process_stays(run, lock):
    done = run("drover-hold", "--guard", lock, "sh", "-c", "echo $LISTEN_PID", env={"LISTEN_PID": "1"})
    assert done.stdout == "1\n"
