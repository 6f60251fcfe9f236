// A server is started only to see what becomes of its locks, its folder and its environment in a
// hot reload, and stopped again.
#pragma once

#include <signal.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "lib/herd/check.h"
#include "lib/herd/dialect.h"

namespace drover::herd {

struct CheckupRequest {
  std::vector<std::string> command;
  std::string pidfile;               ///< absolute
  const Dialect* dialect = nullptr;  ///< null: by the command, and then by the running master
  std::chrono::nanoseconds boot_timeout = std::chrono::seconds(30);
  std::chrono::nanoseconds ready_timeout = std::chrono::seconds(60);
  int first_free = 3;        ///< see flock::HoldRequest
  std::string search_path;   ///< $PATH
  std::string pwd;           ///< $PWD
  std::string scratch;       ///< the folder for temporary files
  sigset_t mask{};           ///< the signal mask that the server gets
  bool show_output = false;  ///< what the server writes goes to our standard error, else nowhere
};

struct CheckupReport {
  std::string server;  ///< the dialect's name
  std::vector<Check> checks;
  int interrupted_by = 0;  ///< the signal that ended the run before its time

  [[nodiscard]] bool has_findings() const;
};

/// How it can be seen that the service runs: PIDFILE.lock is held, or PIDFILE names a living
/// process. Empty when it does not run. Throws Error.
std::string sign_of_life(const std::string& pidfile);

/// For a service that does not run. Starts the command, reloads it once and stops it; blocks until
/// every process of it has ended and what was made for the run is removed. Takes the whole process:
/// its signals, its children (it becomes a child subreaper). Throws Error, os::ExecError.
CheckupReport check_up(const CheckupRequest& request);

}  // namespace drover::herd
