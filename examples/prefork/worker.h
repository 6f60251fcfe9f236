// A worker: accepts a connection, answers it, accepts the next. One request at a time.
#pragma once

#include <signal.h>

#include <vector>

#include "examples/prefork/faults.h"
#include "examples/prefork/heartbeats.h"
#include "examples/prefork/listener.h"
#include "examples/prefork/settings.h"
#include "examples/prefork/title.h"

namespace drover::prefork {

/// What the master hands over to each child.
struct WorkerSetup {
  int number;
  int generation;
  const Settings& settings;
  const Faults& faults;
  Title& title;
  Heartbeats& heartbeats;
  std::vector<Listener> listeners;  ///< the worker's own copies of the descriptors
  os::Fd lifeline;  ///< a pipe whose other end only the master has: end of file is its death
  os::Fd news;      ///< a pipe on which the worker writes its process number once it is up
};

/// Runs in a child that was forked with all of the master's signals blocked, until it is told to
/// leave and its connection is done. Of the signals, QUIT (leave) and USR1 (reopen the log) wait
/// for the end of the request in flight; TERM and INT end the process at once; all others stay
/// blocked. Throws Error.
void run_worker(WorkerSetup setup);

}  // namespace drover::prefork
