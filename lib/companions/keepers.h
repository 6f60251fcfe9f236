// Who keeps the lock of a companion.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lib/os/process.h"

namespace drover::companions {

/// A process that has the lock.
struct Keeper {
  os::Process process;
  std::string command;
  /// It has a descriptor that is not inherited: a manager, for a copy with Holding::main or both.
  bool is_manager = false;
};
/// All but those at or below process `live`; 0 for none. Reads /proc, unless the lock is free.
std::vector<Keeper> keepers_of(const std::string& lock, pid_t live);

/// Those of several locks that were started below process `ancestor`, managers left out, each with
/// its lock. Reads /proc once.
std::vector<std::pair<std::string, Keeper>> keepers_below(const std::vector<std::string>& locks,
                                                          pid_t ancestor);

/// "process 812 keeps the lock '/run/a.lock': sleep 1000"
std::string describe(const Keeper& keeper, const std::string& lock);

/// Whether `pid` is `ancestor`, or was started below it.
bool descends_from(pid_t pid, pid_t ancestor);

}  // namespace drover::companions
