// How a scratch run went, in lines for people: the start, the reload, the end, and what it had to
// go on.
#pragma once

#include <optional>
#include <string>

#include "lib/herd/check.h"
#include "lib/herd/cures.h"
#include "lib/herd/scratch_run.h"

namespace drover::herd {

/// Whether there is room for a lock above 1024.
Check check_limit();
/// The file system beside the pidfile; empty when that is no plain file.
std::optional<Check> check_file_system(const std::string& pidfile);
/// Not for Start::stopped.
Check check_start(const Patient& patient, ScratchRun& run, ScratchRun::Start start);
/// `pidfile_in_release`: the new master wrote a pidfile in the release that was deployed.
Check check_reload(const Patient& patient, const ReloadReport& report, bool pidfile_in_release);
/// For a server that is reloaded only as a daemon, and is none.
Check check_no_daemon(const Patient& patient);
Check check_end(const ScratchRun::Ending& ending);

}  // namespace drover::herd
