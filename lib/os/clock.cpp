#include "lib/os/clock.h"

#include <algorithm>
#include <climits>

namespace drover::os {

int poll_timeout(Deadline deadline) noexcept {
  if (!deadline) return -1;
  const auto left = *deadline - std::chrono::steady_clock::now();
  const long long ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
  return static_cast<int>(std::clamp<long long>(ms, 0, INT_MAX));
}

}  // namespace drover::os
