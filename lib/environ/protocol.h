// Variables that belong to somebody's protocol, and are not drover-exec's to change.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace drover::environ {

/// Whether the variable belongs to the protocol between a server, its successor and their
/// supervisor, or is a lock of drover's: never changed, never hidden from the command.
bool is_protocol(std::string_view name);

/// Whether one of the patterns is this name, or, with "*" at its end, the start of it.
bool matches_any(std::string_view name, const std::vector<std::string_view>& patterns);

}  // namespace drover::environ
