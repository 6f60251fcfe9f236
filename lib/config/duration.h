// Durations as people write them: "5", "5s", "250ms", "2m", "1.5h".
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

namespace drover::config {

/// Seconds without a unit; units ms, s, m, h, d; a fraction is allowed, a sign is not. Empty when
/// it is none, or longer than 1000 days.
std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text);

}  // namespace drover::config
