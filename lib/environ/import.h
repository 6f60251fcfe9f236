// From a classic start script to what a wrapper says in its place.
#pragma once

#include <string>
#include <vector>

#include "lib/environ/capture.h"
#include "lib/environ/runtimes/runtime.h"

namespace drover::environ {

/// What a script means beyond its choice of an interpreter and a bundle, which a wrapper makes
/// itself.
struct Import {
  std::vector<Variable> set;
  std::vector<std::string> unset;
  std::vector<std::string> path_front, path_back;  ///< folders that it puts into PATH
  std::vector<std::string> left_out;               ///< variables that are the wrapper's business
  std::vector<std::string> command;  ///< what it becomes in the end; empty when it just ends
  bool umask_changed = false;
  bool folder_changed = false;
};

/// Runs the script once, up to its end or to where it would become the server, in a clean
/// environment. Takes at most `limit`. Throws Error.
Import import_script(const std::string& script, const std::string& folder, const Places& places,
                     std::chrono::milliseconds limit);

}  // namespace drover::environ
