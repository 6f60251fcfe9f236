#include "lib/herd/launch.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "lib/os/error.h"
#include "lib/os/spawn.h"

namespace drover::herd {
namespace {

/// How execvp(3) finds a program. As it is when it is nowhere.
std::string found_in(const std::string& search_path, const std::string& program) {
  for (size_t at = 0; at <= search_path.size();) {
    const size_t colon = std::min(search_path.find(':', at), search_path.size());
    const std::string folder = search_path.substr(at, colon - at);
    const std::string candidate = (folder.empty() ? "." : folder) + "/" + program;
    if (::access(candidate.c_str(), X_OK) == 0) return os::absolute(candidate);
    at = colon + 1;
  }
  return program;
}

}  // namespace

Launched launch(const LaunchRequest& request) {
  flock::Hold hold = flock::hold({.path = request.lock,
                                  .patience = flock::Patience::none(),
                                  .first_free = request.first_free});
  if (hold.acquired != flock::Acquired::yes)
    throw Error::because(EAGAIN, "lock", request.lock, "another process has it exclusively");
  os::ChildSetup setup{.mask = request.mask,
                       .new_session = true,
                       .output = request.output,
                       .errors = request.errors,
                       .environment = {"WATCHDOG_USEC", "WATCHDOG_PID", "DROVER_LOCK=" + hold.path,
                                       fmt::format("DROVER_LOCK_FD={}", hold.fd.get())}};
  setup.environment.push_back(request.notify.empty() ? "NOTIFY_SOCKET"
                                                     : "NOTIFY_SOCKET=" + request.notify);
  return {os::spawn(request.command, setup), std::move(hold.warnings)};
}

std::vector<std::string> prepare_command(std::vector<std::string> command, const Dialect& dialect,
                                         const std::string& search_path) {
  if (!dialect.daemon_by_path || recognize({command.at(0)}) != &dialect) return command;
  for (const std::string& word : command)
    if (word.find("daemon off") != std::string::npos)
      throw Error::because(ENOPKG, "hot-reload", command[0],
                           fmt::format("{} ignores USR2 unless it is a daemon", dialect.name),
                           "leave 'daemon off' out: drover-herd stays in the foreground for it");
  if (command[0].find('/') == std::string::npos) {
    command[0] = found_in(search_path, command[0]);
  } else {
    command[0] = os::absolute(command[0]);
  }
  return command;
}

}  // namespace drover::herd
