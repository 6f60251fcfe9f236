"""drover's lock and wrapper, from inside a Python server. In gunicorn's configuration:

    import sys
    sys.path.insert(0, "/usr/share/drover")
    import drover
    pre_exec = drover.wrapper  # under drover-exec

    def on_starting(server):
        drover.hold(server.cfg.pidfile + ".lock")

What holds is a descriptor number: a file object would be closed when the hook returns.
"""

import contextlib
import fcntl
import os
import resource
import stat
import sys

_FIRST_HIGH = 1025  # out of reach of programs that close "all" descriptors up to a usual limit
_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NOCTTY | os.O_NONBLOCK


def hold(path=None):
    """Holds a shared lock on the file at `path` (default: $DROVER_LOCK) until this process and all
    that it forks and executes have ended; returns the descriptor's number. A lock that this process
    took before, or was born with (from drover-hold or the master before it), is not taken again.

    Makes the file with mode 0600; its folder must exist. Waits while somebody has it exclusively, as
    drover-wait does for an instant. Raises OSError, or ValueError for no path or no regular file.
    """
    path = path or os.environ.get("DROVER_LOCK")
    if not path:
        raise ValueError("drover.hold: no path, and DROVER_LOCK is not set")
    if os.path.basename(path) in (".lock", "None.lock"):
        raise ValueError(f"drover.hold: '{path}' has no name: is the server's pidfile set?")
    held = [fd for fd in map(int, os.listdir("/proc/self/fd")) if _holding(fd, path)]
    return held[0] if held else _take(path)


def wrapper(server):
    """For gunicorn's pre_exec: USR2 executes drover-exec's wrapper again, if one started this."""
    if path := os.environ.get("DROVER_WRAPPER"):
        server.START_CTX.update({0: path, "args": [path, *sys.argv[1:]]})


def _holding(fd, path):
    """Whether the descriptor is of the file at `path`, has the lock and will be inherited."""
    with contextlib.suppress(OSError):  # it was closed meanwhile
        if _at(path, fd) and os.get_inheritable(fd):
            with open(f"/proc/self/fdinfo/{fd}") as info:
                return "FLOCK" in info.read()
    return False


def _at(path, fd):
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(fd), os.stat(path))
    return False


def _take(path):
    while True:
        fd = _open_lock_file(path)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ValueError(f"drover.hold: '{path}' is not a regular file")
            fcntl.flock(fd, fcntl.LOCK_SH)
            if _at(path, fd):  # else it was replaced meanwhile
                return _keep(fd)
        finally:
            os.close(fd)


def _open_lock_file(path):
    # First without O_CREAT: in a sticky folder fs.protected_regular forbids it, even to root.
    while True:
        with contextlib.suppress(FileNotFoundError):
            return os.open(path, _LOOK)
        with contextlib.suppress(FileExistsError):  # somebody was faster
            fd = os.open(path, _LOOK | os.O_CREAT | os.O_EXCL, 0o600)
            os.fchmod(fd, 0o600)
            return fd


def _keep(fd):
    """A high duplicate, if the hard limit allows one, that is inherited."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        copy = fcntl.fcntl(fd, fcntl.F_DUPFD, _FIRST_HIGH)
    except (OSError, ValueError):
        copy = fcntl.fcntl(fd, fcntl.F_DUPFD, 3)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with contextlib.suppress(OSError):
        os.utime(copy)  # shows watchers the arrival
    return copy
