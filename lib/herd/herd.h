// The main process of a service under a supervisor: runs the server, reloads it, and stays.
#pragma once

#include <signal.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "lib/herd/company.h"
#include "lib/herd/dialect.h"
#include "lib/herd/notify.h"
#include "lib/herd/reload.h"
#include "lib/herd/voice.h"
#include "lib/os/process.h"

namespace drover::herd {

/// What becomes of a server that runs already.
enum class IfRunning { adopt, refuse, replace };
/// What becomes of the workers when only their master has died.
enum class Orphans { wait, term, kill };

struct HerdRequest {
  std::vector<std::string> command;
  std::string pidfile;  ///< empty for a server without one
  std::string lock;
  std::string control;               ///< the control socket; empty: none
  std::string trace;                 ///< where reloads are written as trace events; empty: nowhere
  const Dialect* dialect = nullptr;  ///< null: by the command, and then by the running master
  IfRunning if_running = IfRunning::adopt;
  Orphans orphans = Orphans::wait;
  ReloadOptions reload;
  std::chrono::nanoseconds boot_timeout = std::chrono::seconds(30);
  std::chrono::nanoseconds stop_timeout = std::chrono::seconds(60);
  int stop_signal = SIGTERM;             ///< what TERM becomes
  int first_free = 3;                    ///< see flock::HoldRequest
  std::string search_path;               ///< $PATH
  sigset_t mask{};                       ///< the signal mask that the server gets
  Supervisor supervisor;                 ///< who is told, by sd_notify(3)
  std::vector<std::string> environment;  ///< for --check and exec probes
  MakeCompany company;                   ///< empty: nobody lives beside the server
};

struct HerdResult {
  enum class End {
    stopped,      ///< as it was asked to
    died,         ///< the server ended by itself
    not_started,  ///< it did not come up; nothing of it is left
    refused,      ///< it runs already, or another herd has it
  } end = End::died;
  std::optional<os::ExitStatus> launcher;  ///< of the command, when it has ended
};

/// Blocks until the service has ended. Takes the whole process: its signals, its children (it
/// becomes a child subreaper), SIGCHLD. Killed with SIGKILL it leaves the server as it is, for the
/// next herd to adopt. Throws Error, os::ExecError.
HerdResult run(const HerdRequest& request, const Voice& voice);

}  // namespace drover::herd
