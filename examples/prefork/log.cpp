#include "examples/prefork/log.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>

#include "lib/cli/message.h"
#include "lib/os/error.h"
#include "lib/os/fd.h"

namespace drover::prefork {
namespace {

/// Standard error's own non-blocking mode would be that of everybody who has it open.
bool has_room() {
  pollfd output{STDERR_FILENO, POLLOUT, 0};
  return ::poll(&output, 1, 0) != 0;
}

}  // namespace

void log(std::string_view text) {
  if (cli::verbosity() != cli::Verbosity::quiet) complain(text);
}

void complain(std::string_view text) {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  tm parts{};
  ::gmtime_r(&now.tv_sec, &parts);
  char time[32];
  time[::strftime(time, sizeof time, "%FT%T", &parts)] = '\0';
  const std::string line =
      fmt::format("{}.{:03}Z [{}] {}\n", time, now.tv_nsec / 1'000'000, ::getpid(), text);
  if (has_room()) (void)!::write(STDERR_FILENO, line.data(), line.size());
}

void log_to(const std::string& path) {
  if (path.empty()) return;
  const os::Fd file = os::try_open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY, 0644);
  // dup2() swaps the file in one step: there is no moment without a log.
  if (!file || ::dup2(file.get(), STDERR_FILENO) < 0) throw Error(errno, "open log", path);
}

}  // namespace drover::prefork
