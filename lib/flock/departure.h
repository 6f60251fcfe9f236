// From "nobody holds the lock" to "the port can be bound". A process that exits gives up its files
// one by one, from the highest descriptor down (measured on Linux 6.18): a lock below the listening
// socket is freed after it, a lock above it up to some milliseconds before. A process that has let
// go of the lock but still holds a socket carries PF_EXITING, and its pidfd becomes readable only
// when all its files are closed.
#pragma once

#include "lib/flock/lock_file.h"

namespace drover::flock {

class Departure {
 public:
  /// Looks at the present holders of the lock: does each keep it below every socket that it has or
  /// could get? Reads /proc once (about 2 ms with 100 processes).
  explicit Departure(const LockFile& file);

  /// Call when the lock was free and the file is still open. Returns at once when the holders seen
  /// before kept the lock low and nobody has arrived since; else waits for the processes that are
  /// exiting at this moment, at most one second in all. An arrival shows in the file's modification
  /// time: one that may only read the file, or that takes the lock by other means than drover's, is
  /// not noticed.
  void settle(const LockFile& file) const;

 private:
  bool sockets_go_first_ = false;
  timespec touched_{};
};

/// Waits until every process that is exiting now has closed its files, at most until `deadline`.
void wait_for_exiting_processes(os::Deadline deadline);

}  // namespace drover::flock
