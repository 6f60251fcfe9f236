// Whether a lock that a server was started with lives through what servers do: start, fork, reload.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lib/herd/check.h"
#include "lib/herd/cures.h"
#include "lib/herd/scratch_locks.h"

namespace drover::herd {

/// What was seen of the scratch locks.
struct LockHistory {
  std::vector<Held> before;                ///< after the start
  std::optional<std::vector<Held>> after;  ///< after the reload; empty when there was none
};

/// The lock PIDFILE.lock, when the command takes it by itself: by a hook, or by drover-hold.
struct OwnLock {
  std::string path;
  bool held_before = false;
  bool held_after = false;
  /// Each worker that is forked makes the master open the file once more: nobody keeps the object,
  /// and a garbage collector will close it.
  bool opened_anew = false;
};

/// A line for each scratch lock. With an own lock that survives, the loss of others is no finding.
std::vector<Check> check_locks(const Patient& patient, const std::vector<ScratchLocks::Lock>& locks,
                               const LockHistory& history, const OwnLock& own);

/// A line for the own lock; empty when the command takes none.
std::optional<Check> check_own_lock(const Patient& patient, const OwnLock& own, bool reloaded);

}  // namespace drover::herd
