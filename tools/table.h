// Columns of text, as drover-ls and drover-ctl write them.
#pragma once

#include <string>
#include <vector>

namespace drover {

using Row = std::vector<std::string>;

/// Columns as wide as their widest cell, the last one free.
std::string align(const std::vector<Row>& rows);

}  // namespace drover
