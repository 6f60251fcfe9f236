"""A machine's init in small: runs one command, reaps the orphans, ends as the command ends.

A server that has daemonized becomes init's child. Were its zombie not reaped, "kill -0" would call
it alive, and unicorn would refuse to start beside it.
"""

import ctypes
import os
import pathlib
import signal
import sys

PR_SET_CHILD_SUBREAPER = 36
PF_EXITING = 0x4


def become_subreaper():
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def exiting(pid):
    """Whether it is on its way out: zombies, too. It has let go of the lock by then, or soon will."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[6]) & PF_EXITING != 0


def reap_exiting():
    """Before init itself goes: a process in its last microseconds is none that was left behind."""
    for pid in pathlib.Path("/proc/thread-self/children").read_text().split():
        if exiting(pid):
            os.waitpid(int(pid), 0)


def main(command):
    become_subreaper()
    ignored_by_python = [signal.SIGPIPE, signal.SIGXFSZ]
    child = os.posix_spawnp(command[0], command, os.environ, setsigdef=ignored_by_python)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    while True:
        pid, status = os.wait()
        if pid == child:
            reap_exiting()
            return abs(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
