// Paths as they were named. Servers derive from them which release is theirs, so links count.
#pragma once

#include <optional>
#include <string>

#include "lib/environ/block.h"
#include "lib/os/fd.h"

namespace drover::environ {

/// The logical current folder: $PWD when it names the same inode as the real one, else getcwd(3).
/// Servers derive from it which release is theirs, so links in it count. Throws Error.
std::string logical_folder(const Block& environment);
/// The wrapper's absolute path as it was called, links unresolved.
std::string logical_path(const std::string& path, const std::string& folder);

/// The file that a path leads to, links followed. Empty when there is none.
std::optional<os::FileId> file_behind(const std::string& path);

}  // namespace drover::environ
