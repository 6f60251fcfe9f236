#include "lib/flock/departure.h"

#include <fmt/core.h>
#include <unistd.h>

#include <array>
#include <chrono>

#include "lib/flock/holders.h"
#include "lib/os/process.h"
#include "lib/os/procfs.h"

namespace drover::flock {
namespace {

// A lock higher than this is not looked at closely: it counts as above the sockets.
constexpr int kLow = 32;
constexpr auto kLimit = std::chrono::seconds(1);

/// Whether descriptor `fd` of `pid` could be, or could become, a listening socket: it is one, or it
/// is free. Standard output and error are left out: under systemd they are the journal's sockets.
bool may_listen(pid_t pid, int fd) {
  std::array<char, 64> target{};
  const ssize_t size =
      ::readlink(fmt::format("/proc/{}/fd/{}", pid, fd).c_str(), target.data(), target.size());
  if (size < 0) return true;
  if (fd == 1 || fd == 2) return false;
  return std::string_view(target.data(), static_cast<size_t>(size)).starts_with("socket:");
}

/// Whether this process gives up every socket before the lock. Duplicates of one description are
/// released with the last, that is the highest, of them.
bool keeps_lock_below_sockets(pid_t pid, const Opened& opened) {
  const int highest = opened.fds.back().fd;
  if (highest > kLow) return false;
  for (int fd = 0; fd < highest; ++fd)
    if (may_listen(pid, fd)) return false;
  return true;
}

/// A process gives up its memory, and with it this link, before its files: whoever still shows it
/// has not got that far. One system call for most processes of the machine.
bool has_memory(pid_t pid) {
  std::array<char, 1> target{};
  return ::readlink(fmt::format("/proc/{}/exe", pid).c_str(), target.data(), target.size()) > 0;
}

/// Closing files is work. What sleeps on its way out is the first process of a pid namespace, long
/// without files, which waits for whoever has yet to be reaped there: perhaps for ever.
bool is_busy(const os::ProcessStat& stat) { return stat.state != 'S'; }

bool still_closing_files(pid_t pid) {
  if (has_memory(pid)) return false;
  const auto stat = os::read_stat(pid);
  if (!stat || !stat->exiting()) return false;
  if (!stat->zombie()) return is_busy(*stat);
  // The main thread is done; its files live on until the last of the others is.
  if (stat->threads < 2) return false;
  for (const pid_t thread : os::threads_of(pid)) {
    const auto other =
        os::parse_stat(os::read_proc(fmt::format("/proc/{}/task/{}/stat", pid, thread)));
    if (other && other->exiting() && !other->zombie() && is_busy(*other)) return true;
  }
  return false;
}

}  // namespace

Departure::Departure(const LockFile& file) : touched_(file.touched()) {
  bool anybody = false;
  bool all_low = true;
  visit_openers({&file.id(), 1}, Whom::others, [&](pid_t pid, const Opened& opened) {
    if (!opened.holding()) return;
    anybody = true;
    all_low = all_low && keeps_lock_below_sockets(pid, opened);
  });
  sockets_go_first_ = anybody && all_low;
}

void Departure::settle(const LockFile& file) const {
  const timespec now = file.touched();
  const bool nobody_new = now.tv_sec == touched_.tv_sec && now.tv_nsec == touched_.tv_nsec;
  if (sockets_go_first_ && nobody_new) return;
  wait_for_exiting_processes(std::chrono::steady_clock::now() + kLimit);
}

void wait_for_exiting_processes(os::Deadline deadline) {
  for (const pid_t pid : os::all_processes()) {
    if (!still_closing_files(pid)) continue;
    const auto process = os::Process::open(pid);
    // Between the look and the pidfd the number may have passed to a newcomer.
    if (process && still_closing_files(pid) && !process->wait_dead(deadline)) return;
  }
}

}  // namespace drover::flock
