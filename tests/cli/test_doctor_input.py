"""drover-doctor from outside: what it refuses, its exit codes, and that a run leaves nothing."""

import json
import os
import signal

import pytest

from support.flocks import command_name, complains
from support.processes import alive, children, eventually


def doctor(run, *words, **options):
    return run("drover-doctor", "-p", "app.pid", *words, **options)


def nothing_is_left(folder, *more):
    return {path.name for path in folder.iterdir()} == set(more)


@pytest.mark.parametrize(
    "words, about",
    [((), "a COMMAND is needed"),
     (("-p", "app.pid"), "a COMMAND is needed"),
     (("-p", "app.pid", "--"), "a COMMAND is needed"),
     (("true",), "--pidfile PIDFILE is needed"),
     (("-p", "", "true"), "--pidfile"),
     (("-p", "app.pid.lock", "true"), "its PIDFILE is wanted"),
     (("-p", "app.pid", "--dialect", "apache", "true"), "'apache' is none of auto, unicorn"),
     (("-p", "app.pid", "--boot-timeout", "soon", "true"), "soon"),
     (("-p", "app.pid", "--ready-timeout", "-1", "true"), "'-1' is no duration"),
     (("-p", "app.pid", "--fix", "true"), "'--fix' is no option")],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)  # fmt: skip
def test_wrong_usage(run, folder, words, about):
    done = run("drover-doctor", *words)
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr.startswith("drover-doctor: ") and about in done.stderr
    assert "hint: see 'drover-doctor --help'" in done.stderr
    assert nothing_is_left(folder)


def test_options_of_the_command_are_the_commands(run, folder):
    done = doctor(run, "sh", "-c", "exit 3", "--json", "--version")
    assert done.returncode == 1
    assert "finding: the server did not start: process" in done.stdout
    assert "exited with status 3" in done.stdout
    assert nothing_is_left(folder)


def test_command_that_is_not_there(run, folder):
    done = doctor(run, "no-such-server")
    assert (done.returncode, done.stdout) == (127, "")
    assert complains(done.stderr, "drover-doctor", "cannot run 'no-such-server'")
    assert nothing_is_left(folder)


def test_command_that_cannot_be_executed(run, folder):
    (folder / "server").write_text("")
    done = doctor(run, "./server")
    assert (done.returncode, done.stdout) == (126, "")
    assert nothing_is_left(folder, "server")


def test_no_folder_for_temporary_files(run, folder):
    done = doctor(run, "true", env={"TMPDIR": str(folder / "none")})
    assert (done.returncode, done.stdout) == (66, "")
    assert complains(done.stderr, "drover-doctor", "cannot make a folder in", "No such file")


def test_lock_that_is_a_link(run, folder):
    (folder / "app.pid.lock").symlink_to("elsewhere")
    done = doctor(run, "touch", "ran")
    assert (done.returncode, done.stdout) == (66, "")
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("suffix", ["", ".oldbin", ".2"])
def test_pidfile_of_a_living_process(run, folder, suffix):
    (folder / f"app.pid{suffix}").write_text(f"{os.getpid()}\n")
    done = doctor(run, "touch", "ran")
    assert (done.returncode, done.stdout) == (75, "")
    assert f"app.pid{suffix}' names process {os.getpid()}, which lives" in done.stderr
    assert nothing_is_left(folder, f"app.pid{suffix}")


def test_lock_that_is_held(run, start, folder):
    holder = start("drover-hold", "app.pid.lock", "sleep", "1000")
    eventually(lambda: run("drover-ls", "-q", "app.pid.lock").returncode == 0, "the lock to be held")
    done = doctor(run, "touch", "ran")
    assert (done.returncode, done.stdout) == (75, "")
    assert "app.pid.lock' is held" in done.stderr
    assert nothing_is_left(folder, "app.pid.lock")
    holder.kill()
    holder.wait()


def test_command_that_is_no_server(run, folder):
    """Bounded; its processes are ended, whatever they ignore."""
    (folder / "stubborn").write_text("trap '' TERM QUIT INT HUP\n(sleep 1000)\nsleep 1000\n")
    done = doctor(run, "--boot-timeout", "500ms", "sh", "stubborn")
    assert done.returncode == 1
    assert "finding: the server does not serve: '" in done.stdout
    assert "app.pid': No such file" in done.stdout
    assert "cure: " in done.stdout
    assert nothing_is_left(folder, "stubborn")


def test_what_the_server_says_is_no_result(run):
    words = ("sh", "-c", "echo to output; echo to errors >&2; exit 1")
    done = doctor(run, *words)
    assert done.stderr == "" and "  wrote: to errors\n" in done.stdout
    done = doctor(run, "-v", *words)
    assert "to output\n" in done.stderr and "to errors\n" in done.stderr
    assert "to output" not in done.stdout


def test_json_of_a_failure(run, folder):
    done = doctor(run, "--json", "sh", "-c", "printf '\\033[31m\\377' >&2; exit 1")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert (report["v"], report["clean"], report["server"]) == (1, False, "plain")
    assert report["pidfile"] == str(folder / "app.pid")
    assert [check["verdict"] for check in report["checks"]] == ["ok", "finding"]
    assert report["checks"][1]["output"] == ["\x1b[31m\ufffd"]


def test_text_is_harmless_to_a_terminal(run):
    done = doctor(run, "sh", "-c", "printf '\\033[31m\\n' >&2; exit 1")
    assert "\x1b" not in done.stdout and "[31m" in done.stdout


def test_full_output(run, folder):
    with open("/dev/full", "w") as full:
        done = run("drover-doctor", "-p", "app.pid", "true", capture_output=False, stdout=full)
    assert done.returncode == 73
    assert nothing_is_left(folder)


def test_server_finds_its_signals_as_they_were(run):
    """Nothing is blocked or ignored in it that was not so before. No shell: some unblock all."""
    masks = ("grep", "-E", "Sig(Blk|Ign)", "/proc/self/status")
    assert doctor(run, "-v", *masks).stderr == run(*masks).stdout


def test_locks_are_on_three_descriptors(run, folder):
    """Low, just below 1024, and above it: inherited, and nothing else is."""
    doctor(run, "bash", "-c", "ls /proc/$$/fd > numbers; echo $DROVER_LOCK_FD > lock")
    numbers = sorted(map(int, (folder / "numbers").read_text().split()))
    low, below, high = (number for number in numbers if 2 < number != 255)
    assert low < 20 and 1000 < below < 1024 < high
    assert (folder / "lock").read_text() == f"{high}\n"


def test_descriptors_of_socket_activation_are_left_alone(run, folder):
    doctor(run, "bash", "-c", "ls /proc/$$/fd > numbers", env={"LISTEN_FDS": "20"})
    numbers = {int(word) for word in (folder / "numbers").read_text().split()}
    assert not numbers & set(range(3, 23))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP])
def test_interrupted(start, folder, number):
    process = start("drover-doctor", "-p", "app.pid", "sh", "-c", "touch began; sleep 1000; true")
    eventually((folder / "began").exists, "the command to begin")
    (command,) = [pid for pid in children(process.pid) if command_name(pid) == "sh"]
    process.send_signal(number)
    assert process.wait(20) == 128 + number
    assert not alive(command)
    assert nothing_is_left(folder, "began")
