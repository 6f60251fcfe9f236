// Which descriptors share one open file description: one lock, taken once and inherited.
#pragma once

#include <vector>

#include "lib/flock/holders.h"

namespace drover::flock {

/// A descriptor of one process.
struct Share {
  pid_t pid;
  HeldFd held;
};

using Group = std::vector<Share>;

/// One group for each open file description, as kcmp(2) tells. Where the kernel does not let us
/// compare, those with the same taker and mode count as one. Without those that have ended.
std::vector<Group> group(const std::vector<Share>& shares);

}  // namespace drover::flock
