// Paths as they were named. Servers derive from them which release is theirs, so links count.
#pragma once

#include <optional>
#include <string>

#include "lib/environ/block.h"
#include "lib/os/fd.h"

namespace drover::environ {

/// The logical current folder: $PWD when it names the same inode as the real one, else getcwd(3).
/// Servers derive from it which release is theirs, so links in it count. Empty when the current
/// folder was deleted.
std::string logical_folder(const Block& environment);
/// The absolute path of what was called `path` in `folder`, links unresolved. Throws Error when it
/// is relative and there is no folder.
std::string logical_path(const std::string& path, const std::string& folder);

/// The file that a path leads to, links followed. Empty when there is none.
std::optional<os::FileId> file_behind(const std::string& path);

}  // namespace drover::environ
