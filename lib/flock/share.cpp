#include "lib/flock/share.h"

#include <linux/kcmp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <optional>

#include "lib/os/procfs.h"

namespace drover::flock {
namespace {

/// kcmp(2) tells whether two descriptors share one description, and orders them: 0 equal, 1 less.
long compare(const Share& a, const Share& b) {
  return ::syscall(SYS_kcmp, a.pid, b.pid, KCMP_FILE, a.held.fd, b.held.fd);
}

/// On its way out, and no thread of it lives on: what cannot be compared any more is closed.
bool has_let_go(pid_t pid) {
  const auto stat = os::read_stat(pid);
  return !stat || ((stat->zombie() || stat->exiting()) && stat->threads < 2);
}

/// Sorts the shares into one group for each open file description. False when a process ended
/// meanwhile: what its death left may be in the wrong place.
bool sort_into(std::vector<Group>& groups, const std::vector<Share>& shares) {
  bool undisturbed = true;
  const auto order = [&](const Share& a, const Share& b) {
    const long result = compare(a, b);
    undisturbed = undisturbed && result >= 0;
    return result;
  };
  for (const Share& share : shares) {
    const auto at = std::partition_point(groups.begin(), groups.end(), [&](const Group& other) {
      return order(other.front(), share) == 1;
    });
    if (at != groups.end() && order(at->front(), share) == 0) {
      at->push_back(share);
    } else {
      groups.insert(at, {share});
    }
  }
  return undisturbed;
}

}  // namespace

std::vector<Group> group(const std::vector<Share>& shares) {
  std::vector<Group> groups;
  std::map<std::pair<pid_t, std::optional<LockMode>>, Group> by_taker;
  for (bool done = false; !done;) {
    std::vector<Share> comparable;
    groups.clear();
    by_taker.clear();
    for (const Share& share : shares) {
      if (compare(share, share) == 0) {
        comparable.push_back(share);
      } else if (errno != ESRCH && !has_let_go(share.pid)) {
        by_taker[{share.held.taker, share.held.mode}].push_back(share);
      }
    }
    done = sort_into(groups, comparable);
  }
  for (auto& [key, members] : by_taker)
    groups.push_back(std::move(members));
  return groups;
}

}  // namespace drover::flock
