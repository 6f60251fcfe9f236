// An environment that exists only as a shell script: run once, and what it changes is taken over.
// The explicit fallback; never done unless a wrapper names the script.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "lib/environ/block.h"

namespace drover::environ {

struct Captured {
  std::vector<Variable> set;
  std::vector<std::string> unset;
  std::vector<std::string> command;  ///< with Until::exec: what the script became
  bool umask_changed = false;        ///< cannot be taken over: said, not done
  bool folder_changed = false;       ///< the same
};

/// Where the script's work on the environment is done.
enum class Until {
  end,   ///< at its end: one that replaces the shell is an error
  exec,  ///< there, or where it would become another program, which is not run
};

/// Sources the script in a bash of its own and tells what it changed in the environment, shell
/// functions and the shell's own variables left out. The script gets no standard input, its output
/// goes to standard error, and it sees no descriptor and no protocol variable of the server's. It
/// runs in `folder` and must come to its end with success: one that exits early, fails, or replaces
/// the shell is an error and not half an environment. After `limit`, or when a signal ends the
/// caller, its process group is killed; what it leaves behind in the background is not waited for.
/// Blocks, with INT, TERM, HUP and QUIT held back; throws Error.
Captured capture(const std::string& script, const std::string& folder, const Block& environment,
                 std::chrono::milliseconds limit, Until until = Until::end);

}  // namespace drover::environ
