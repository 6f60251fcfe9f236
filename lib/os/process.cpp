#include "lib/os/process.h"

#include <fmt/core.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "lib/os/error.h"
#include "lib/os/signals.h"

namespace drover::os {
namespace {

// Debian 12's headers are older than these interfaces: linux/pidfd.h of Linux 6.15, first 64 bytes.
struct PidfdInfo {
  uint64_t mask;
  uint64_t cgroup_id;
  uint32_t pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
  int32_t exit_code;
};
static_assert(sizeof(PidfdInfo) == 64);
constexpr uint64_t kInfoExit = 1U << 3;
constexpr unsigned long kGetInfo = _IOWR(0xFF, 11, PidfdInfo);

int poll_fd(int fd, short events, int timeout) noexcept {
  pollfd entry{fd, events, 0};
  const int count = ::poll(&entry, 1, timeout);
  return count <= 0 ? count : entry.revents;
}

}  // namespace

std::string ExitStatus::describe() const {
  if (WIFEXITED(wait_status)) return fmt::format("exited with status {}", WEXITSTATUS(wait_status));
  return fmt::format("was killed by {}{}", signal_name(WTERMSIG(wait_status)),
                     WCOREDUMP(wait_status) ? " (core dumped)" : "");
}

int ExitStatus::shell_code() const noexcept {
  return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
}

std::optional<Process> Process::open(pid_t pid) noexcept {
  if (pid <= 0) {
    errno = EINVAL;
    return std::nullopt;
  }
  Fd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!fd) return std::nullopt;
  return Process(pid, std::move(fd));
}

bool Process::alive() const noexcept {
  int events;
  do {
    events = poll_fd(fd_.get(), POLLIN, 0);
  } while (events < 0 && errno == EINTR);
  return events == 0;
}

bool Process::signal(int number) const {
  if (::syscall(SYS_pidfd_send_signal, fd_.get(), number, nullptr, 0) == 0) return true;
  if (errno == ESRCH) return false;
  throw Error(errno, fmt::format("send {} to process", signal_name(number)), std::to_string(pid_));
}

bool Process::may_signal() const noexcept {
  return ::syscall(SYS_pidfd_send_signal, fd_.get(), 0, nullptr, 0) == 0 || errno != EPERM;
}

bool Process::wait_dead(Deadline deadline) const {
  for (;;) {
    const int events = poll_fd(fd_.get(), POLLIN, poll_timeout(deadline));
    if (events > 0) return true;
    if (events == 0) return false;
    if (errno != EINTR) throw Error(errno, "wait for process", std::to_string(pid_));
  }
}

std::optional<ExitStatus> Process::exit_status(Deadline deadline) const {
  for (;;) {
    PidfdInfo info{};
    info.mask = kInfoExit;
    const bool told = ::ioctl(fd_.get(), kGetInfo, &info) == 0;
    if (told && (info.mask & kInfoExit) != 0) return ExitStatus{info.exit_code};
    if (!told && errno != ESRCH) return std::nullopt;  // an older kernel
    // POLLHUP, without being asked for, tells that the process was reaped (Linux 6.9).
    const int events = poll_fd(fd_.get(), 0, poll_timeout(deadline));
    if (events == 0 || (events < 0 && errno != EINTR)) return std::nullopt;
  }
}

}  // namespace drover::os
