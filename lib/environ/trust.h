// Who could have changed what is about to be run or read?
#pragma once

#include <sys/stat.h>

#include <set>
#include <string>

#include "lib/environ/edit.h"

namespace drover::environ {

/// Refuses files and folders that somebody else could change: those owned by another user than root
/// and the effective one (for root: than root), and those that everybody may write to. A group that
/// may write is a warning: deployment tools make such trees.
class Trust {
 public:
  /// With `insecure`, everything passes.
  explicit Trust(Edit& edit, bool insecure = false);

  /// Looks at a path, and at each folder and link on the way to it: where all of them pass, nobody
  /// else can exchange what it leads to before it is used. A sticky folder that everybody may write
  /// to is fine for what is in it. Throws Error (EPERM) that says what to do.
  void check_way(const std::string& path);
  /// Opens, checks and reads a file of at most `limit` bytes: what was opened is looked at. Throws
  /// Error.
  std::string read(const std::string& path, size_t limit);

 private:
  void check_one(const struct stat& st, const std::string& path, bool is_way);

  Edit& edit_;
  unsigned user_;
  bool insecure_;
  std::set<std::string> warned_;
};

/// Throws Error (EPERM) when the process runs with rights that its caller has not (setuid, setgid,
/// capabilities: AT_SECURE): the environment would then be the caller's choice.
void refuse_elevated();

}  // namespace drover::environ
