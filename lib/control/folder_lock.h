// One at a time, for those who change socket files in a folder.
#pragma once

#include <string>

#include "lib/os/fd.h"

namespace drover::control {

/// Let go when the descriptor is closed. Blocks for a second at most. Empty when the folder cannot
/// be locked: whoever keeps it locked shall not keep a server from starting.
os::Fd lock_folder(const std::string& folder);

}  // namespace drover::control
