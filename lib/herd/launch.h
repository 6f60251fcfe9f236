// Starting a server so that drover can follow it: the lock in its descriptors, a session of its
// own.
#pragma once

#include <signal.h>

#include <string>
#include <vector>

#include "lib/flock/hold.h"
#include "lib/herd/dialect.h"

namespace drover::herd {

struct LaunchRequest {
  std::vector<std::string> command;
  std::string lock;
  int first_free = 3;       ///< see flock::HoldRequest
  std::string notify = {};  ///< what NOTIFY_SOCKET becomes; empty: it is removed
  sigset_t mask{};          ///< the signal mask of the caller's parent
  int output = -1;          ///< the server's standard output; -1: ours
  int errors = -1;
};

struct Launched {
  pid_t pid = 0;
  std::vector<std::string> warnings;
};

/// Starts the command as a child that holds the lock, on a high descriptor, and leads a session of
/// its own: no signal of ours or of our terminal reaches it by itself. Blocks until it was
/// executed. Throws Error, os::ExecError; EAGAIN when somebody has the lock exclusively.
Launched launch(const LaunchRequest& request);

/// What the dialect asks for in a command that will be hot-reloaded: nginx executes argv[0] anew,
/// and without a search through PATH. Returns the command to run. Throws Error when it cannot work.
std::vector<std::string> prepare_command(std::vector<std::string> command, const Dialect& dialect,
                                         const std::string& search_path);

}  // namespace drover::herd
