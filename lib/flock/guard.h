// Holding a lock for a command that drops inherited descriptors: a parent that stays.
#pragma once

#include <string>
#include <vector>

#include "lib/os/process.h"

namespace drover::flock {

/// What /proc/PID/comm says of a guard.
inline constexpr const char* kGuardName = "drover-guard";

/// Runs the command as a child of this process, which keeps its own copy of the lock's descriptor
/// and, as a child subreaper (PR_SET_CHILD_SUBREAPER(2const)), adopts every descendant that loses
/// its parent. Blocks until the last descendant has been reaped; returns how the command itself
/// ended.
///
/// Every signal of os::forwardable_signals is passed on: to the command while it lives, afterwards
/// to the children that were adopted. A signal that the terminal sent to the whole process group is
/// not passed on to those who are in it: they have it already; for its TSTP this process stops,
/// too. Where /proc is that of another pid namespace (os::proc_is_ours) signals are passed on to
/// the command only. Killed with SIGKILL, the copies of the lock that the command inherited go on
/// holding. Throws ExecError, Error.
os::ExitStatus guard(const std::vector<std::string>& command);

}  // namespace drover::flock
