// What is executed in the end: the program, its arguments, and the interpreter that runs it.
#pragma once

#include <string>
#include <vector>

#include "lib/environ/plan.h"
#include "lib/environ/resolve.h"
#include "lib/environ/trust.h"
#include "lib/environ/wrapper_file.h"

namespace drover::environ {

struct Launch {
  const Wrapper& wrapper;
  const std::vector<std::string>& arguments;  ///< behind the wrapper's path
  const Caller& caller;
  Choice ruby, python, node;
  Bundle bundle;  ///< not `automatic`
};

/// Fills in the plan's program, arguments and checks. `block` is the environment of the command,
/// with its final PATH; `edit` edits it. Throws Error: no command, no ruby (ENOPKG), a program that
/// others may write to (EPERM); ExecError when the command is not found or not executable.
void choose_command(const Launch& launch, Block& block, Edit& edit, Trust& trust, Plan& plan);

}  // namespace drover::environ
