// A manager of companions as a process of its own.
#pragma once

#include <string>

#include "lib/companions/crew.h"

namespace drover::companions {

struct RunRequest {
  std::string config;
  std::string control;  ///< the control socket; empty: companions.sock in run_dir
};

/// Runs the companions until TERM, INT or QUIT, or until it is asked to by the control socket; HUP
/// reads the configuration again, USR1 opens the logs anew. Blocks. Takes over signals, the reaping
/// of children and the adoption of orphans for the whole process. Throws Error.
void run(const RunRequest& request, const Voice& voice);

}  // namespace drover::companions
