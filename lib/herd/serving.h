// Whether a worker has finished booting. A worker of unicorn or gunicorn without preloading is a
// living child of its master long before it has loaded the application: one that hangs in an
// import, or will raise after three seconds, looks the same from outside. But only one that has
// loaded it waits for connections, and the kernel shows who does.
#pragma once

#include <sys/types.h>

namespace drover::herd {

enum class Serving {
  yes,
  not_yet,
  unknown,  ///< the kernel does not let us look: another evidence must do
};

/// yes: a thread of the process is blocked in accept, or in poll, select or epoll_wait on a set
/// with a *listening* socket in it; or the process has a connection open that came in at a
/// listening socket which it has open as well, as under load it may never be seen waiting. That is
/// of the moment: a worker once seen to serve need not be asked again, and a busy one may need some
/// looks.
///
/// With `master`, the process that handed the sockets down, only listening sockets that it has open
/// too are counted, and no connection that it has: an application may listen on a port of its own
/// while it loads (a debugger that waits for its client, metrics). 0 where the master keeps none.
///
/// not_yet: none of that, also when the process is gone or a zombie. unknown: another user's
/// process without CAP_SYS_PTRACE, Yama's ptrace_scope above 1 (with 1 an ancestor may look), /proc
/// mounted with hidepid or of another pid namespace, no /proc/PID/syscall (gVisor), a thread in
/// io_uring.
///
/// Never blocks, stops or wakes the process, keeps nothing of it. 40 to 60 system calls and as many
/// microseconds for a worker with 20 descriptors: for every 20 ms while a reload is under way, not
/// for a loop without end. Throws Error when the system is out of descriptors.
///
/// Seen on Linux 6.18, x86_64, by tests/servers/test_serving.py; every look at an idle worker said
/// yes, as did some of 30 looks under load (wrk, 4 connections):
///
///   unicorn 6.0.0           yes   pselect6
///   gunicorn 20.1.0 sync    yes   pselect6; gthread: epoll_wait, woken each second
///   puma 5.6.5 cluster      yes   pselect6 in one of its threads
///   nginx 1.22.1            yes   epoll_wait; with accept_mutex on, only the worker that has the
///   mutex haproxy 2.6.12 -W       yes   epoll_wait; without `master`, which does not keep the
///   sockets php-fpm 8.2             yes   accept uWSGI 2.0.21            yes   epoll_wait; with
///   thunder-lock, only the worker that has the lock
///
/// and a unicorn or gunicorn worker whose application never comes back from its load never did:
/// sleep, connect, flock, waitpid, select on a pipe, accept on a port of its own.
///
/// Servers whose workers are handed connections by their master (node's cluster) are never seen to
/// serve.
Serving look_whether_serving(pid_t pid, pid_t master = 0);

}  // namespace drover::herd
