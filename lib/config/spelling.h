// For a name that is not known: the known one that is probably meant.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace drover::config {

/// "; did you mean 'NAME'?", or nothing when no known name is near.
std::string suggestion(std::string_view unknown, const std::vector<std::string>& known);

}  // namespace drover::config
