// Everything that an operator wants to know about who keeps a lock.
#pragma once

#include <string>
#include <vector>

#include "lib/flock/holders.h"

namespace drover::flock {

/// One process that has the lock file open, or waits for it.
struct Opener {
  pid_t pid = 0;
  pid_t parent = 0;
  uid_t uid = 0;
  double age_s = 0;  ///< seconds since the process was started
  std::vector<HeldFd> fds;
  std::string name;                 ///< "comm": what it calls itself
  std::string command;              ///< its command line, or "[comm]"; any bytes
  std::string cgroup;               ///< path in the unified or systemd's hierarchy; may be empty
  std::string unit;                 ///< the systemd unit in that path; may be empty
  bool folder_deleted = false;      ///< its working directory was removed: a pruned release
  bool executable_deleted = false;  ///< its program file was replaced or removed
};

/// The holders that share one open file description: one lock, taken once and inherited.
struct Description {
  LockMode mode = LockMode::shared;
  pid_t taker = 0;  ///< who called flock(2); 0 when the kernel does not show it here
  bool taker_alive = false;
  std::vector<Opener> holders;  ///< ascending pid
};

struct LockReport {
  std::string path;
  bool held = false;  ///< also true when no holder is visible to us
  unsigned generation = 0;
  std::vector<Description> descriptions;
  std::vector<Opener> open;     ///< have it open without a lock
  std::vector<Opener> waiting;  ///< blocked in flock(2) for it
  std::vector<pid_t> stale;     ///< have a lock file open that was deleted from this path
  size_t uninspected = 0;       ///< processes that the kernel did not let us look into

  [[nodiscard]] size_t holder_count() const;
};

/// Looks at the locks with one pass over /proc. Throws Error when a path names no lock file.
std::vector<LockReport> inspect(const std::vector<std::string>& paths);

/// The unit in a cgroup path: "/system.slice/app.service" gives "app.service".
std::string unit_of(const std::string& cgroup);

}  // namespace drover::flock
