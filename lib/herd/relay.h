// The main process of a service under a supervisor: waits for the end of the service, and passes
// signals to its true master on the way.
#pragma once

#include <signal.h>

#include "lib/flock/watch.h"

namespace drover::herd {

struct RelayRequest {
  flock::WaitRequest wait;  ///< with one path
  std::string pidfile;
  int stop_signal = SIGTERM;  ///< what TERM becomes
  bool winch = false;         ///< pass WINCH on, too: a terminal sends it for every resize
};

struct RelayResult {
  flock::WaitResult wait;
  int stopped_by = 0;  ///< a stop signal that came before the first holder
};

/// Blocks until the service has ended: until nobody holds the lock *and* no verified master lives.
/// A master without the lock means that its reload dropped the descriptor: says so, names the cure,
/// and goes on by the pidfd.
///
/// Takes, and leaves blocked, TERM INT QUIT HUP USR1 USR2 TTIN TTOU IO for the whole process and
/// sends each to the current master; TERM, INT and QUIT also to an older master that still lives,
/// as a reload may be under way, and to one that comes later. What cannot be passed on is a
/// warning, and the wait goes on. Never signals a process that did not pass lib/herd/masters.h. At
/// the end says how the master ended, where the kernel tells. Throws Error, ENOPKG where /proc is
/// that of another pid namespace (os::proc_is_ours).
RelayResult wait_and_relay(const RelayRequest& request, const flock::Notice& notice,
                           const flock::Notice& warning);

}  // namespace drover::herd
