// What drover-exec does with a plan: carry it out, try it, show it.
#pragma once

#include <sys/types.h>

#include <string>

#include "lib/environ/plan.h"
#include "tools/exec_output.h"

namespace drover::exec {

/// Changes folder and umask, takes the lock and becomes the command. Returns only by throwing
/// ExecError or Error.
[[noreturn]] void become(environ::Plan& plan);

/// Says warnings and, when asked for, each decision.
void say_steps(const environ::Plan& plan, const Style& style);

/// Changes to the plan's folder, and throws Error when the wrapper or the program could not be
/// executed or the lock not be taken, an interpreter does not start or the bundle is not complete
/// (ENOPKG), or that takes longer than 60 s (ETIMEDOUT). Says warnings. Returns the exit code.
int check(const environ::Plan& plan);

/// Prints the changes of a shell script as a part of a wrapper: once, for a person to read. Returns
/// the exit code; throws Error.
int import_script(const std::string& script, const environ::Caller& caller, bool insecure);

/// The environment that a process was started with. Throws Error.
environ::Block environment_of(int pid);
/// The line for --diff when the process works in another release than the one that the plan's
/// folder leads to now. Empty when it does not, cannot be looked at, or works in "/".
std::string change_of_folder(int pid, const environ::Plan& plan);
/// Whose process it is; the caller's own number when it is gone.
uid_t owner_of(int pid);

}  // namespace drover::exec
