#include "lib/environ/protocol.h"

#include <algorithm>

namespace drover::environ {

bool matches_any(std::string_view name, const std::vector<std::string_view>& patterns) {
  return std::any_of(patterns.begin(), patterns.end(), [&](std::string_view pattern) {
    if (!pattern.ends_with('*')) return name == pattern;
    return name.starts_with(pattern.substr(0, pattern.size() - 1));
  });
}

bool is_protocol(std::string_view name) {
  static const std::vector<std::string_view> kNames = {
      "UNICORN_FD",
      "UNICORN_WORKER",
      "GUNICORN_FD",
      "GUNICORN_PID",
      "LISTEN_FDS",
      "LISTEN_PID",
      "LISTEN_FDNAMES",
      "PUMA_INHERIT_*",
      "EINHORN_*",
      "SERVER_STARTER_PORT",
      "SERVER_STARTER_GENERATION",
      "NOTIFY_SOCKET",
      "WATCHDOG_USEC",
      "WATCHDOG_PID",
      "MAINPID",
      "INVOCATION_ID",
      "JOURNAL_STREAM",
      "CREDENTIALS_DIRECTORY",
      "RUNTIME_DIRECTORY",
      "STATE_DIRECTORY",
      "DROVER_LOCK",
      "DROVER_LOCK_FD",
      "PREFORK_FD",
  };
  return matches_any(name, kNames);
}

}  // namespace drover::environ
