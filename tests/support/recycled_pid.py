"""In a pid namespace of its own: gives the number of a dead master to a stranger, on purpose.

    recycled_pid.py FOLDER known|unknown

"known": the relay has passed a signal to the master before.
"""

import os
import pathlib
import signal
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from support.processes import alive, eventually, in_flock  # noqa: E402

FOLDER = pathlib.Path(sys.argv[1])
PIDFILE = FOLDER / "app.pid"
RECORDER = [sys.executable, "-I", "-S", pathlib.Path(__file__).with_name("recorder.py")]
MARK = signal.SIGRTMIN + 5


def record(name):
    path = FOLDER / f"{name}.record"
    return path.read_text().split() if path.exists() else []


def start(name, pidfile, *launcher):
    process = subprocess.Popen([*launcher, *RECORDER, FOLDER / f"{name}.record", pidfile])
    eventually(lambda: "ready" in record(name), f"{name} to be ready")
    return process


def start_stranger_as(number):
    for _ in range(100):
        pathlib.Path("/proc/sys/kernel/ns_last_pid").write_text(str(number - 1))
        stranger = subprocess.Popen([*RECORDER, FOLDER / "stranger.record", "-"])
        if stranger.pid == number:
            eventually(lambda: "ready" in record("stranger"), "the stranger to be ready")
            return stranger
        stranger.kill()
        stranger.wait()
        (FOLDER / "stranger.record").unlink(missing_ok=True)
    raise SystemExit(f"process {number} could not be made")


def main():
    hold = ("drover-hold", "--pidfile", PIDFILE)
    worker = start("worker", "-", *hold)
    master = start("master", PIDFILE, *hold)
    if sys.argv[2] == "unknown":
        master.kill()
        master.wait()
        stranger = start_stranger_as(master.pid)
    relay = subprocess.Popen(["drover-wait", "--relay", PIDFILE], stderr=subprocess.PIPE, text=True)
    eventually(lambda: in_flock(relay.pid), "the relay")
    if sys.argv[2] == "known":
        relay.send_signal(signal.SIGHUP)
        eventually(lambda: "SIGHUP" in record("master"), "the master to get its signal")
        relay.stderr.readline()
        master.kill()
        master.wait()
        stranger = start_stranger_as(master.pid)
    assert int(PIDFILE.read_text()) == stranger.pid
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2):
        relay.send_signal(number)
        line = relay.stderr.readline()
        if "is gone; processes that still hold" in line:
            line = relay.stderr.readline()
        assert f"cannot relay {number.name}" in line, line
    os.kill(stranger.pid, MARK)
    eventually(lambda: record("stranger")[-1] == "SIGRTMIN+5", "the mark")
    assert record("stranger") == ["ready", "SIGRTMIN+5"], record("stranger")
    assert record("worker") == ["ready"] and alive(relay.pid)
    for process in (worker, stranger):
        process.kill()
    assert relay.wait() == 0
    print("the stranger got nothing")


main()
