#include "lib/config/spelling.h"

#include <fmt/core.h>

#include <algorithm>

namespace drover::config {
namespace {

/// The number of changes that make one word of another.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t at = 0; at <= b.size(); ++at)
    row[at] = at;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

}  // namespace

std::string suggestion(std::string_view unknown, const std::vector<std::string>& known) {
  const auto nearest = std::min_element(
      known.begin(), known.end(),
      [&](const auto& a, const auto& b) { return distance(unknown, a) < distance(unknown, b); });
  if (nearest == known.end() || distance(unknown, *nearest) > 2 + unknown.size() / 4) return "";
  return fmt::format("; did you mean '{}'?", *nearest);
}

}  // namespace drover::config
