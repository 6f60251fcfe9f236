#include "lib/herd/masters.h"

#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "lib/flock/guard.h"
#include "lib/flock/holders.h"
#include "lib/flock/pidfile.h"
#include "lib/os/procfs.h"

namespace drover::herd {
namespace {

// Dead ones are kept for what became of them; a service has few masters at a time.
constexpr size_t kRemembered = 4;

}  // namespace

Masters::Masters(std::string pidfile, std::string lock_path)
    : pidfile_(std::move(pidfile)), lock_path_(std::move(lock_path)) {}

bool Masters::belongs(pid_t pid) {
  hidden_ = false;
  const auto holds = [&](pid_t process, const os::FileId& file) {
    const flock::Opened opened = flock::look_at(process, {&file, 1});
    hidden_ = hidden_ || (process == pid && !opened.readable);
    return opened.holding();
  };
  const auto at_path = os::file_at(lock_path_);
  const auto in_flock = [&](pid_t process) {
    return (at_path && holds(process, *at_path)) || (lock_ && holds(process, lock_->id()));
  };
  const auto ancestors = os::ancestors_of(pid);
  // A guard keeps the lock for descendants that drop descriptors.
  const auto is_guard = [&](pid_t process) {
    const auto stat = os::read_stat(process);
    return stat && stat->command == flock::kGuardName && in_flock(process);
  };
  const auto is_above = [&](pid_t process) {
    return std::find(ancestors.begin(), ancestors.end(), process) != ancestors.end();
  };
  if (in_flock(pid) || std::any_of(ancestors.begin(), ancestors.end(), is_guard)) return true;
  return (ancestor_ != 0 && is_above(ancestor_)) ||
         std::any_of(known_.begin(), known_.end(), [&](const Master& master) {
           return is_above(master->pid()) && master->alive();
         });
}

bool Masters::verify(const std::string& pidfile) {
  const auto [pid, problem] = flock::read_pidfile(pidfile);
  if (!pid) {
    problem_ = fmt::format("'{}': {}", pidfile, problem);
    return false;
  }
  const auto same = std::find_if(known_.begin(), known_.end(), [&](const Master& master) {
    return master->pid() == *pid && master->alive();
  });
  if (same != known_.end()) {
    std::rotate(same, same + 1, known_.end());
    return true;
  }
  auto process = os::Process::open(*pid);
  if (!process && errno != ESRCH) {
    problem_ = fmt::format("'{}' names process {}, which cannot be opened: {}", pidfile, *pid,
                           std::generic_category().message(errno));
    return false;
  }
  // Alive after the look: then /proc has told of this process, not of a successor with its number.
  if (!process || !belongs(*pid) || !process->alive()) {
    problem_ = fmt::format(
        "'{}' names process {}, which {}", pidfile, *pid,
        !process || !process->alive() ? "does not live"
        : hidden_ ? fmt::format("is not seen to hold '{}': it cannot be looked into", lock_path_)
                  : fmt::format("does not hold '{}'", lock_path_));
    return false;
  }
  add(std::move(*process));
  return true;
}

void Masters::add(os::Process process) {
  if (known_.size() >= kRemembered) {
    const auto dead = std::find_if(known_.begin(), known_.end(),
                                   [](const Master& master) { return !master->alive(); });
    known_.erase(dead == known_.end() ? known_.begin() : dead);
  }
  known_.push_back(std::make_shared<const os::Process>(std::move(process)));
}

bool Masters::refresh() {
  if (pidfile_.empty()) return !living().empty();
  // The named one last: it is the current one.
  verify(pidfile_ + ".oldbin");
  verify(pidfile_ + ".2");
  return verify(pidfile_);
}

Master Masters::current() {
  refresh();
  const auto candidates = living();
  return candidates.empty() ? nullptr : candidates.back();
}

std::vector<Master> Masters::living() const {
  std::vector<Master> found;
  std::copy_if(known_.begin(), known_.end(), std::back_inserter(found),
               [](const Master& master) { return master->alive(); });
  return found;
}

}  // namespace drover::herd
