// The masters of a service: which processes may be signalled. A number in a pidfile becomes a
// master only when a pidfd was opened for it and that process was then seen to hold the lock, or to
// descend from a guard (drover-hold --guard) that holds it, or from a master verified before.
// Nobody else ever gets a signal.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lib/flock/wait.h"
#include "lib/os/process.h"

namespace drover::herd {

/// A process that passed; the pidfd keeps its number from meaning another one.
using Master = std::shared_ptr<const os::Process>;

class Masters {
 public:
  /// `lock_path` is looked up anew each time: a lock file that was replaced is followed.
  Masters(std::string pidfile, std::string lock_path);

  /// Takes this lock file for the service's, too, wherever its name leads by now.
  void remember(flock::LockFile lock) { lock_ = std::move(lock); }

  /// Trusts whoever descends from this process, too: for the one that started the service and is
  /// its subreaper, so that every daemon of it stays below.
  void trust_descendants_of(pid_t pid) noexcept { ancestor_ = pid; }
  /// A master that the caller vouches for: its own child.
  void add(os::Process process);

  /// Without a pidfile only those that were added are masters.
  /// Looks at PIDFILE and at the names that servers give it during a hot reload (PIDFILE.oldbin:
  /// unicorn, nginx; PIDFILE.2: gunicorn) and remembers every master that passes. False when
  /// PIDFILE names none that does; `problem()` says why.
  bool refresh();
  [[nodiscard]] const std::string& problem() const noexcept { return problem_; }

  /// The master that PIDFILE names, if it passes; else the one that was verified last and lives, as
  /// the file is away for a moment in every reload of unicorn. Null when there is none.
  Master current();
  /// All verified masters that live.
  [[nodiscard]] std::vector<Master> living() const;
  /// All verified masters, the latest last; the dead ones are for their exit status.
  [[nodiscard]] const std::vector<Master>& known() const noexcept { return known_; }

 private:
  bool verify(const std::string& pidfile);
  [[nodiscard]] bool belongs(pid_t pid);

  std::string pidfile_;
  std::string lock_path_;
  std::optional<flock::LockFile> lock_;  ///< open: its inode cannot become another file's
  pid_t ancestor_ = 0;
  std::vector<Master> known_;
  std::string problem_;
  bool hidden_ = false;  ///< the kernel did not let us look into the process asked about last
};

}  // namespace drover::herd
