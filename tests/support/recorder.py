"""A server of one process that writes down every signal it gets.

    recorder.py RECORD PIDFILE [SIGNAL=ACTION]...

Writes its number to PIDFILE ("-": to none), then "ready" and the name of each signal to RECORD.
Actions: exitN          end with status N
         successor      fork a new master that keeps the lock; it writes PIDFILE and RECORD.2
         lockless       the same, but the new master has closed every inherited descriptor
         drop           close every descriptor above 2
"""

import os
import signal
import sys


def write_pidfile(path):
    if path == "-":
        return
    draft = path + ".draft"
    with open(draft, "w") as file:
        file.write(f"{os.getpid()}\n")
    os.rename(draft, path)


def note(record, line):
    fd = os.open(record, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    os.write(fd, line.encode() + b"\n")
    os.close(fd)


def name_of(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}"


def become_successor(record, pidfile, keep):
    if os.fork() != 0:
        return record
    if not keep:
        os.closerange(3, 4096)
    write_pidfile(pidfile)
    note(record + ".2", "ready")
    return record + ".2"


def serve(record, pidfile, actions):
    wanted = signal.valid_signals() - {signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
    write_pidfile(pidfile)
    note(record, "ready")
    while True:
        name = name_of(signal.sigwaitinfo(wanted).si_signo)
        note(record, name)
        action = actions.get(name, "")
        if action.startswith("exit"):
            os._exit(int(action[4:]))
        if action in ("successor", "lockless"):
            record = become_successor(record, pidfile, action == "successor")
        if action == "drop":
            os.closerange(3, 4096)


serve(sys.argv[1], sys.argv[2], dict(word.split("=", 1) for word in sys.argv[3:]))
