// A command of the user's that is run beside the loop: a probe, a check before a reload.
#pragma once

#include <asio/awaitable.hpp>
#include <asio/io_context.hpp>
#include <optional>
#include <string>
#include <vector>

#include "lib/os/children.h"

namespace drover::herd {

struct CommandResult {
  std::optional<os::ExitStatus> status;  ///< empty: it ran on until the deadline, and was killed
  std::string output;                    ///< the last 1024 bytes of what it wrote

  [[nodiscard]] bool passed() const { return status && status->wait_status == 0; }
  /// The last line of `output` that is not blank, fit to be shown: without control characters, at
  /// most 200 bytes.
  [[nodiscard]] std::string last_line() const;
};

/// Runs `/bin/sh -c COMMAND` with `environment` ("NAME=VALUE") and nothing else, as
/// os::spawn_apart says. At the deadline its process group is killed with SIGKILL, also when the
/// coroutine is destroyed before; what it leaves in the background when it ends by itself is let
/// be. Sleeps until it writes or ends. Throws Error when it cannot be started.
asio::awaitable<CommandResult> run_command(asio::io_context& io, os::Children& children,
                                           std::string command,
                                           std::vector<std::string> environment,
                                           os::Deadline deadline);

}  // namespace drover::herd
