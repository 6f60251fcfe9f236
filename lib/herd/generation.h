// A generation of a server: a master and the workers below it.
#pragma once

#include <sys/types.h>

#include <functional>
#include <vector>

#include "lib/os/process.h"

namespace drover::herd {

/// The living children of a master that do its work. A child that was executed, not only forked, is
/// left out: the next master is one. Where all are like that (unicorn's worker_exec), those count
/// that are not in `masters`.
std::vector<pid_t> workers_of(pid_t master, const std::vector<pid_t>& masters);

/// The living children of a master that were only forked. A master that executes itself in place
/// has no others that work for it; those that it ran, such as a helper of the application, outlive
/// each of its reloads.
std::vector<pid_t> forked_children_of(pid_t master);

/// The living children of a master that were executed, not only forked: what its hot reload begins
/// with, before a pidfile tells.
std::vector<pid_t> executed_children_of(pid_t master);
/// Those of them that may be its successors: they run the same program, in whichever version.
std::vector<pid_t> successors_of(pid_t master);

/// Every living process below `pid`, and `pid` itself, held fast; the nearest first. Without those
/// that `but`, when it is not empty, is true for, and all below them.
std::vector<os::Process> tree_of(pid_t pid, const std::function<bool(pid_t)>& but = {});

bool none_lives(const std::vector<os::Process>& processes);
/// Throws Error where the system refuses.
void signal_all(const std::vector<os::Process>& processes, int number);

}  // namespace drover::herd
