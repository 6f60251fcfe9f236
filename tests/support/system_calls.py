"""In which ways system calls can fail, for strace(1) to make them."""

from support.flocks import IN_SANITIZER_BUILD

FAULTS = {
    "clone": ("EAGAIN",),
    "clone3": ("EAGAIN", "ENOSYS"),
    "epoll_create1": ("EMFILE",),
    "epoll_ctl": ("ENOSPC",),
    "epoll_wait": ("EINTR",),
    "eventfd2": ("EMFILE",),
    "execve": ("ENOMEM", "E2BIG", "EACCES"),
    "fchmod": ("EPERM",),
    "fchown": ("EPERM",),
    "fcntl": ("EMFILE", "EINVAL"),
    "flock": ("EINTR", "ENOLCK", "EIO", "EBADF"),
    "fstatfs": ("EIO",),
    "getcwd": ("ENOENT", "ERANGE"),
    "getdents64": ("EIO", "ENOENT"),
    "inotify_add_watch": ("ENOSPC", "EACCES"),
    "inotify_init1": ("EMFILE",),
    "ioctl": ("ENOTTY", "EINVAL"),
    "kcmp": ("EPERM", "ENOSYS"),
    "lseek": ("ESPIPE",),
    "madvise": ("EINVAL",),
    "mmap": ("ENOMEM",),
    "mprotect": ("ENOMEM",),
    "munmap": ("EINVAL",),
    "newfstatat": ("EIO",),
    "openat": ("EMFILE", "EIO", "EACCES", "EINTR"),
    "pidfd_open": ("EMFILE", "ENOSYS"),
    "pidfd_send_signal": ("EPERM", "ESRCH"),
    "pipe2": ("EMFILE",),
    "poll": ("EINTR", "ENOMEM"),
    "prctl": ("EINVAL",),
    "pread64": ("EIO",),
    "prlimit64": ("EPERM",),
    "read": ("EINTR", "EIO"),
    "readlink": ("EACCES",),
    "rename": ("EACCES",),
    "rt_sigaction": ("EINVAL",),
    "rt_sigtimedwait": ("EINTR", "EAGAIN"),
    "signalfd4": ("EMFILE", "ENOSYS"),
    "statx": ("EACCES", "EIO"),
    "timer_create": ("EAGAIN",),
    "timer_delete": ("EINVAL",),
    "timer_settime": ("EINVAL",),
    "timerfd_create": ("EMFILE",),
    "timerfd_settime": ("EINVAL",),
    "unlink": ("EROFS",),
    "utimensat": ("EPERM", "EROFS"),
    "wait4": ("EINTR",),
    "write": ("EINTR", "ENOSPC"),
}
# The first places that are ours: libc calls mprotect(2) before main(), Asio does not look at what
# becomes of its first two calls of epoll_ctl(2) and of FIONBIO, before the ioctl(2) for an exit status.
FIRST = {"mprotect": 2, "epoll_ctl": 3, "ioctl": 3}
# strace(1) answers for close(2) without closing; brk(2) fails in another way, the others cannot fail.
NOT_TRIED = {"close", "brk", "exit", "exit_group", "getpid", "gettid", "rt_sigprocmask", "rt_sigreturn"}
# libc's own, before main() or at the start of a thread; it aborts when futex(2) fails.
NOT_TRIED |= {"arch_prctl", "futex", "getrandom", "rseq", "rt_sigpending", "set_robust_list", "set_tid_address"}
# A sanitizer's own run-time makes these, and does not survive the failure of some.
ITS_OWN = {"mmap", "madvise", "mprotect", "munmap", "rt_sigaction", "prlimit64", "clone", "clone3", "pipe2"}
ITS_OWN |= {"access", "clock_gettime", "open", "readlink", "sched_getaffinity", "sigaltstack", "write"}
if IN_SANITIZER_BUILD:
    NOT_TRIED |= ITS_OWN


def wrong_form(program, err):
    """What is wrong with what a program said: each line is its own, and none blames itself."""
    if not all(line.startswith(f"{program}: ") for line in err.splitlines()):
        yield f"another form: {err!r}"
    if "please report" in err:
        yield f"called it a bug of its own: {err!r}"
