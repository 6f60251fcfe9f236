// Locks that a server is started with only to see which of them it keeps: one on a low descriptor,
// one just below 1024, one above.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "lib/os/fd.h"

namespace drover::herd {

/// How many of some processes hold a lock; without those that the kernel does not let us look into.
struct Holding {
  size_t looked_at = 0;
  size_t holding = 0;
  [[nodiscard]] bool all() const { return holding == looked_at; }
};

/// Of a generation, for one lock.
struct Held {
  bool by_master = true;
  Holding workers;
  [[nodiscard]] bool by_all() const { return by_master && workers.all(); }
};

class ScratchLocks {
 public:
  struct Lock {
    std::string name;  ///< "low", "below-1024", "high"
    int number = -1;   ///< of the descriptor that is inherited
    std::string path;
    os::FileId file;
  };

  /// Makes the lock files in `folder` and takes them, on descriptors that are inherited over fork
  /// and exec until `let_go`. None below `first_free`. One for which the hard limit of descriptors
  /// leaves no room is left out. Throws Error.
  ScratchLocks(const std::string& folder, int first_free);

  [[nodiscard]] const std::vector<Lock>& locks() const noexcept { return locks_; }
  /// After the launch: from now on only the server holds them.
  void let_go() { descriptors_.clear(); }

  /// Who of a generation holds each of them, in the order of locks().
  [[nodiscard]] std::vector<Held> look(pid_t master, const std::vector<pid_t>& workers) const;

 private:
  void take(const std::string& folder, const char* name, int number);

  std::vector<Lock> locks_;
  std::vector<os::Fd> descriptors_;
};

/// The hard limit of descriptors: no number can be that high.
int most_descriptors();

}  // namespace drover::herd
