// What to write where, so that a server survives its hot reloads: lines to copy.
#pragma once

#include <string>
#include <vector>

#include "lib/herd/dialect.h"

namespace drover::herd {

/// Whom a cure is for.
struct Patient {
  const Dialect& dialect;
  const std::vector<std::string>& command;
  std::string pidfile;
};

/// When a lock that a process was born with is gone.
enum class LostIn { start, fork, reload };

/// For a lock on this descriptor that is lost. `high_survives`: one above 1024 is not.
std::vector<std::string> cures_of_lost_lock(const Patient& patient, LostIn lost, int number,
                                            bool high_survives);
/// For one that the server opens by itself and loses.
std::vector<std::string> cures_of_own_lock(const Patient& patient);
/// For a server that does not write the pidfile.
std::vector<std::string> cures_of_pidfile(const Patient& patient);
/// For one whose workers do not serve, by what it wrote; empty when that says nothing known.
std::vector<std::string> cures_of_start(const Patient& patient,
                                        const std::vector<std::string>& output);
/// For a new master that works in the folder of an old release; `link` names the current one.
std::vector<std::string> cures_of_folder(const Patient& patient, const std::string& link);
/// For a new master with the Gemfile of an old release.
std::vector<std::string> cures_of_gemfile(const Patient& patient, const std::string& link);
/// For what a version manager has left in the environment.
std::vector<std::string> cures_of_environment(const Patient& patient);

}  // namespace drover::herd
