// Starting commands: becoming one, or running one as a child.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "lib/os/clock.h"
#include "lib/os/error.h"
#include "lib/os/process.h"

namespace drover::os {

/// The command could not be executed; err() is execve's errno.
class ExecError : public Error {
 public:
  ExecError(int err, const std::string& command, std::string hint = {})
      : Error(err, "run", command, std::move(hint)) {}
  /// With a reason in place of the system's text.
  static ExecError because(int err, const std::string& command, std::string_view reason) {
    return ExecError(Error::because(err, "run", command, reason));
  }

 private:
  explicit ExecError(const Error& error) : Error(error) {}
};

/// Becomes the command, found in PATH as the shell finds it: same pid, descriptors, signal mask and
/// dispositions. Returns only by throwing ExecError.
[[noreturn]] void exec_command(const std::vector<std::string>& command);

/// Exactly what execve(2) takes: nothing is looked up, nothing added.
struct Execution {
  std::string program;
  std::vector<std::string> arguments;    ///< with argv[0]
  std::vector<std::string> environment;  ///< "NAME=VALUE"
};
/// Becomes the program. Returns only by throwing ExecError.
[[noreturn]] void execute(const Execution& execution);

struct Trial {
  std::optional<ExitStatus>
      status;          ///< empty when it had not ended at the deadline, and was killed
  std::string errors;  ///< the beginning of what it wrote
};
/// Runs it as a child, with /dev/null as its input, that dies with its parent. Blocks. Throws
/// ExecError when it cannot be executed, Error when the system has no room for a process.
Trial try_out(const Execution& execution, Deadline deadline);

/// Starts the program as a child in a process group of its own, whose number is the pid that is
/// returned: /dev/null is its input, `output` its output and its errors, no signal is blocked or
/// ignored, and it is killed when the calling thread ends. Blocks until it was executed. Throws
/// ExecError when it could not be, Error when the system has no room for a process. The caller
/// reaps it.
pid_t spawn_apart(const Execution& execution, int output);

/// For a child between fork and exec: no signal is ignored or blocked any more. Async-signal-safe.
void reset_signals() noexcept;

/// In what a child differs from this process.
struct ChildSetup {
  sigset_t mask{};           ///< its signal mask
  bool new_session = false;  ///< setsid(2): no signal of our process group or terminal reaches it
  int output = -1;           ///< becomes its standard output; -1: ours
  int errors = -1;           ///< becomes its standard error
  std::vector<std::string> environment = {};  ///< "NAME=VALUE" to set, "NAME" to remove
};

/// Starts the command as a child; LISTEN_PID and WATCHDOG_PID that name this process name the child
/// there (sd_listen_fds(3), sd_watchdog_enabled(3)). Blocks until it was executed. Throws ExecError
/// when it could not be, Error when the system has no room for a process.
pid_t spawn(const std::vector<std::string>& command, const ChildSetup& setup);

}  // namespace drover::os
