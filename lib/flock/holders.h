// Who holds a lock: the living processes, asked one by one. /proc/locks is of no use for that, it
// names the process that took the lock, often long dead; every process that shares the lock shows a
// "lock:" line in the fdinfo of its own descriptor (proc_pid_fdinfo(5); tests/cli/test_ls.py).
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/os/fd.h"

namespace drover::flock {

enum class LockMode { shared, exclusive };

/// The lock files that a search is about, in ascending order.
using Files = std::span<const os::FileId>;

/// One descriptor of a lock file in one process.
struct HeldFd {
  int fd = -1;
  os::FileId file;
  std::optional<LockMode> mode;  ///< empty: open, but not locked
  bool inherited = false;        ///< survives exec: not the descriptor of somebody who just asks
  pid_t taker = 0;               ///< who called flock(2); 0 in a pid namespace that it is not in

  /// Whether it is held by somebody who stays, not by one who just asks whether the lock is free.
  [[nodiscard]] bool stays() const { return mode && (inherited || *mode == LockMode::shared); }
};

/// The lock lines of this process's own descriptor; empty when it holds no flock(2) lock.
std::optional<LockMode> lock_mode_of_own(int fd);

/// What one process has open on the files.
struct Opened {
  std::vector<HeldFd> fds;   ///< ascending; without a lock they have an empty mode
  std::vector<int> deleted;  ///< descriptors of regular files that no name leads to any more
  bool readable = true;      ///< false: the kernel does not let us look (another user's process)

  [[nodiscard]] bool holding() const;
};

/// Looks at `pid`, also when its main thread has ended and others live on. Nothing is found in a
/// process that is gone. Never waits for a file system: what statx(2) knows without asking
/// suffices.
Opened look_at(pid_t pid, Files files);

/// The same of this process, also where /proc shows another pid namespace than ours.
Opened look_at_self(Files files);

/// `others` leaves this process out. The kernel keeps an entry of /proc for whatever was looked at,
/// and drops them when that process ends, which is later for it: 2 us each (tests/bench/run.sh
/// --row death).
enum class Whom { everybody, others };

/// Calls `visit` for every process that has one of the files, or a deleted one, open, in ascending
/// order of pid. Returns how many processes could not be inspected. 5000 processes with 16
/// descriptors each: about 0.2 s.
size_t visit_openers(Files files, Whom whom,
                     const std::function<void(pid_t, const Opened&)>& visit);

/// The paths of regular files that were deleted and are still open, and who has them open: of
/// several processes the one with the lowest number. Reads /proc once.
std::map<std::string, pid_t> deleted_files_in_use();
/// Names the process that has a file open which was deleted from `path`; empty for none.
std::string hint_of_deleted(const std::string& path,
                            const std::map<std::string, pid_t>& in_use = deleted_files_in_use());

/// Who is in sight at a lock that cannot be had.
enum class Sight {
  holder,  ///< somebody who stays: shared, or exclusively on a descriptor that is inherited
  asker,   ///< only somebody who has it exclusively on a close-on-exec descriptor: a waiter's
           ///< instant
  nobody,
};
/// Reads /proc up to the first holder that stands in the way of a lock in mode `wanted`; one that
/// does not is nobody.
Sight look_for_holder(const os::FileId& file, LockMode wanted);
/// Whether /proc/locks has a shared lock of the file: its holder may be out of sight. False
/// although there is one where a file system shows another device there than stat(2) does (btrfs,
/// overlayfs), and where the taker is of no pid namespace of ours.
bool is_listed_as_shared(const os::FileId& file);
/// Which of the files have a holder in sight; ascending. One pass over /proc.
std::vector<os::FileId> held_in_sight(Files files);

/// A lock that this process or one above it holds.
struct LockAbove {
  pid_t pid = 0;
  os::FileId file;
};
/// All of them, the nearest process first. Whoever waits for such a lock waits for itself.
std::vector<LockAbove> locks_held_above();

}  // namespace drover::flock
