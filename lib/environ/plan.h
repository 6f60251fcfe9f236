// From a wrapper and the inherited environment to what execve(2) gets.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "lib/environ/block.h"
#include "lib/environ/steps.h"
#include "lib/environ/wrapper_file.h"

namespace drover::environ {

/// Who runs it, and where.
struct Caller {
  Block environment;
  std::string home;    ///< of the user; empty when unknown
  std::string folder;  ///< the current one, as $PWD names it
  pid_t pid = 0;
};

struct Plan {
  std::string program;                 ///< what is executed: an absolute path
  std::vector<std::string> arguments;  ///< with argv[0]
  Block environment;
  std::string folder;  ///< to change to; empty to stay
  std::optional<mode_t> umask;
  std::string lock;                              ///< to hold; empty for none
  std::string wrapper;                           ///< what a server executes again; may be empty
  Steps steps;                                   ///< how it came to this
  std::vector<std::vector<std::string>> checks;  ///< commands that succeed when it can run
  std::string other_python;  ///< by which it runs, though another was chosen; empty when not
};

/// Everything but the exec, and without a change to the process: what --explain, --diff and --check
/// show. Throws Error: a damaged wrapper or version file (EBADMSG), a version or Gemfile that is
/// missing (ENOPKG), something that others may write to (EPERM), too many wrappers in wrappers
/// (ELOOP); ExecError when the command is not found or not executable.
Plan make_plan(const Wrapper& wrapper, const std::vector<std::string>& arguments,
               const Caller& caller);

}  // namespace drover::environ
