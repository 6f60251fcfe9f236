"""Process 1 of a pid namespace that sees the /proc of the one above: a guard and a stranger.

    foreign_proc.py FOLDER GUARD STRANGER

Above, process GUARD has a child STRANGER; here these are the numbers of two that have nothing to do
with each other.
"""

import os
import pathlib
import signal
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from support.processes import eventually  # noqa: E402

FOLDER = pathlib.Path(sys.argv[1])
RECORDER = [sys.executable, "-I", "-S", pathlib.Path(__file__).with_name("recorder.py")]
SCRIPT = "echo $$ >command; setsid -f sh -c 'echo $$ >daemon; exec sleep 1000'; exit 4"
MARK = signal.SIGRTMIN + 5


def text(name):
    path = FOLDER / name
    return path.read_text() if path.exists() else ""


def number_in(name):
    return int(eventually(lambda: text(name).endswith("\n") and text(name), name))


def exists(pid):
    """Not by /proc, which has other numbers."""
    try:
        os.kill(pid, 0)
        return True
    except ProcessLookupError:
        return False


def start_as(number, *command):
    for _ in range(100):
        pathlib.Path("/proc/sys/kernel/ns_last_pid").write_text(str(number - 1))
        process = subprocess.Popen(command, cwd=FOLDER)
        if process.pid == number:
            return process
        process.kill()
        process.wait()
    raise SystemExit(f"process {number} could not be made")


def main():
    guard = start_as(int(sys.argv[2]), "drover-hold", "--guard", "a.lock", "sh", "-c", SCRIPT)
    command, daemon = number_in("command"), number_in("daemon")
    eventually(lambda: not exists(command), "the command to be gone")
    stranger = start_as(int(sys.argv[3]), *RECORDER, "stranger.record", "-")
    eventually(lambda: "ready" in text("stranger.record"), "the stranger to be ready")
    guard.send_signal(signal.SIGUSR1)
    os.kill(daemon, signal.SIGKILL)
    assert guard.wait() == 4
    stranger.send_signal(MARK)
    eventually(lambda: "SIGRTMIN+5" in text("stranger.record"), "the mark")
    print(*text("stranger.record").split())


main()
