// Deadlines on the monotonic clock: setting the machine's clock moves none of them.
#pragma once

#include <chrono>
#include <optional>

namespace drover::os {

/// A moment of the monotonic clock; empty: no limit.
using Deadline = std::optional<std::chrono::steady_clock::time_point>;

/// What poll(2) takes: the milliseconds left until `deadline`, rounded up; -1 for no limit.
int poll_timeout(Deadline deadline) noexcept;

}  // namespace drover::os
