#include "lib/control/folder_lock.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <chrono>

#include "lib/os/signals.h"

namespace drover::control {
namespace {

constexpr auto kPatience = std::chrono::seconds(1);

}  // namespace

os::Fd lock_folder(const std::string& folder) {
  using Clock = std::chrono::steady_clock;
  os::Fd locked = os::try_open(folder, O_RDONLY | O_DIRECTORY);
  const auto deadline = Clock::now() + kPatience;
  const os::Interrupter limit(deadline);
  while (locked && ::flock(locked.get(), LOCK_EX) != 0)
    if (errno != EINTR || Clock::now() >= deadline) return {};
  return locked;
}

}  // namespace drover::control
