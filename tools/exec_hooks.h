// What a server's own configuration needs so that a hot reload goes through the wrapper.
#pragma once

#include <string>

namespace drover::exec {

/// The lines for the configuration of "unicorn", "gunicorn" or "puma"; empty for another server.
std::string hook_for(const std::string& server);

}  // namespace drover::exec
