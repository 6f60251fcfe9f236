// Starting a companion: the child itself waits for the lock, so the manager never blocks, and a
// manager that is killed takes its waiters with it.
#pragma once

#include <sys/types.h>

#include <string>

#include "lib/companions/spec.h"
#include "lib/os/fd.h"

namespace drover::companions {

struct LaunchRequest {
  const Spec& spec;
  int lock = -1;    ///< the open lock file; -1 for none
  int output = -1;  ///< its standard output; -1: ours
  int errors = -1;
  int ready = -1;           ///< what becomes Spec::ready_fd; -1 for none
  std::string notify = {};  ///< its NOTIFY_SOCKET; empty for none
};

struct Launched {
  pid_t pid = 0;
  os::Fd progress;  ///< non-blocking: for read_progress()
};

/// Forks a child that leads a session of its own and dies by SIGKILL with this thread. It blocks
/// until it has the lock exclusively, and executes the command then: with nothing open but 0, 1, 2,
/// the lock (unless Holding::main) and the ready descriptor, no signal blocked or ignored; from
/// then on it gets the stop signal when this thread ends. Does not block. Throws Error when the
/// system has no room for a process. The caller reaps it.
Launched launch(const LaunchRequest& request);

/// How far the child has come.
struct Progress {
  enum class Kind {
    nothing,   ///< no news
    locked,    ///< it has the lock
    executed,  ///< it is the command by now, or it has died
    replaced,  ///< the lock's path names another file by now: it is ending
    failed,    ///< it is ending: see `tried`
  };
  Kind kind = Kind::nothing;
  std::string tried;  ///< "enter '/srv/app'": completes "cannot ..."
  int err = 0;
};

/// The next piece of news. Does not block.
Progress read_progress(int progress, const Spec& spec);

}  // namespace drover::companions
