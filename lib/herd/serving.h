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
/// io_uring; `master` is gone; this process is out of descriptors.
///
/// Never blocks, stops or wakes the process, keeps nothing of it, throws nothing. 33 microseconds
/// for a worker of unicorn (9 descriptors, 1 thread), 63 for one of puma (16 and 8).
///
/// Seen on Linux 6.18, x86_64, by tests/servers/test_serving.py. Every look at an idle worker said
/// yes; of 60 looks under load (wrk, 4 connections) as many as stands here:
///
///   unicorn 6.0.0               33   pselect6
///   gunicorn 20.1.0 sync        26   pselect6
///   gunicorn 20.1.0 gthread     60   epoll_wait, woken each second
///   puma 5.6.5 cluster          60   pselect6, in one of its threads
///   nginx 1.22.1                60   epoll_wait; with accept_mutex only the worker that has it
///   haproxy 2.6.12 -W           60   epoll_wait; its master keeps no socket
///   uWSGI 2.0.21                43   epoll_wait; with thunder-lock only the worker that has it
///   php-fpm 8.2                      accept; not seen under load
///
/// A worker of unicorn, gunicorn, puma or uWSGI (lazy-apps) whose application never comes back from
/// its load never served, be it in sleep, connect, flock, waitpid, select on a pipe, or in accept
/// on a port of its own.
///
/// Servers whose workers are handed connections by their master (node's cluster) are never seen to
/// serve.
Serving look_whether_serving(pid_t pid, pid_t master = 0);

}  // namespace drover::herd
