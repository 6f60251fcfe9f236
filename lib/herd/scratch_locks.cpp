#include "lib/herd/scratch_locks.h"

#include <fmt/core.h>
#include <sys/resource.h>

#include <algorithm>
#include <limits>

#include "lib/flock/hold.h"
#include "lib/flock/holders.h"
#include "lib/os/process.h"

namespace drover::herd {
namespace {

constexpr int kLastLow = 1023;
constexpr int kFirstHigh = 1025;  // unicorn closes 1024, too

/// Empty when there is none.
int free_descriptor(int first, int last) {
  for (int number = first; first <= last ? number <= last : number >= last;
       number += first <= last ? 1 : -1)
    if (!os::is_open(number)) return number;
  return -1;
}

}  // namespace

int most_descriptors() {
  rlimit limit{};
  constexpr rlim_t kMost = std::numeric_limits<int>::max();
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return kFirstHigh + 1;
  return static_cast<int>(std::min(limit.rlim_max, kMost));
}

ScratchLocks::ScratchLocks(const std::string& folder, int first_free) {
  const int most = most_descriptors();
  take(folder, "low", free_descriptor(first_free, kLastLow));
  take(folder, "below-1024", free_descriptor(std::min(kLastLow, most - 1), first_free));
  if (most > kFirstHigh) take(folder, "high", free_descriptor(kFirstHigh, most - 1));
}

void ScratchLocks::take(const std::string& folder, const char* name, int number) {
  if (number < 0) return;
  flock::Hold hold =
      flock::hold({.path = fmt::format("{}/{}.lock", folder, name),
                   .patience = flock::Patience::none(),
                   .placement = {.kind = flock::Placement::Kind::exactly, .number = number}});
  locks_.push_back(
      {name, hold.fd.get(), hold.path, os::id_of(os::stat_of(hold.fd.get(), hold.path))});
  descriptors_.push_back(std::move(hold.fd));
}

std::vector<Held> ScratchLocks::look(pid_t master, const std::vector<pid_t>& workers) const {
  std::vector<os::FileId> files;
  for (const Lock& lock : locks_)
    files.push_back(lock.file);
  std::sort(files.begin(), files.end());
  std::vector<Held> held(locks_.size());

  const auto visit = [&](pid_t pid, const auto& tell) {
    const auto process = os::Process::open(pid);
    const flock::Opened opened = flock::look_at(pid, files);
    // One that has gone holds nothing, and has lost nothing.
    if (!opened.readable || !process || !process->alive()) return;
    for (size_t at = 0; at < locks_.size(); ++at)
      tell(held[at], std::any_of(opened.fds.begin(), opened.fds.end(), [&](const auto& fd) {
             return fd.mode && fd.file == locks_[at].file;
           }));
  };
  visit(master, [](Held& of_lock, bool holds) { of_lock.by_master = holds; });
  for (const pid_t worker : workers)
    visit(worker, [](Held& of_lock, bool holds) {
      ++of_lock.workers.looked_at;
      of_lock.workers.holding += holds ? 1 : 0;
    });
  return held;
}

}  // namespace drover::herd
