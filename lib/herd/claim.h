// One herd for a service.
#pragma once

#include <string>

#include "lib/os/fd.h"

namespace drover::herd {

/// Takes the service of this lock file, which is made when it is missing, for as long as the
/// descriptor lives. Empty when another process has it. This lock of an open file description
/// (fcntl(2), F_OFD_SETLK) and those of flock(2) do not see each other; where they do, on network
/// file systems, and where the file may not be written, nobody is kept out. A child that has not
/// executed its program yet shares it: after a kill -9 it may be busy for an instant. Throws Error.
struct Claim {
  bool ours = false;
  os::Fd fd;
};
Claim claim_service(const std::string& lock_path);

}  // namespace drover::herd
