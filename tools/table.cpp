#include "tools/table.h"

#include <fmt/core.h>

#include <algorithm>

namespace drover {

std::string align(const std::vector<Row>& rows) {
  std::vector<size_t> widths;
  for (const Row& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t at = 0; at + 1 < row.size(); ++at)
      widths[at] = std::max(widths[at], row[at].size());
  }
  std::string text;
  for (const Row& row : rows) {
    for (size_t at = 0; at + 1 < row.size(); ++at)
      text += fmt::format("{:<{}}  ", row[at], widths[at]);
    text += row.back() + "\n";
  }
  return text;
}

}  // namespace drover
