// Waiting for the end of a service: until no process holds its lock.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "lib/flock/holders.h"
#include "lib/flock/lock_file.h"
#include "lib/os/process.h"

namespace drover::flock {

/// Told of what a person wants to know meanwhile; never needed to go on.
using Notice = std::function<void(const std::string&)>;

/// Opens the lock of a service that lives. Throws Error (ENOENT) when there is no such file, or
/// when nobody holds it: "never held" is not "gone".
LockFile open_held(const std::string& path);
/// The same for many locks, with one pass over /proc.
std::vector<LockFile> open_all_held(const std::vector<std::string>& paths);

/// Throws Error (ENOENT): the first holder did not come in time.
[[noreturn]] void throw_nobody_came(const std::string& path);

/// Throws Error (EDEADLK) when the lock is among those of locks_held_above(): this process would
/// wait for itself.
void refuse_inside_held_tree(const std::vector<LockAbove>& above, const LockFile& file);

/// What became of a lock that was just free.
enum class Afterlife {
  gone,       ///< nobody holds the path
  restarted,  ///< a new generation (drover-hold --new) was started on it already
  replaced,   ///< another file stands at the path, and somebody holds that one
};
Afterlife afterlife(const LockFile& freed);

/// The processes at the top of the trees that hold a lock, kept for what becomes of them.
class RootHolders {
 public:
  /// Reads /proc once.
  explicit RootHolders(const LockFile& file);
  [[nodiscard]] const std::vector<os::Process>& processes() const noexcept { return processes_; }
  /// Says how each of them ended, where the kernel tells (Linux 6.15) and its parent has reaped it
  /// within 100 ms.
  void report(const Notice& notice) const;

 private:
  std::vector<os::Process> processes_;
};

/// Blocks the calling thread until the service at `path` has ended and its ports can be bound. If
/// the path is replaced meanwhile, goes on with the new file. One context switch in all, no wake-up
/// before. Signals end it by their disposition only. With `report`, says at the end how those ended
/// that were the masters when the wait began. Throws Error as open_held and
/// refuse_inside_held_tree.
void wait_until_gone(const std::string& path, bool report, const Notice& notice);

/// "master 812 was killed by SIGKILL", once that is known; waits for it at most 100 ms.
void report_end(const os::Process& master, const Notice& notice);

}  // namespace drover::flock
